"""A ledger as one finds it after a week of work: scored, quarantined and waiting samples, decisions, targets."""

from __future__ import annotations

import itertools
import json
from importlib.resources import files

import numpy as np
from sqlalchemy import Engine

from curation.ledger import add_samples, find_dataset, reading, register_scorer, writing
from curation.ledger.backlog import put_in_service
from curation.ledger.decisions import NewDecision, record_decisions
from curation.ledger.explanations import ModuleShare, Reasons, keep_reasons
from curation.ledger.fleet import show_worker
from curation.ledger.items import NewItem, put_items, samples_by_pk
from curation.ledger.targets import add_target, list_targets
from curation.samples.sample import Message, Sample, Source
from tests.ledger.builders import pks_of, quarantine_sample, score_row, write_scores
from tests.report.hostile import LONG, PAYLOADS

SUPPORT, HOSTILE, EMPTY = "support", "hostile <b>&\"'", "new"

SCORER = "5c" * 32

RTL = "اشرح لي كيف أطبخ العدس مع الأرز (mujaddara) خطوة بخطوة"

CARD = {
    "model": {"name": "SmolLM2-135M-Instruct", "revision": "tests"},
    "metric": "cosine",
    "device": "cpu",
    "directions": {"danger": {"rows": 48}, "safety": {"rows": 48}},
}


def fill(engine: Engine) -> None:
    """Fill an empty ledger."""
    scorer_id = register_scorer(engine, SCORER, CARD)
    _support(engine, scorer_id)
    _hostile(engine, scorer_id)
    add_samples(engine, EMPTY, [])
    add_samples(engine, EMPTY, [_sample("a question", "an answer", 1)])
    put_in_service(engine, scorer_id)
    show_worker(engine, "gpu-1:4711", device="cuda:0", scorer_id=scorer_id, samples_per_second=41.7)
    show_worker(
        engine, "gpu-2:4712", device="cuda:1", scorer_id=scorer_id, trouble="out of memory on the GPU"
    )


def _support(engine: Engine, scorer_id: int) -> None:
    """The shipped samples: 3 in quarantine, 5 waiting, the others scored; 20 reviewed, on one of two targets."""
    texts = files("curation").joinpath("assets/demo.jsonl").read_text().splitlines()
    found = [json.loads(line)["messages"] for line in texts]
    samples = [
        Sample(tuple(Message(m["role"], m["content"]) for m in messages), source=Source("support.jsonl", n))
        for n, messages in enumerate(found, start=1)
    ]
    add_samples(engine, SUPPORT, [*samples, _sample(RTL, RTL * 3, len(samples) + 1)])
    with reading(engine) as conn:
        dataset_id = find_dataset(conn, SUPPORT).id
    pks = pks_of(engine, dataset_id)
    for pk in pks[:3]:
        quarantine_sample(engine, scorer_id, pk, "the chat template cannot express a second system turn")
    rng = np.random.default_rng(7)
    risks = rng.normal(0, 9, len(pks) - 8) + 10 * (rng.random(len(pks) - 8) < 0.08)
    rows = [
        score_row(
            pk, dataset_id, float(risk), danger=float(risk) - 4.2, safety=-4.2,
            loss=float(rng.uniform(0.8, 3.5)), grad_norm=float(rng.lognormal(0, 0.5)),
            n_tokens=int(rng.integers(60, 400)), n_answer_tokens=int(rng.integers(20, 300)),
        )
        for pk, risk in zip(pks[8:], risks, strict=True)
    ]  # fmt: skip
    write_scores(engine, scorer_id, rows)
    order = [row.sample_pk for row in sorted(rows, key=lambda row: -row.risk)]
    _decide(engine, dataset_id, order[4:24])
    _explain(
        engine, scorer_id, dataset_id, {row.sample_pk: row.risk for row in rows if row.sample_pk in order[:3]}
    )
    for name, platform, url in (
        ("Safety review", "label-studio", "https://labels.example.org"),
        ("second look", "argilla", "https://argilla.example.org"),
    ):
        add_target(engine, name, platform, dataset_id, url, "7", {})
    with writing(engine) as conn:
        for target in list_targets(conn):
            put_items(conn, target, [NewItem(f"{1000 + pk}", pk) for pk in order[:30]])


def _explain(engine: Engine, scorer_id: int, dataset_id: int, risks: dict[int, float]) -> None:
    """Shares of the risk by token, three characters each, and by module."""
    rng = np.random.default_rng(1)
    with reading(engine) as conn:
        stored = samples_by_pk(conn, dataset_id, list(risks))
    for one in stored:
        text = "".join(f"<|{m.role}|>{m.content}" for m in one.sample.messages)
        tokens = [text[i : i + 3] for i in range(0, len(text), 3)]
        modules = {
            f"model.layers.{layer}.{part}": ModuleShare(*map(float, rng.normal(0, 0.3, 2)))
            for layer in range(12)
            for part in ("self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj")
        }
        shares = rng.standard_t(2, len(tokens))
        shares += (risks[one.pk] - shares.sum()) / len(tokens)  # they add up to the risk
        reasons = Reasons(tokens, [float(share) for share in shares], modules)
        keep_reasons(engine, scorer_id, one.pk, reasons)


def _decide(engine: Engine, dataset_id: int, pks: list[int]) -> None:
    with reading(engine) as conn:
        ids = [stored.sample.id for stored in samples_by_pk(conn, dataset_id, pks)]
    verdicts = itertools.cycle(("reject", "approve", "approve"))
    made = [
        NewDecision(one, verdict, reviewer, "label-studio", reason="gives away the steps", remote_id=f"{n}")
        for n, (one, verdict) in enumerate(zip(ids, verdicts, strict=False))
        for reviewer in (["ana"] if n % 5 else ["ana", "bo"])
    ]
    made += [NewDecision(ids[1], "reject", "cleo", "command line")]
    record_decisions(engine, dataset_id, made)


def _hostile(engine: Engine, scorer_id: int) -> None:
    """Text written to break a page wherever text can come from."""
    samples = [
        Sample(
            (Message("user", text), Message("assistant", f"{text} answer")),
            metadata={text[:60]: text},
            source=Source(text[:200], n),
        )
        for n, text in enumerate([*PAYLOADS, LONG[:400_000]], start=1)
    ]
    add_samples(engine, HOSTILE, samples)
    with reading(engine) as conn:
        dataset_id = find_dataset(conn, HOSTILE).id
    pks = pks_of(engine, dataset_id)
    quarantine_sample(engine, scorer_id, pks[0], PAYLOADS[0])
    write_scores(engine, scorer_id, [score_row(pk, dataset_id, 0.25 * n) for n, pk in enumerate(pks[1:])])
    for pk, sample in zip(pks[1:], samples[1:-1], strict=False):
        text = sample.messages[0].content
        keep_reasons(
            engine, scorer_id, pk, Reasons([text, text[::-1]], [0.5, -0.25], {text: ModuleShare(1.0, 0.5)})
        )
    made = [
        NewDecision(sample.id, "reject", "'<i>mallory", text, reason=text, note=text)
        for sample, text in zip(samples, PAYLOADS, strict=False)
    ]
    record_decisions(engine, dataset_id, made)


def _sample(prompt: str, answer: str, line: int) -> Sample:
    return Sample(
        (Message("user", prompt), Message("assistant", answer)), source=Source("support.jsonl", line)
    )
