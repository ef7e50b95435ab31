"""Settings: defaults < curation.toml in the working directory < CURATION_* environment < command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from platformdirs import user_data_path
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from curation.errors import InputError
from curation.triage import TierPolicy

DEFAULT_MODEL = "smollm2-aligned"


class Settings(BaseSettings):
    """Every setting can be given as CURATION_<NAME> in the environment or as a key of curation.toml."""

    model_config = SettingsConfigDict(
        env_prefix="CURATION_", env_nested_delimiter="__", toml_file="curation.toml", extra="forbid"
    )

    home: Path = Field(default_factory=lambda: user_data_path("curation"))
    """Folder of the SQLite ledger, of directions and of rejects files."""

    database_url: SecretStr | None = None
    """postgresql://user:password@host/database, or sqlite:///file; default: ledger.db in `home`."""

    model: str = DEFAULT_MODEL
    """Model to score with: a name, directory, .gguf file, PEFT adapter directory or Hub id."""

    danger: str | None = None
    """Danger direction: an adapter directory, or its name in `home`/directions. Default: the shipped one."""

    safety: str | None = None
    """Safety direction, likewise."""

    danger_state: str | None = None
    """Adapter at which the danger term's gradients are taken."""

    safety_state: str | None = None
    """Adapter at which the safety term's gradients are taken; default: the safety direction itself."""

    safety_scale: float = Field(1.0, gt=0)
    """Factor on the safety state's LoRA scaling."""

    metric: Literal["cosine", "projection", "dot"] = "cosine"
    """How an update is compared with a direction in each module."""

    update: Literal["lora", "full"] = "lora"
    """Which fine-tuning to score for: a LoRA's, or that of all weights."""

    max_tokens: int = Field(1024, ge=8)
    """Longer samples are cut on the left to this many tokens."""

    token_budget: int | None = Field(None, ge=1)
    """Padded tokens in a batch; default 2,048 on a CPU, 16,384 on a GPU. Changes speed and memory only."""

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
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def url(self) -> str | None:
        return self.database_url.get_secret_value() if self.database_url else None


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
