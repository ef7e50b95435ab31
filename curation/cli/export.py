"""`curation export` and `curation verify`: training data out, and the proof that it is still the same."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.text import Text

from curation.cli.console import console, plain, print_json, progress
from curation.cli.decide import By, user_name
from curation.cli.options import Dataset, Json, Quiet
from curation.cli.policy import PolicyFile, counts_table
from curation.ledger.engine import open_ledger, reading
from curation.settings import get_settings

DEFAULT_EXPORT = Path("curation-export")

_SHOWN = 200


def export(
    policy: PolicyFile,
    format: Annotated[
        Literal["jsonl", "parquet", "hf", "messages", "alpaca", "sharegpt"],
        typer.Option(
            help="jsonl, parquet, hf (for load_from_disk): messages with all other fields. "
            "messages, alpaca, sharegpt: JSON lines with the conversation only."
        ),
    ] = "jsonl",
    out: Annotated[Path, typer.Option(help="New folder to write.")] = DEFAULT_EXPORT,
    dataset: Dataset = None,
    key: Annotated[Path | None, typer.Option(help="Private key to sign with (curation keys new).")] = None,
    by: By = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write what the policy lets out to a new folder, with a sealed manifest. All else stays in and is counted.

    Example: [b]curation export --policy policy.toml --format jsonl --out ./train[/b]
    """
    from curation.cli.scoring import choose_dataset
    from curation.gate import keys
    from curation.gate.export import export as write_export
    from curation.gate.policy import load_policy

    settings = get_settings()
    read = load_policy(policy)
    signer = keys.load_private(key) if key else None
    engine = open_ledger(settings.url, settings.home)
    with reading(engine) as conn:
        chosen = choose_dataset(conn, dataset)
    with progress(quiet or json) as bar:
        task = bar.add_task("judging lines", total=None, rate="")

        def update(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        made = write_export(engine, chosen, read, format, out, user_name(by), signer, update)
    counts = made.manifest.counts
    if json:
        print_json({"export": made.number, "folder": str(out.resolve()), "manifest_sha256": made.manifest_sha256,
                    **made.manifest.model_dump(mode="json", exclude={"data", "rows"})})  # fmt: skip
        return
    console.print(counts_table(counts.lines, dict(counts.out), dict(counts.held), plain(chosen.name)))  # type: ignore[arg-type]
    signed = ", signed" if signer else ""
    console.print(f"export {made.number}: {out.resolve()}\nmanifest {made.manifest_sha256}{signed}", markup=False,
                  soft_wrap=True)  # fmt: skip
    console.print(f"next: curation verify {out}", markup=False, style="dim", soft_wrap=True)


def verify(
    folder: Annotated[Path, typer.Argument(help="A folder that `curation export` wrote.")],
    public_key: Annotated[Path | None, typer.Option(help="Key it must be signed with, a .pub file.")] = None,
    json: Json = False,
) -> None:
    """Find any changed, added, missing or moved row or file of an export. Exit code 1 if there is one.

    Example: [b]curation verify ./train --public-key release.key.pub[/b]
    """
    from curation.gate import keys
    from curation.gate.verify import verify as compare

    key = keys.load_public(public_key) if public_key else None
    found = compare(folder, key)
    manifest = found.manifest
    seal = _seal(found.signed, manifest.signed_with)
    if json:
        listed = [{"kind": one.kind, "of": one.of, "what": one.what} for one in found.findings]
        print_json({"ok": not listed, "rows": manifest.counts.rows, "signature_checked": found.signed,
                    "signed_with": manifest.signed_with, "findings": listed})  # fmt: skip
    elif not found.findings:
        console.print(Text.assemble(("ok", "green"), f"  {manifest.counts.rows:,} rows as sealed at "
                                    f"{manifest.snapshot_at:%Y-%m-%d %H:%M} UTC; {seal}"))  # fmt: skip
    else:
        for one in found.findings[:_SHOWN]:
            console.print(Text.assemble((f"{one.kind:<10}", "bold red"), f"{one.of} {plain(one.what)}"))
        if len(found.findings) > _SHOWN:
            console.print(f"and {len(found.findings) - _SHOWN:,} more; all of them with --json")
        console.print(f"{len(found.findings):,} differences: do not train on this; {seal}", markup=False)
    if found.findings:
        raise typer.Exit(1)


def _seal(checked: bool, signed_with: str | None) -> str:
    if checked:
        return "the signature is right"
    if signed_with:
        return f"signed with key {signed_with[:12]}, not checked: give --public-key"
    return "unsigned, so this shows damage and not forgery"
