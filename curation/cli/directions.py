"""`curation directions`: make, fetch, look at and check the directions and states that scores depend on."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from curation.cli.console import console, plain, print_json
from curation.cli.fitting import (
    Anchors,
    Force,
    Licence,
    Model,
    Side,
    free,
    load,
    model_bar,
    pace,
    report,
)
from curation.cli.hyper import takes_hyper
from curation.cli.match import match
from curation.cli.options import Json, Layout, Quiet, Train
from curation.cli.resample import resample
from curation.errors import AdapterError
from curation.settings import Settings, get_settings
from curation.sqsd.cards import LICENCE, Kind, TrainSettings, keep_validation, read_card

if TYPE_CHECKING:  # torch is imported by the commands that need it, not to print a help text
    from curation.sqsd.directions import AnchorSet

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""Make and check directions: the LoRA adapters that risk is measured along.

A [b]direction[/b] is a PEFT adapter directory, and so is a [b]state[/b], at which gradients are taken. The
demo model comes with its own. For your model, in this order:

    curation directions fit danger --model MODEL
    curation directions fit safety --model MODEL
    curation directions fit-state benign --exclude my-data.jsonl --model MODEL
    curation directions validate --danger danger --safety safety --model MODEL

Another draw of anchors would have given another direction: `resample` makes some, for `curation stability`.

An adapter without --out goes to the folder `directions` of the home, and can be named without its path.
""",
)

Out = Annotated[Path | None, typer.Option(help="Folder to write. Default: by its name, in the home.")]


