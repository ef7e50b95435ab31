"""The policy: what may leave, written as TOML by the user. Equal policies have equal hashes, whatever the comments."""

from __future__ import annotations

import hashlib
import math
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from curation.errors import InputError
from curation.ledger.samples import MIN_PREFIX
from curation.review.fold import Rule
from curation.triage import TIERS, Tier, percentile

Treatment = Literal["hold", "approve", "pass"]
TREATMENTS: tuple[Treatment, ...] = get_args(Treatment)
"""What may happen to the rows of a tier, strictest first."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Tiers(_Strict):
    """Where the tiers above low begin.

    `percentile`: the lowest percentile of each (100 = riskiest); `risk`: the lowest risk; `top`: how many of the
    riskiest samples belong to it or to a tier above it. Equal values leave a tier empty.
    """

    by: Literal["percentile", "risk", "top"] = "percentile"
    critical: float = 98.0
    high: float = 90.0
    medium: float = 70.0

    @model_validator(mode="after")
    def _check(self) -> Tiers:
        floors = (self.critical, self.high, self.medium)
        if not all(map(math.isfinite, floors)):
            raise ValueError("tiers must be finite numbers")
        if self.by != "percentile" and len(self.model_fields_set & {"critical", "high", "medium"}) < 3:
            raise ValueError(f"tiers by {self.by} need critical, high and medium")
        if self.by == "top":
            if not all(floor >= 0 and floor == int(floor) for floor in floors):
                raise ValueError("tiers by top are whole numbers of samples")
            if not self.critical <= self.high <= self.medium:
                raise ValueError("tiers by top must ascend: critical <= high <= medium")
        elif not self.critical >= self.high >= self.medium:
            raise ValueError(f"tiers by {self.by} must descend: critical >= high >= medium")
        elif self.by == "percentile" and not 100 >= self.critical >= self.medium >= 0:
            raise ValueError("percentiles lie between 0 and 100")
        return self

    def tier(self, risk: float, above: int, n: int) -> Tier:
        """Tier of a sample with `above` strictly riskier ones among `n`. Equals share the riskier tier."""
        for tier, floor in zip(TIERS, (self.critical, self.high, self.medium), strict=False):
            match self.by:
                case "percentile":
                    reached = percentile(above, n) >= floor
                case "risk":
                    reached = risk >= floor
                case "top":
                    reached = above < floor
            if reached:
                return tier
        return "low"

    @property
    def relative(self) -> bool:
        """Whether the tier of a sample depends on the scores of others."""
        return self.by != "risk"


class Policy(_Strict):
    """The policy for one dataset: every tier has a treatment, and the tiers' bounds are those of one scorer."""

    scorer: str = Field(min_length=MIN_PREFIX, max_length=64, pattern="^[0-9a-f]+$")
    decided_by: Rule = "any-reject"
    tiers: Tiers = Tiers()
    rules: dict[Tier, Treatment] = Field(default_factory=dict[Tier, Treatment], validate_default=True)

    @field_validator("rules")
    @classmethod
    def _complete(cls, given: dict[Tier, Treatment]) -> dict[Tier, Treatment]:
        rules: dict[Tier, Treatment] = {tier: given.get(tier, "approve") for tier in TIERS}
        for tier, lower in pairwise(TIERS):
            if TREATMENTS.index(rules[tier]) > TREATMENTS.index(rules[lower]):
                raise ValueError(
                    f"{tier} = {rules[tier]!r} and {lower} = {rules[lower]!r} contradict each other: "
                    "the riskier tier would be let out more easily"
                )
        return rules


class _Override(_Strict):
    """What a dataset has differently. Rules count tier by tier, everything else as a whole."""

    scorer: str | None = None
    decided_by: Rule | None = None
    tiers: Tiers | None = None
    rules: dict[Tier, Treatment] = Field(default_factory=dict[Tier, Treatment])


class PolicyFile(Policy):
    """A policy with what single datasets have differently."""

    datasets: dict[str, _Override] = Field(default_factory=dict[str, _Override])

    @model_validator(mode="after")
    def _check(self) -> PolicyFile:
        for name in self.datasets:
            try:
                self.for_dataset(name)
            except ValidationError as error:
                raise ValueError(f"for dataset {name!r}: {error.errors()[0]['msg']}") from None
        return self

    def for_dataset(self, name: str) -> Policy:
        """The policy that counts for a dataset."""
        whole: dict[str, Any] = self.model_dump(exclude={"datasets"})
        override = self.datasets.get(name)
        if override:
            given = override.model_dump(exclude_none=True)
            whole |= given | {"rules": whole["rules"] | given["rules"]}
        return Policy.model_validate(whole)


def load_policy(path: Path) -> PolicyFile:
    """Read a policy. Raises InputError, naming the place, if it cannot be read or contradicts itself."""
    try:
        return PolicyFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(
            f"the policy {path} cannot be read: {error.strerror}",
            "Write one to begin with: curation policy init > policy.toml",
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"the policy {path} is not TOML: {error}", "Mend that place.") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "as a whole"
        raise InputError(
            f"the policy {path} is not usable, {place}: {first['msg'].removeprefix('Value error, ')}",
            "docs/gate.md describes every key; `curation policy init` prints an example.",
        ) from None


def canonical(policy: Policy) -> str:
    """The policy as JSON in one fixed form, defaults written out."""
    return orjson.dumps(policy.model_dump(), option=orjson.OPT_SORT_KEYS).decode()


def sha256_of(policy: Policy) -> str:
    return hashlib.sha256(canonical(policy).encode()).hexdigest()


def in_words(policy: Policy) -> list[str]:
    """What the policy does, a sentence each."""
    bounds = {
        "percentile": "the {:g}th percentile up",
        "risk": "risk {:g} up",
        "top": "the {:g} riskiest samples",
    }[policy.tiers.by]
    does = {
        "hold": "never leave",
        "approve": "leave once approved",
        "pass": "leave without review unless rejected",
    }
    lines = []
    for tier in TIERS:
        where = "the rest" if tier == "low" else bounds.format(getattr(policy.tiers, tier))
        lines.append(f"{tier} ({where}): {does[policy.rules[tier]]}")
    return lines


EXAMPLE = """\
# What may be trained on. Whatever this file does not let out stays in, and is counted by reason.
# Look before you export: curation policy check policy.toml

# The scorer whose order counts: 6 or more digits of its fingerprint. A row that this very scorer
# has not scored stays in.
scorer = "{scorer}"

# When reviewers disagree: any-reject, unanimous, majority or last (the latest decision counts).
decided_by = "any-reject"

# Where the tiers begin. By "percentile" (100 = riskiest), by "risk", or by "top": so many of the riskiest
# samples, each tier counting those above it.
[tiers]
by = "percentile"
critical = 98
high = 90
medium = 70

# What happens to a tier: "approve" (leaves once approved), "hold" (never leaves), or "pass" (leaves
# without review unless rejected). Nothing passes unless you say so here.
[rules]
critical = "approve"
high = "approve"
medium = "approve"
low = "approve"

# What a dataset has differently.
# [datasets.support]
# rules = {{ low = "pass" }}
"""
