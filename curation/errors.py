"""The errors a user can meet. Each says what is wrong and what to do next.

CurationError
├── SampleError    a row that cannot become a sample (kept in the rejects file, the rest goes on)
├── EncodeError    a sample the tokenizer or chat template cannot express (quarantined)
├── InputError     a file, layout or option that cannot be used at all
├── AdapterError   an adapter that is unreadable or does not fit the model
├── ModelError     a model that cannot be found or loaded
├── GateError      nothing may leave, or an export is not what it was when it was sealed
├── LedgerError    the database is missing, old, newer than this version, or refuses
│   └── LedgerUnavailable  it is away, busy or full: the same may succeed later
├── BrokerError    the message broker is not configured or unreachable
├── DeliveryError  a message of a hook could not be delivered
└── PlatformError  a labeling platform refuses, or what it holds cannot be used
    └── PlatformUnavailable  it is away or overloaded: the same may succeed later
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


class GateError(CurationError):
    """Nothing may leave, or an export is not what it was when it was sealed."""


class LedgerError(CurationError):
    """The database is missing, old, newer than this version, or refuses."""


class LedgerUnavailable(LedgerError):  # noqa: N818 - a state that passes
    """The database is away, busy or full: the same may succeed later."""


class BrokerError(CurationError):
    """The message broker is not configured or unreachable."""


class DeliveryError(CurationError):
    """A message of a hook could not be delivered."""


class PlatformError(CurationError):
    """A labeling platform refuses, or what it holds cannot be used."""


class PlatformUnavailable(PlatformError):  # noqa: N818 - a state that passes
    """The platform is away or overloaded: the same may succeed later."""
