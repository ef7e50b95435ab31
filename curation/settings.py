"""Settings: defaults < curation.toml in the working directory < secrets files < CURATION_* environment < command line.

A secrets file is named after a setting, such as curation_label_studio_token, and lies in the folder that
CURATION_SECRETS_DIR names; by default /run/secrets, where containers find theirs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from platformdirs import user_data_path
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from curation.errors import InputError
from curation.triage import TierPolicy

DEFAULT_MODEL = "smollm2-aligned"


class Settings(BaseSettings):
    """Every setting can be given as CURATION_<NAME> in the environment or as a key of curation.toml."""

    model_config = SettingsConfigDict(
        env_prefix="CURATION_",
        env_nested_delimiter="__",
        toml_file="curation.toml",
        extra="forbid",
        use_attribute_docstrings=True,  # the reference in docs/ is made of them
    )

    home: Path = Field(default_factory=lambda: user_data_path("curation"))
    """Folder of the SQLite ledger, of directions and of rejects files. Default: the user's data folder."""

    database_url: SecretStr | None = None
    """`postgresql://user:password@host/database`, or `sqlite:///file`. Default: `ledger.db` in `home`."""

    model: str = DEFAULT_MODEL
    """Model to score with: a name, directory, .gguf file, PEFT adapter directory or Hub id."""

    danger: str | None = None
    """Danger direction: an adapter directory, or its name in `home`/directions. Default: the demo model's."""

    safety: str | None = None
    """Safety direction, likewise. Default: the demo model's."""

    danger_state: str | None = None
    """Adapter at which the danger term's gradients are taken. Default: the demo model's."""

    safety_state: str | None = None
    """Adapter at which the safety term's gradients are taken. Default: the safety direction itself."""

    safety_scale: float = Field(1.0, gt=0)
    """Factor on the safety state's LoRA scaling."""

    states: bool = True
    """Whether gradients are taken at the states; without, and with `update` full, at the model as it is."""

    metric: Literal["cosine", "projection", "dot", "global-cosine"] = "cosine"
    """How an update is compared with a direction: module by module, or as one vector (`global-cosine`)."""

    update: Literal["lora", "full"] = "lora"
    """Which fine-tuning to score for: a LoRA's, or that of all weights."""

    max_tokens: int = Field(1024, ge=8)
    """Longer samples are cut on the left to this many tokens."""

    first_tokens: int = Field(0, ge=0)
    """Only so many tokens of a sample's answers count, from the first; 0: all of them."""

    token_budget: int | None = Field(None, ge=1)
    """Padded tokens in a batch; speed and memory only. Default: 2,048 on a CPU, 16,384 on a GPU."""

    broker_url: SecretStr | None = None
    """Where workers are rung: `redis://host:6379/0` or `amqp://user:password@host:5672/vhost`."""

    lease_seconds: float = Field(120.0, gt=0)
    """How long a process may be silent before others take over the samples or the platform it works on."""

    label_studio_token: SecretStr | None = None
    """Personal access token of Label Studio, or a legacy token."""

    argilla_api_key: SecretStr | None = None
    """API key of an owner of Argilla, or of an admin of the workspace."""

    serve_rate: str = "600/minute"
    """Requests that `curation serve` takes with one token: a number per second, minute or hour."""

    serve_max_body: int = Field(8 * 2**30, ge=1)
    """Longest body of one request to `curation serve`, in bytes."""

    serve_secret: SecretStr | None = None
    """What signs the sessions of the pages. Default: a key that is made in `home`; several services need the same."""

    hooks_private: bool = False
    """Whether outgoing webhooks may go to addresses of private networks, this machine's own among them."""

    tiers: TierPolicy = TierPolicy()
    """Lowest percentile of the tiers critical, high and medium."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        secrets = SecretsSettingsSource(settings_cls, secrets_dir=_secrets_dir())
        return init_settings, env_settings, secrets, TomlConfigSettingsSource(settings_cls)

    @property
    def url(self) -> str | None:
        return self.database_url.get_secret_value() if self.database_url else None


def _secrets_dir() -> Path | None:
    folder = Path(os.environ.get("CURATION_SECRETS_DIR", "/run/secrets"))
    return folder if folder.is_dir() else None


def get_settings(**given: Any) -> Settings:
    """Settings with what the command line gave (None = not given). Raises InputError naming the bad setting."""
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"the setting {name} is not usable: {first['msg']}",
            f"Look at curation.toml and the environment variable CURATION_{name.upper().replace('.', '__')}.",
        ) from None
