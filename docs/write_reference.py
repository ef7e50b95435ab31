"""Writes docs/reference/ from the code: python -m docs.write_reference, or `make docs-reference`."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic_core import PydanticUndefined

from curation.cli.commands import COMMANDS, load
from curation.settings import Settings

HERE = Path(__file__).parent / "reference"
MADE = "<!-- Made from the code by `make docs-reference`: change it there. -->"

EXIT_CODES = """| exit code | means |
|---|---|
| 0 | done |
| 1 | refused or failed; the message says what to do next |
| 2 | wrong usage |
| 3 | done, but some rows were rejected or some samples could not be scored |
| 130 | interrupted; what was committed is kept |
"""


def pages() -> dict[Path, str]:
    """Every page of the reference: where it lies and what it says now."""
    made = {"cli.md": command_line(), "settings.md": settings(), "http.md": http()}
    return {HERE / name: "\n".join([MADE, *lines]).rstrip() + "\n" for name, lines in made.items()}


def command_line() -> Iterator[str]:
    """Every command with its arguments and options, in the order of `curation --help`."""
    yield "\n# Commands\n\nWhat `curation COMMAND --help` says. A value in CAPITALS is to be replaced.\n"
    yield EXIT_CODES
    for panel, entries in COMMANDS.items():
        yield f"## {panel}\n"
        for entry in entries:
            yield from _command(f"curation {entry.name}", load(entry.name))


def _command(name: str, command: Any) -> Iterator[str]:
    yield f"### {name}\n\n{_prose(command.help or '')}\n"
    subcommands = getattr(command, "commands", {})
    if not subcommands:
        shown = [p for p in command.params if not p.hidden and p.name != "help"]
        arguments = [p for p in shown if p.param_type_name == "argument"]
        options = [p for p in shown if p.param_type_name == "option"]
        required = [p for p in options if p.required]
        usage = [name, *map(_argument, arguments), *map(_option, required)]
        usage += ["[OPTIONS]"] if len(options) > len(required) else []
        yield f"```text\n{' '.join(usage)}\n```\n"
        yield from _options(arguments, options)
    for sub, inner in subcommands.items():
        yield from _command(f"{name} {sub}", inner)


def _options(arguments: list[Any], options: list[Any]) -> Iterator[str]:
    if arguments:
        yield from _table("argument", "meaning", ((f"`{_argument(p)}`", _meaning(p)) for p in arguments))
    for panel in dict.fromkeys(p.rich_help_panel for p in options):
        title = "option" if panel is None else f"option: {panel.lower()}"
        rows = ((_names(p), _meaning(p)) for p in options if p.rich_help_panel == panel)
        yield from _table(title, "meaning", rows)


def _argument(parameter: Any) -> str:
    shown = parameter.name.upper() + ("..." if parameter.nargs == -1 else "")
    return shown if parameter.required else f"[{shown}]"


def _option(parameter: Any) -> str:
    value = "" if parameter.is_flag else f" {_value(parameter.type_descriptor.annotation)}"
    return f"{max(parameter.opts, key=len)}{value}"


def _names(parameter: Any) -> str:
    value = "" if parameter.is_flag else f" {_value(parameter.type_descriptor.annotation)}"
    named = ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
    return named + (f" `{value.strip()}`" if value else "")


def _value(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return "/".join(map(str, get_args(annotation)))
    inner = [part for part in get_args(annotation) if part is not NoneType]
    if inner:
        return _value(inner[0])
    return {"str": "TEXT", "Path": "PATH", "int": "N", "float": "NUMBER"}.get(annotation.__name__, "VALUE")


def _meaning(parameter: Any) -> str:
    words = [_prose(parameter.help or "")]
    if parameter.multiple:
        words.append("May be given several times.")
    if parameter.required and parameter.param_type_name == "option":
        words.append("Required.")
    elif parameter.default not in (None, False, "", (), []) and "Default" not in (parameter.help or ""):
        words.append(f"Default: `{parameter.default}`.")
    return " ".join(words)


def _prose(help_text: str) -> str:
    """Help as Markdown: what is bold on the terminal is a command or a word to be typed."""
    text = re.sub(r"\[(b|bold)\](.*?)\[/(b|bold)?\]", r"`\2`", help_text, flags=re.DOTALL)
    return re.sub(r"\[/?(dim|i|red|blue|yellow|green)\]", "", text).strip()


def settings() -> Iterator[str]:
    """Every setting with its variable, its default and what it means."""
    yield f"""
