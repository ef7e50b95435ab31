"""What the scoring commands have in common: a scorer from settings or from the ledger, and its progress."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine

from curation.cli.console import errors, progress
from curation.errors import LedgerError
from curation.ledger.engine import reading
from curation.ledger.overview import counts
from curation.ledger.samples import Dataset, find_dataset, list_datasets
from curation.ledger.scores import Scorer as StoredScorer
from curation.ledger.scores import find_scorer, register_scorer
from curation.settings import Settings

if TYPE_CHECKING:
    from curation.sqsd.score import Scored
    from curation.sqsd.scorer import Scorer


def make_scorer(settings: Settings, quiet: bool) -> Scorer:
    """Load the scorer the settings name, saying what is going on."""
    quieten_transformers()
    from curation.sqsd.load import load_scorer

    with _loading(settings.model, quiet) as say:
        scorer = load_scorer(settings, say=say)
    if scorer.doubt:
        errors.print(f"doubtful: {scorer.doubt}", style="yellow")
    return scorer


def same_scorer(settings: Settings, stored: StoredScorer, quiet: bool, *, draws: bool = False) -> Scorer:
    """Load a stored scorer again, with the draws of its directions if wanted.

    Raises ModelError if what it was made of has changed since.
    """
    quieten_transformers()
    from curation.sqsd.load import reload_scorer

    model = stored.card.get("loaded_from", {}).get("model", "the model")
    with _loading(model, quiet) as say:
        return reload_scorer(stored.card, stored.fingerprint, settings, draws=draws, say=say)


@contextmanager
def _loading(model: str, quiet: bool) -> Generator[Callable[[str], None]]:
    if quiet:
        yield lambda _: None
        return
    with errors.status(f"loading {model}") as status:
        yield lambda text: status.update(text)


def quieten_transformers() -> None:
    """Keep the libraries' own bars and deprecation notes out of a command's output."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers|peft")


def register(engine: Engine, scorer: Scorer, settings: Settings) -> int:
    """The scorer's number in the ledger, whose card says what it was loaded from."""
    from curation.sqsd.load import origin

    return register_scorer(engine, scorer.fingerprint, {**scorer.card, "loaded_from": origin(settings)})


def score_with_progress(
    engine: Engine, scorer: Scorer, settings: Settings, dataset: Dataset, quiet: bool
) -> int:
    """Score what the dataset lacks under a progress bar with rate and ETA; returns the scorer's number."""
    from curation.reconcile.score import score_dataset

    scorer_id = register(engine, scorer, settings)
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
