"""The errors a user can meet. Each says what is wrong and what to do next.

CurationError
├── SampleError    a row that cannot become a sample (kept in the rejects file, the rest goes on)
├── EncodeError    a sample the tokenizer or chat template cannot express (quarantined)
├── InputError     a file, layout or option that cannot be used at all
├── AdapterError   an adapter that is unreadable or does not fit the model
├── ModelError     a model that cannot be found or loaded
└── LedgerError    the database is missing, old, newer than this version, or unreachable
"""

from __future__ import annotations


class CurationError(Exception):
    """An error meant for the user: `message` says what is wrong, `hint` what to do next."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class SampleError(CurationError):
    """A row that cannot become a sample."""


class EncodeError(CurationError):
    """A sample the tokenizer or its chat template cannot express."""


class InputError(CurationError):
    """A file, layout or option that cannot be used at all."""


class AdapterError(CurationError):
    """An adapter that is unreadable or does not fit the model."""


class ModelError(CurationError):
    """A model that cannot be found or loaded."""


class LedgerError(CurationError):
    """The database is missing, old, newer than this version, or unreachable."""