# Settings

Defaults < `curation.toml` in the working directory < secrets files < `{_variable("<name>")}` in the environment <
command line.

A secrets file is named after its variable in small letters, such as `curation_label_studio_token`, and lies in the
folder that `CURATION_SECRETS_DIR` names; by default `/run/secrets`, where containers find theirs.
"""
    rows: list[tuple[str, ...]] = []
    for name, field in Settings.model_fields.items():
        meaning = field.description or ""
        if is_dataclass(field.default):
            for part in fields(field.default):
                default = getattr(field.default, part.name)
                key = f"{name}.{part.name}"
                rows.append((f"`{key}`", f"`{_variable(key)}`", f"`{default:g}`", meaning))
        else:
            plain = field.default is not None and field.default is not PydanticUndefined
            # where the code decides, the meaning says what it decides
            shown = f"`{field.default}`" if plain else "" if "Default:" in meaning else "none"
            rows.append((f"`{name}`", f"`{_variable(name)}`", shown, meaning))
    yield from _table("name", "variable", "default", "meaning", rows)


def _variable(name: str) -> str:
    return "CURATION_" + name.upper().replace(".", "__")


def http() -> Iterator[str]:
    """Every route of `curation serve` and every answer it gives, from the OpenAPI schema."""
    schema = _openapi()
    yield """
# HTTP

What `curation serve` answers. The same as a machine reads it: `GET /openapi.json`. Tokens come from
[`curation token create`](cli.md#curation-token-create) and are sent as `Authorization: Bearer TOKEN`. Errors are
`{"error": ..., "next": ...}`: what is wrong and what to do about it.
"""
    yield "## Routes\n"
    for path, methods in schema["paths"].items():
        for method, route in methods.items():
            yield from _route(method.upper(), path, route)
    yield "## Bodies\n"
    for name, model in schema["components"]["schemas"].items():
        yield f"### {name}\n\n{_sentence(model.get('description', ''))}\n"
        properties = model.get("properties", {})
        rows = ((f"`{key}`", _type(value), value.get("description", "")) for key, value in properties.items())
        yield from _table("field", "type", "meaning", rows)


def _route(method: str, path: str, route: dict[str, Any]) -> Iterator[str]:
    yield f"### {method} {path}\n\n{_sentence(route['summary'])} {route.get('description', '')}\n"
    yield f"Token: {'yes' if route.get('security') else 'none'}.\n"
    parameters = route.get("parameters", [])
    rows = ((f"`{p['name']}` ({p['in']})", _type(p["schema"]), p.get("description", "")) for p in parameters)
    if parameters:
        yield from _table("parameter", "type", "meaning", rows)
    answers = route["responses"].items()
    told = ((status, _body(answer), answer["description"]) for status, answer in answers)
    rows = ((status, body, text.replace("Successful Response", "done")) for status, body, text in told)
    yield from _table("status", "body", "meaning", rows)


def _body(answer: dict[str, Any]) -> str:
    return ", ".join(
        _type(kind.get("schema", {})) or f"`{name}`" for name, kind in answer.get("content", {}).items()
    )


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(_type(part) for part in schema[several])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items']) or 'values'}"
    return schema.get("type", "")


def _openapi() -> dict[str, Any]:
    from curation.ledger import open_ledger
    from curation.service.app import create_app

    with tempfile.TemporaryDirectory() as home:
        engine = open_ledger(home=Path(home))
        schema = create_app(engine, Settings(home=Path(home))).openapi()
        engine.dispose()
    return schema


def _sentence(text: str) -> str:
    return f"{text}." if text and text[-1] not in ".?!:" else text


def _table(*columns: Any) -> Iterator[str]:
    """A Markdown table: titles, and at last the rows."""
    *titles, rows = columns
    yield f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}"
    yield "".join(f"| {' | '.join(_cell(cell) for cell in row)} |\n" for row in rows)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> None:
    HERE.mkdir(exist_ok=True)
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
