"""What a page's markup says, for tests without a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

import httpx


def rows_of(page: str) -> list[list[str]]:
    """Cells of the first table's body, without markup."""
    body = page.partition("<tbody>")[2].partition("</tbody>")[0]
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S) for row in body.split("<tr")[1:]]
    return [[" ".join(unescape(re.sub(r"<[^>]+>", "", cell)).split()) for cell in row] for row in cells]


def pages_of(visitor: httpx.Client, path: str) -> Iterator[str]:
    """A list's pages, by following the links to the next one."""
    while path:
        answer = visitor.get(path)
        assert answer.status_code == 200
        yield answer.text
        links = re.findall(r"<a [^>]*>", answer.text)
        following = [re.findall(r'href="([^"]+)"', link)[0] for link in links if 'rel="next"' in link]
        path = unescape(following[0]) if following else ""
