"""What the scoring commands have in common: a scorer from settings or from the ledger, and its progress."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine

from curation.cli.console import errors, progress
from curation.errors import LedgerError
from curation.ledger.engine import reading
from curation.ledger.overview import counts
from curation.ledger.samples import Dataset, find_dataset, list_datasets
from curation.ledger.scores import Scorer as StoredScorer
from curation.ledger.scores import find_scorer, register_scorer
from curation.settings import Settings, get_settings

if TYPE_CHECKING:
    from curation.sqsd.scorer import Scored, Scorer


def make_scorer(settings: Settings, quiet: bool) -> Scorer:
    """Load the scorer the settings name, saying what is going on."""
    _quieten_transformers()
    from curation.sqsd.load import load_scorer

    if quiet:
        return load_scorer(settings)
    with errors.status(f"loading {settings.model}") as status:
        return load_scorer(settings, say=lambda text: status.update(text))


def _quieten_transformers() -> None:
    """Keep the libraries' own bars and deprecation notes out of a command's output."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers|peft")


def same_scorer(settings: Settings, stored: StoredScorer, quiet: bool) -> Scorer:
    """Load a stored scorer again. Raises LedgerError if what it was made of has changed since."""
    given = stored.card.get("loaded_from", {})
    again = get_settings(**given, home=settings.home, token_budget=settings.token_budget)
    scorer = make_scorer(again, quiet)
    if scorer.fingerprint != stored.fingerprint:
        raise LedgerError(
            f"the scorer {stored.fingerprint[:12]} cannot be loaded again: its model, adapters, device or "
            "library have changed since it scored",
            "Score again with what you have now: curation score",
        )
    return scorer


def score_with_progress(
    engine: Engine, scorer: Scorer, settings: Settings, dataset: Dataset, quiet: bool
) -> int:
    """Score what the dataset lacks under a progress bar with rate and ETA; returns the scorer's number."""
    from curation.reconcile.score import score_dataset
    from curation.sqsd.load import origin

    card = {**scorer.card, "loaded_from": origin(settings)}
    scorer_id = register_scorer(engine, scorer.fingerprint, card)
    with reading(engine) as conn:
        total = counts(conn, dataset.id, scorer_id)
    if not total.unscored:
        return scorer_id
    tokens, start = 0, time.monotonic()
    with progress(quiet) as bar:
        task = bar.add_task("scoring", total=total.unscored, rate="first batch")

        def on_batch(batch: list[Scored]) -> None:
            nonlocal tokens
            tokens += sum(r.score.n_tokens for r in batch if r.score)
            rate = f"{tokens / (time.monotonic() - start):,.0f} tokens/s"
            bar.update(task, advance=len(batch), rate=rate)

        return score_dataset(engine, scorer, dataset.id, on_batch)


def choose_dataset(conn: Connection, name: str | None) -> Dataset:
    """The named dataset, or the only one. Raises LedgerError listing what there is."""
    if name is not None:
        return find_dataset(conn, name)
    known = list_datasets(conn)
    if len(known) == 1:
        return known[0]
    if not known:
        raise LedgerError(
            "the ledger is empty", "Read something in: curation ingest FILE, or try: curation demo"
        )
    names = ", ".join(d.name for d in known)
    raise LedgerError(f"there are {len(known)} datasets: {names}", "Choose one with --dataset.")


def choose(conn: Connection, dataset: str | None, scorer: str | None) -> tuple[Dataset, StoredScorer]:
    """Dataset and scorer as named, or the only dataset and the newest scorer."""
    return choose_dataset(conn, dataset), find_scorer(conn, scorer)


def summary(conn: Connection, dataset: Dataset, stored: StoredScorer, settings: Settings) -> dict[str, Any]:
    """Counts of a dataset under a scorer, JSON-able."""
    total = counts(conn, dataset.id, stored.id, settings.tiers)
    fields = ("rows", "samples", "duplicates", "scored", "quarantined", "unscored", "tiers")
    return {"dataset": dataset.name, "scorer": stored.fingerprint} | {f: getattr(total, f) for f in fields}
