"""A matplotlib figure as inline SVG: no styles, no foreign ids, colours left to the page's style sheet.

Figures are drawn in sentinel colours, one per role. Each becomes a CSS variable here, so that the drawing
follows the reader's light or dark scheme and needs no inline style, which the page's policy forbids.
"""

# matplotlib leaves its keyword arguments untyped
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import io
import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final
from xml.etree import ElementTree as ET

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

SENTINELS: Final = {
    "ink": "#000001",
    "muted": "#000002",
    "rule": "#000003",
    "paper": "#000004",
    "accent": "#000005",
    "critical": "#000006",
    "high": "#000007",
    "medium": "#000008",
    "low": "#000009",
}
"""Colour to draw with, by role. Every role is a CSS variable of the same name in palette.css."""

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "{http://www.w3.org/1999/xlink}href"
_ROLE_OF = {colour: role for role, colour in SENTINELS.items()}
_RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "curation",
    "font.size": 10,
    "axes.edgecolor": SENTINELS["rule"],
    "axes.labelcolor": SENTINELS["muted"],
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "grid.color": SENTINELS["rule"],
    "grid.linewidth": 0.5,
    "text.color": SENTINELS["ink"],
    "xtick.color": SENTINELS["rule"],
    "ytick.color": SENTINELS["rule"],
    "xtick.labelcolor": SENTINELS["muted"],
    "ytick.labelcolor": SENTINELS["muted"],
    "axes.formatter.use_mathtext": False,
}


@contextmanager
def house_style() -> Generator[None]:
    """Draw figures in here: sizes and colours as the report has them, whatever matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)
        yield


def inline_svg(figure: Figure, name: str, title: str, description: str) -> Markup:
    """The figure as an <svg> element whose ids start with `name`, labelled for screen readers.

    Call it within `house_style`. `title` and `description` must be our own words and numbers, never text
    from a sample.
    """
    buffer = io.BytesIO()
    FigureCanvasSVG(figure).print_svg(buffer)
    root = ET.fromstring(buffer.getvalue())  # noqa: S314 - written by matplotlib two lines above
    for element in root.iter():
        for child in [c for c in element if c.tag.rpartition("}")[2] in ("metadata", "style")]:
            element.remove(child)
        _use_presentation_attributes(element)
    _prefix_ids(root, name)
    _label(root, name, title, description)
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
        if element.tag not in ("text", "tspan"):
            element.text = element.text and element.text.strip()
        element.tail = None
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704 - numbers and our own labels only


def _use_presentation_attributes(element: ET.Element) -> None:
    """Turn `style="fill: #000001; ..."` into `fill="var(--ink)" ...`."""
    style = element.attrib.pop("style", "")
    for declaration in filter(None, re.split(r";\s*", style)):
        key, _, value = declaration.partition(":")
        if not key.startswith("font"):  # the page's own fonts, in the page's style sheet
            element.set(key.strip(), value.strip())
    for key in ("fill", "stroke"):
        value = element.get(key)
        if value in _ROLE_OF:
            element.set(key, f"var(--{_ROLE_OF[value]})")
    if "d" in element.attrib:
        element.set("d", _short_path(element.attrib["d"]))


def _short_path(d: str) -> str:
    """Path data to a tenth of a point, dots (lines to where they start) as `h0`: a quarter of the bytes."""
    d = re.sub(r"-?\d+\.\d+", lambda m: f"{float(m.group()):.1f}".removesuffix(".0"), d)
    return re.sub(r"M (\S+ \S+) \s*L \1\b\s*", r"M\1h0", d).strip()


def _prefix_ids(root: ET.Element, name: str) -> None:
    """Keep only the ids that are referred to, each with `name` in front: several figures share one page."""
    text = ET.tostring(root, encoding="unicode")
    used = set(re.findall(r"url\(#([^)]+)\)", text)) | set(re.findall(r'href="#([^"]+)"', text))
    for element in root.iter():
        own = element.attrib.pop("id", None)
        if own in used:
            element.set("id", f"{name}-{own}")
        for key, value in list(element.attrib.items()):
            if key == _XLINK:
                element.set("href", f"#{name}-{element.attrib.pop(key)[1:]}")
            else:
                element.set(key, value.replace("url(#", f"url(#{name}-"))


def _label(root: ET.Element, name: str, title: str, description: str) -> None:
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.set("role", "img")
    root.set("aria-labelledby", f"{name}-title {name}-desc")
    for position, (tag, text) in enumerate((("title", title), ("desc", description))):
        child = ET.Element(tag, {"id": f"{name}-{tag}"})
        child.text = text
        root.insert(position, child)
