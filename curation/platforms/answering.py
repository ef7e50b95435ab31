"""What a platform's server answered in place of what was asked for, told in one kind of error."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, cast

import httpx
import orjson

from curation.errors import PlatformError, PlatformUnavailable

_PASSES = (408, 425, 429, 500, 502, 503, 504)
_MAX_DETAIL = 200

Status = Callable[[Exception], "tuple[int, Any] | None"]
"""Status and body in an error of a platform's own SDK, None for any other error."""


@contextmanager
def told_plainly(
    server: str, url: str, status_of: Status, denied: Callable[[str], str], next_step: str
) -> Generator[None]:
    """Turns what an SDK and httpx raise into PlatformError and PlatformUnavailable.

    `server` is the platform's name. `denied` makes a hint of what the server says when a token is not enough, and
    `next_step` is the hint for other refusals.
    """
    try:
        yield
    except PlatformError:
        raise
    except httpx.HTTPStatusError as error:
        said = error.response.status_code, error.response.text
        raise _refusal(server, url, *said, denied, next_step) from None
    except httpx.InvalidURL as error:
        raise PlatformError(f"{url!r:.200} is no address: {error}", "Give it as http://host:port.") from None
    except Exception as error:
        if found := status_of(error):
            raise _refusal(server, url, *found, denied, next_step) from None
        if not isinstance(error, httpx.HTTPError | ValueError):
            raise
        raise PlatformUnavailable(
            f"{server} at {url} does not answer as it should: {type(error).__name__}",
            "Check that it runs and that the address is right.",
        ) from None


def _refusal(
    server: str, url: str, status: int, body: Any, denied: Callable[[str], str], next_step: str
) -> PlatformError:
    detail = _detail(body)
    said = f"{server} at {url} answered {status}" + (f": {detail}" if detail else "")
    if status in (401, 403):
        return PlatformError(said, denied(detail))
    if status in _PASSES:
        return PlatformUnavailable(said, "Try again in a while.")
    return PlatformError(said, next_step)


def _detail(body: Any) -> str:
    """What the server says is wrong, short, and nothing that quotes what it was sent: that may be a sample."""
    if isinstance(body, str | bytes):
        try:
            body = orjson.loads(body)
        except orjson.JSONDecodeError:
            return ""
    detail = cast("dict[str, Any]", body).get("detail") if isinstance(body, dict) else None
    if isinstance(detail, dict):
        detail = cast("dict[str, Any]", detail).get("code")
    text = detail if isinstance(detail, str) else ""
    return "".join(c if c.isprintable() else " " for c in text[:_MAX_DETAIL])
