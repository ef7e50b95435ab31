"""`curation watch`: files that appear in a folder are read and scored, for ever or once."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from sqlalchemy import Engine

from curation.cli.console import EXIT_INCOMPLETE, console, errors, plain, print_json
from curation.cli.fleet import bell
from curation.cli.hooks import tell_hooks
from curation.cli.ingest import Ingested, dataset_name, ingest_file, say
from curation.cli.options import Json, Layout, Quiet, Train, takes_scorer
from curation.errors import CurationError, InputError, LedgerError, LedgerUnavailable
from curation.ledger.engine import open_ledger, reading
from curation.ledger.samples import ensure_dataset, find_dataset
from curation.ledger.watched import note_read, states_read
from curation.samples.folder import Watched, name_of, state_of
from curation.settings import Settings

if TYPE_CHECKING:
    from curation.sqsd.scorer import Scorer


@takes_scorer
def watch(
    settings: Settings,
    folder: Annotated[
        Path, typer.Argument(help="Folder in which files appear; those in it are not entered.")
    ],
    dataset: Annotated[
        str | None, typer.Option(help="Dataset to add to. Default: the folder's name, for all files in it.")
    ] = None,
    every: Annotated[float, typer.Option(min=0.01, help="Seconds between two looks.")] = 5.0,
    once: Annotated[
        bool, typer.Option("--once", help="Two looks, what is at rest between them, and stop: for cron.")
    ] = False,
    layout: Layout = None,
    train: Train = "last",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read files that appear in a folder, and score what is new in them.

    A file is read once its size has stopped changing between two looks, and again when it changes; reading the same
    rows again changes nothing. The ledger remembers what was read, so that killing this loses nothing. Bad rows are
    kept aside as by [b]curation ingest[/b], and a broken file does not stop the others. Ctrl-C ends it. Where a broker
    is set, workers are rung and do the scoring.

    Examples: [b]curation watch /data/incoming --dataset support[/b], or from cron:
    [b]curation watch /data/incoming --once --quiet[/b]
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}", "Make it first, or mount it.")
    engine = open_ledger(settings.url, settings.home)
    at_work = _Watch(engine, settings, folder.resolve(), dataset, layout, train, json, quiet)
    # systemd's way to end it is SIGTERM
    before = {number: signal.signal(number, at_work.interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        if once:
            at_work.once(every)
        else:
            at_work.forever(every)
    except KeyboardInterrupt:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if at_work.interrupted:
        errors.print(f"stopped; {at_work.files:,} files were read, and what was committed is kept")
        return
    if at_work.incomplete:
        raise typer.Exit(EXIT_INCOMPLETE)


class _Away(InputError):  # noqa: N818 - a state that passes
    """The folder cannot be listed: it may come back."""


class _Watch:
    """One run of the command. `incomplete`: rows were rejected, files were broken, or samples could not be scored;
    `interrupted`: somebody wants it to end."""

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        folder: Path,
        dataset: str | None,
        layout: str | None,
        train: Any,
        json: bool,
        quiet: bool,
    ) -> None:
        self.files = 0
        self.incomplete = False
        self.interrupted = False
        self._engine, self._settings, self._folder = engine, settings, folder
        self._name = dataset or dataset_name(str(folder))
        self._layout, self._train, self._json, self._quiet = layout, train, json, quiet
        self._dataset_id = ensure_dataset(engine, self._name)
        self._watched = Watched(folder)
        self._growing = 0
        self._broken: dict[str, str] = {}
        self._scorer: Scorer | None = None
        self._to_score = self._anything_unscored()

    def interrupt(self, *_: object) -> None:
        """What a signal does. An exception raised in a library's callback can get lost: hence the mark."""
        self.interrupted = True
        raise KeyboardInterrupt

    def once(self, pause: float) -> None:
        """All that is at rest for so many seconds."""
        done = self._look()
        if self._growing:
            self._wait(pause)
            done += self._look()
        self._go_on(done)
        if self._growing:
            errors.print(
                f"{self._growing:,} files are still being written to; they are left to the next time"
            )
            self.incomplete = True

    def forever(self, pause: float) -> None:
        """Look until interrupted. A folder or a database that is away is told of and waited for."""
        trouble = ""
        while not self.interrupted:
            try:
                self._go_on(self._look())
                trouble = ""
            except (_Away, LedgerUnavailable) as error:
                self._to_score = True  # what was read until then may have brought something
                if error.message != trouble:
                    trouble = error.message
                    errors.print(f"[yellow]{escape(plain(trouble))}; trying again[/]")
            self._wait(pause)

    def _look(self) -> list[Ingested]:
        """Read what is at rest and was not read yet."""
        with reading(self._engine) as conn:
            read = states_read(conn, self._dataset_id)
        known = {
            path: state.rpartition(" as ")[0] for path, state in read.items() if state.endswith(self._how)
        }
        try:
            resting, self._growing = self._watched.look(known)
        except OSError as error:
            raise _Away(
                f"the folder {self._folder} cannot be listed: {error.strerror}", "Is it mounted?"
            ) from None
        return [one for path, state in resting.items() if (one := self._read(path, state))]

    def _go_on(self, done: list[Ingested]) -> None:
        """What follows reading: scoring, and telling whoever wants to hear of it."""
        self._to_score |= any(one.added.new for one in done)
        scored = self._score() if self._to_score else {}
        tell_hooks(self._engine, self._settings, self._quiet or self._json)
        if self._json and (done or scored):
            print_json({"files": [one.as_json() for one in done], **scored})

    @property
    def _how(self) -> str:
        """A file that is to be read in another way has not been read."""
        return f" as {self._layout or 'any layout'}, {self._train}"

    def _read(self, path: str, state: str) -> Ingested | None:
        """Read one file. What is wrong with it is told once, tried again at every look, and stops no other file."""
        silent = self._quiet or self._json
        try:
            done = ingest_file(
                self._engine, self._settings, path, self._name, self._layout, self._train, silent
            )
        except LedgerError:
            raise
        except Exception as error:
            self.incomplete = True
            # of what is no error for users only the kind: its text may quote a row
            said = error.message if isinstance(error, CurationError) else f"{path}: {type(error).__name__}"
            if self._broken.get(path) != said:
                self._broken[path] = said
                errors.print(f"[red]not read:[/] {escape(plain(name_of(said), 300))}")
            return None
        self._broken.pop(path, None)
        self.files += 1
        self.incomplete |= bool(done.rejected)
        if state_of(Path(path)) == state:
            note_read(self._engine, self._dataset_id, name_of(path), state + self._how)
        if not silent:
            say(done)
        return done

    def _score(self) -> dict[str, Any]:
        """Score what the dataset lacks, or have the workers do it."""
        if self._settings.broker_url is not None:
            bell(self._settings, self._engine)()
            self._to_score = False
            return {}
        from curation.cli.scoring import make_scorer, score_with_progress, summary
        from curation.ledger.scores import scorer_by_id

        silent = self._quiet or self._json
        self._scorer = self._scorer or make_scorer(self._settings, silent)
        with reading(self._engine) as conn:
            dataset = find_dataset(conn, self._name)
        number = score_with_progress(self._engine, self._scorer, self._settings, dataset, silent)
        with reading(self._engine) as conn:
            done = summary(conn, dataset, scorer_by_id(conn, number), self._settings)
        self._to_score = False
        self.incomplete |= bool(done["quarantined"])
        if not silent:
            tiers = ", ".join(f"{n:,} {tier}" for tier, n in done["tiers"].items())
            held = f"; {done['quarantined']:,} could not be scored" if done["quarantined"] else ""
            console.print(
                f"{done['scored']:,} of {done['samples']:,} samples of {self._name} scored: {tiers}{held}",
                markup=False,
            )
        return done

    def _anything_unscored(self) -> bool:
        """Whether an earlier run may have been stopped between reading and scoring."""
        from curation.ledger.overview import counts
        from curation.ledger.scores import newest_scorer

        with reading(self._engine) as conn:
            newest, _ = newest_scorer(conn)
            return counts(conn, self._dataset_id, newest).unscored > 0

    def _wait(self, seconds: float) -> None:
        growing = f", {self._growing:,} not at rest yet" if self._growing else ""
        broken = f", {len(self._broken):,} could not be read" if self._broken else ""
        line = (
            f"watching {escape(plain(str(self._folder), 60))} for dataset [b]{escape(plain(self._name, 30))}[/]: "
            f"{self.files:,} files read{growing}{broken}; Ctrl-C ends it"
        )
        if self._quiet or self._json:
            time.sleep(seconds)
            return
        with errors.status(line):
            time.sleep(seconds)