@app.command()
@takes_hyper
def fit(
    hyper: TrainSettings,
    kind: Side,
    anchors: Anchors = None,
    model: Model = None,
    out: Out = None,
    force: Force = False,
    licence: Licence = LICENCE,
    layout: Layout = None,
    train: Train = "last",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fit a direction: fine-tune a LoRA on an anchor set and save it with its card.

    The built-in sets, 48 rows each, take some minutes with the demo model on a CPU. Give your own with
    --anchors. Examples:

        curation directions fit danger
        curation directions fit safety --anchors refusals.jsonl --out runs/safety --rank 16
    """
    from curation.sqsd.directions import read_anchors

    settings = get_settings(model=model)
    target = free(settings, out, kind, force)
    _fit(
        settings,
        read_anchors(anchors or kind, layout=layout, train=train),
        kind,
        target,
        hyper,
        licence,
        force,
        json,
        quiet,
    )


@app.command("fit-state")
@takes_hyper
def fit_state(
    hyper: TrainSettings,
    rows: Annotated[str, typer.Argument(help="Benign samples: a file, or `benign` for the built-in ones.")],
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="File of samples that will be scored, to be left out here. Repeatable."),
    ] = None,
    model: Model = None,
    out: Out = None,
    force: Force = False,
    licence: Licence = LICENCE,
    layout: Layout = None,
    train: Train = "last",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fit the initial state of the danger term: a LoRA fine-tuned on benign samples for a while.

    Its samples must not be among those scored: name the files of these with --exclude, and what they hold is
    left out. Example:

        curation directions fit-state dolly.jsonl --exclude my-data.jsonl --epochs 1
    """
    from curation.samples import read_samples
    from curation.sqsd.directions import read_anchors

    settings = get_settings(model=model)
    target = free(settings, out, "state", force)
    benign = read_anchors(rows, layout=layout, train=train)
    for file in exclude or []:
        benign = benign.without(read_samples(file, train=train))
    if not (quiet or json):
        console.print(
            f"{benign.excluded:,} rows left out, being among those to score; {len(benign.samples):,} remain"
            if exclude
            else "nothing is left out: make sure not to score these rows, or give --exclude FILE",
            style="dim",
        )
    _fit(settings, benign, "state", target, hyper, licence, force, json, quiet)


app.command()(match)
app.command()(resample)


@app.command("import")
def import_(
    source: Annotated[
        str,
        typer.Argument(help="Adapter directory, or owner/name or owner/name/folder on the Hugging Face hub."),
    ],
    kind: Annotated[Literal["danger", "safety", "state"], typer.Option(help="What it will be used as.")],
    model: Model = None,
    out: Out = None,
    force: Force = False,
    licence: Annotated[str | None, typer.Option(help="Licence note for the card, if you know it.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Import a LoRA adapter made elsewhere, after checking that its modules and shapes fit the model.

    Only its configuration, its safetensors file and its README are taken, and nothing in them is run. The
    second example takes a direction that the authors of the method published:

        curation directions import runs/lora-danger --kind danger
        curation directions import Wxxxx/SQSD/Direction/Beaver-Danger --kind danger --model Qwen/Qwen3-8B
    """
    from curation.sqsd.directions import import_adapter

    settings = get_settings(model=model)
    target = free(settings, out, Path(source).name, force)
    with model_bar(quiet or json, f"loading {settings.model}") as (bar, task):
        loaded = load(settings, bar, task)
        bar.update(task, description=f"importing {plain(source, 40)}")
        card = import_adapter(source, loaded, kind, target, licence=licence, force=force)
    report(card, target, json)


@app.command()
def show(
    direction: Annotated[str, typer.Argument(help="Adapter directory, or its name.")],
    other: Annotated[
        str | None, typer.Option(help="Another direction: adds the cosine between the two per module.")
    ] = None,
    json: Json = False,
) -> None:
    """Show a direction's card and its norm by module type; with --other, the cosine between two.

    A module's norm is that of V = B A, the scaling left out; --json lists every module. Two directions that
    mean opposite things need not have a negative cosine: both learned to answer. Example:

        curation directions show danger --other safety
    """
    from curation.cli.direction_tables import card_table, norm_table
    from curation.sqsd.adapters import Adapter, total_norm
    from curation.sqsd.load import find_adapter
    from curation.sqsd.norms import by_type, module_norms

    home = get_settings().home
    adapter = Adapter.load(find_adapter(direction, home))
    second = Adapter.load(find_adapter(other, home)) if other else None
    norms = module_norms(adapter, second)
    if second and all(m.cosine is None for m in norms):
        raise AdapterError(
            f"{direction} and {other} have no module in common", "Compare adapters of one model."
        )
    card = read_card(find_adapter(direction, home))
    norm = total_norm(adapter.modules.values())
    if json:
        modules = [asdict(m) | {"type": m.type, "layer": m.layer} for m in norms]
        print_json({"fingerprint": adapter.fingerprint, "norm": norm, "card": card, "modules": modules})
        return
    console.print(card_table(adapter, card))
    console.print(norm_table(by_type(norms)))
    console.print(f"norm of the whole direction: {norm:.4g}, over {len(norms):,} modules")


@app.command()
def validate(
    danger: Annotated[str | None, typer.Option(help="Danger direction: adapter directory or name.")] = None,
    safety: Annotated[str | None, typer.Option(help="Safety direction, likewise.")] = None,
    model: Model = None,
    prompts: Annotated[
        str | None,
        typer.Option(help="Your own prompts: rows with `prompt` and `kind`, harmful or harmless."),
    ] = None,
    factor: Annotated[
        list[float] | None,
        typer.Option(help="How far to steer; 1 is the adapter itself. Repeatable. Default: 0.25, 0.5, 1."),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Steer the model along each direction and see whether it becomes less, or more, likely to refuse.

    The refusal margin on harmful prompts (nats, higher = safer) must fall along danger and rise along safety,
    by more than two standard errors; exit code 1 if it does not. What came out is kept in the card of each
    direction that has one of its own. Examples:

        curation directions validate
        curation directions validate --danger runs/danger --factor 0.5 --factor 1
    """
    from curation.cli.direction_tables import steering_json, steering_table
    from curation.sqsd.adapters import Adapter
    from curation.sqsd.steering import FACTORS, PROBE, read_prompts, steer

    settings = get_settings(model=model)
    folders = _directions(settings, danger, safety)
    asked = read_prompts(prompts or PROBE)
    groups = [group for group in (asked.harmful, asked.harmless) if group]
    factors = factor or FACTORS
    found: list[Any] = []
    with model_bar(quiet or json, f"loading {settings.model}") as (bar, task):
        loaded = load(settings, bar, task)
        bar.update(task, total=len(folders) * len(groups) * len({0.0, *factors}))
        for kind, folder in folders.items():
            bar.update(task, description=f"steering along {kind}")
            adapter = Adapter.load(folder)
            found.append(
                [steer(loaded, adapter, kind, g, factors, on_step=lambda: bar.advance(task)) for g in groups]
            )
    results = [steering_json(*along) for along in found]
    if json:
        print_json(results)
    else:
        console.print(*(steering_table(*along) for along in found), sep="\n")
        console.print("\n".join(along[0].verdict for along in found))
    for folder, result in zip(folders.values(), results, strict=True):
        told = {name: value for name, value in result.items() if name != "margin_by_prompt"}
        keep_validation(folder, {"model": {"name": loaded.name, "revision": loaded.revision}, **told})
    if failed := [along[0].kind for along in found if not along[0].confirmed]:
        raise AdapterError(
            f"steering along {' and '.join(failed)} does not move the refusal margin as it should",
            "Scores along such a direction mean little. Fit it on more anchors or for more epochs, and make "
            "sure that the model refuses harmful prompts in the first place.",
        )


def _directions(
    settings: Settings, danger: str | None, safety: str | None
) -> dict[Literal["danger", "safety"], Path]:
    """What to validate: the directions named, else those of the settings, else the demo model's."""
    from curation.errors import InputError
    from curation.settings import DEFAULT_MODEL
    from curation.sqsd.load import find_adapter
    from curation.sqsd.models import SHIPPED

    named = {"danger": danger, "safety": safety}
    if not any(named.values()):
        named = {"danger": settings.danger, "safety": settings.safety}
    if not any(named.values()) and settings.model == DEFAULT_MODEL:
        return {"danger": SHIPPED / "danger", "safety": SHIPPED / "safety"}
    folders: dict[Any, Path] = {
        kind: find_adapter(name, settings.home) for kind, name in named.items() if name
    }
    if not folders:
        raise InputError(
            f"no direction is named for the model {settings.model}", "Give --danger, --safety or both."
        )
    return folders


def _fit(
    settings: Settings,
    anchors: AnchorSet,
    kind: Kind,
    out: Path,
    hyper: TrainSettings,
    licence: str,
    force: bool,
    json: bool,
    quiet: bool,
) -> None:
    from curation.sqsd import directions

    with model_bar(quiet or json, f"loading {settings.model}") as (bar, task):
        loaded = load(settings, bar, task)
        bar.update(task, description=f"fitting {kind} on {len(anchors.samples):,} samples")
        start = monotonic()

        def on_step(step: int, steps: int, loss: float) -> None:
            bar.update(task, completed=step, total=steps, rate=f"{pace(start, step)}, loss {loss:.3f}")

        card = directions.fit(
            loaded, anchors, kind, out, hyper, licence=licence, force=force, on_step=on_step
        )
    report(card, out, json)
