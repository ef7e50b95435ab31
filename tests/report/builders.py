"""Reports to test with: made-up numbers around given conversations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

import numpy as np
import orjson

from curation.report.confounds import is_list
from curation.report.data import (
    Columns,
    Duplicates,
    Provenance,
    QuarantinedRow,
    Repeated,
    ReportData,
    ReportRow,
    SourceFile,
    TokenHeat,
    Turn,
)
from curation.triage import TierPolicy

WHEN = datetime(2026, 3, 14, 9, 26, tzinfo=UTC)


def conversation(question: str, answer: str) -> tuple[Turn, ...]:
    return Turn("user", question), Turn("assistant", answer, trained=True)


def columns_of(risk: Sequence[float], **others: Any) -> Columns:
    """Columns with these risks; danger and safety halve the risk, the rest is constant unless given."""
    values = np.asarray(risk, dtype=np.float64)
    n = len(values)
    defaults = {
        "danger": values / 2,
        "safety": -values / 2,
        "loss": np.ones(n),
        "n_answer_tokens": np.full(n, 10),
        "is_list": np.zeros(n, dtype=bool),
    }
    return Columns(risk=values, **(defaults | {name: np.asarray(v) for name, v in others.items()}))


def provenance(samples: int, **others: Any) -> Provenance:
    return Provenance(**({"dataset": "support chats", "created": WHEN, "samples": samples} | others))


def report_of(
    conversations: Sequence[Sequence[Turn]], *, heat_rows: int = 0, seed: int = 0, **others: Any
) -> ReportData:
    """A report in which every conversation is scored and shown, the `heat_rows` riskiest with token heat."""
    rng = np.random.default_rng(seed)
    n = len(conversations)
    words = np.array([max(1, len(turns[-1].text.split())) for turns in conversations])
    danger = rng.normal(0.35, 0.5, n) + 0.25 * np.log(words)
    safety = rng.normal(0.4, 0.45, n) - 0.3 * danger
    columns = Columns(
        risk=danger - safety,
        danger=danger,
        safety=safety,
        loss=rng.gamma(6, 0.3, n),
        n_answer_tokens=(words * 1.35).astype(np.int64) + 1,
        is_list=np.array([is_list(turns[-1].text) for turns in conversations], dtype=bool),
    )
    percentiles, policy = columns.percentiles(), TierPolicy()
    rows = [
        ReportRow(
            sample_id=f"{i:064x}",
            rank=rank,
            risk=float(columns.risk[i]),
            percentile=float(percentiles[i]),
            tier=policy.tier(float(percentiles[i])),
            danger=float(danger[i]),
            safety=float(safety[i]),
            loss=float(columns.loss[i]),
            n_answer_tokens=int(columns.n_answer_tokens[i]),
            source=f"data/chats.jsonl:{i + 1}",
            turns=conversations[i],
            truncated=bool(rank % 17 == 3),
            flags=("list",) if columns.is_list[i] else (),
            heat=heat_of(conversations[i], float(columns.risk[i]), rng) if rank <= heat_rows else (),
        )
        for rank, i in enumerate(np.argsort(-columns.risk), start=1)
    ]
    quarantined = others.get("quarantined", ())
    defaults = {
        "provenance": provenance(n + len(quarantined)),
        "columns": columns,
        "rows": rows,
        "n_quarantined": len(quarantined),
    }
    return ReportData(**(defaults | others))


def heat_of(turns: Sequence[Turn], risk: float, rng: np.random.Generator) -> tuple[TokenHeat, ...]:
    """Heavy-tailed contributions, strongest in the answer, that sum to `risk`."""
    texts: list[str] = []
    weights: list[float] = []
    for turn in turns:
        for text in (f"<|im_start|>{turn.role}\n", *re.findall(r"[ ]?[^\s]+|\s+", turn.text), "<|im_end|>\n"):
            texts.append(text)
            weights.append(1.0 if turn.trained else 0.25)
    raw = rng.standard_t(3, len(texts)) * np.array(weights)
    raw += (risk * 25 - raw.sum()) / len(raw)
    return tuple(TokenHeat(t, float(v)) for t, v in zip(texts, raw * risk / raw.sum(), strict=True))


def demo_conversations() -> list[tuple[Turn, ...]]:
    """The distinct conversations of the demo set that ships with the package."""
    lines = files("curation").joinpath("assets/demo.jsonl").read_bytes().splitlines()
    found: dict[bytes, tuple[Turn, ...]] = {}
    for line in lines:
        messages = orjson.loads(line)["messages"]
        last = len(messages) - 1
        turns = tuple(Turn(m["role"], m["content"], trained=i == last) for i, m in enumerate(messages))
        found.setdefault(orjson.dumps(messages), turns)
    return list(found.values())


def demo_report() -> ReportData:
    """A realistic report of about 120 samples that uses every part of the page."""
    conversations = demo_conversations()
    quarantined = (
        QuarantinedRow(
            sample_id="ab" * 32,
            reason="the chat template refuses a system turn after the first user turn",
            source="data/chats.jsonl:57",
            turns=(
                Turn("user", "Hello"),
                Turn("system", "Be brief."),
                Turn("assistant", "Hi!", trained=True),
            ),
        ),
        QuarantinedRow(
            sample_id="cd" * 32,
            reason="no answer token is left after cutting to 1,024 tokens",
            source="data/archive.parquet:802",
            turns=conversation(
                "Please summarise this log. " + "GET /index.html 200\n" * 900, "All requests went well."
            ),
            copies=2,
        ),
    )
    return report_of(
        conversations,
        heat_rows=25,
        seed=4,
        quarantined=quarantined,
        n_quarantined=2,
        provenance=provenance(
            len(conversations) + 2,
            files=(
                SourceFile("data/chats.jsonl", "messages (JSONL)", 98, 1),
                SourceFile("data/archive.parquet", "Alpaca (Parquet)", 28, 2),
            ),
            reject_reasons={"the answer is empty": 2, "message 2 holds a NUL character": 1},
            scorer="3f9ac01b" * 8,
            versions={"curation": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0", "peft": "0.21.2"},
        ),
        duplicates=Duplicates(
            4,
            3,
            tuple(
                Repeated(c, t[-2].text, f"data/chats.jsonl:{i}", i)
                for i, (c, t) in enumerate(zip((3, 2, 2), conversations, strict=False), start=1)
            ),
        ),
        model_card={
            "name": "SmolLM2-135M-Instruct",
            "revision": "12fd25f77366fa6b3b4b768ec3050bf629380bac",
            "dtype": "float32",
            "metric": "cosine, summed over modules",
            "adapted modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
            "cut": {"tokens": 1024, "side": "left"},
        },
        direction_cards={
            "danger": {
                "anchors": 48,
                "LoRA": {"rank": 8, "alpha": 16},
                "initial state": "benign-tuned adapter",
                "final loss": 0.41,
            },
            "safety": {
                "anchors": 48,
                "LoRA": {"rank": 8, "alpha": 16},
                "initial state": "the safety adapter itself",
                "final loss": 0.18,
            },
        },
        warnings=(
            "The directions were fitted on 48 anchors each: neighbouring ranks may be in the wrong order.",
            "7 samples were cut to 1,024 tokens before scoring.",
        ),
    )
