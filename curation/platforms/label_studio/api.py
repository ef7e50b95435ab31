"""Talking to a Label Studio server: the SDK for what it can do, plain requests for the rest, one kind of error."""

from __future__ import annotations

import urllib.parse
from contextlib import AbstractContextManager
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from curation.errors import PlatformError
from curation.platforms import answering

TIMEOUT = 60.0
LONG = 900.0
"""Seconds for requests that take a whole project at once."""

_NEXT = "`curation doctor` tells whether the project is as it should be."


class Api:
    """A server and a token, personal or legacy. The SDK finds out which it is and renews what runs out."""

    def __init__(self, url: str, token: str) -> None:
        """Raises PlatformError if the token cannot be one, or `label-studio-sdk` is not installed."""
        try:
            from label_studio_sdk import LabelStudio
        except ModuleNotFoundError:
            raise PlatformError(
                "label-studio-sdk is not installed", "Install it: pip install 'curation[label-studio]'"
            ) from None
        self.url = url.rstrip("/")
        self.asked_at: datetime | None = None
        """When the last request was sent, by the server's clock, to the second; None if it tells no time."""
        self._http = httpx.Client(timeout=TIMEOUT, follow_redirects=True)
        with told_plainly(self.url):
            # With the slash, so that the SDK renews tokens below a path too.
            self.sdk = LabelStudio(base_url=f"{self.url}/", api_key=token, httpx_client=self._http)

    @property
    def legacy(self) -> bool:
        """Whether the token is of the older kind, which is sent as it is."""
        tokens = self.sdk._client_wrapper._tokens_client  # pyright: ignore[reportPrivateUsage]
        return bool(tokens._use_legacy_token)  # pyright: ignore[reportPrivateUsage]

    def get(self, path: str, **params: Any) -> Any:
        """JSON of a GET; tried again by the next look if it fails."""
        return self.request("GET", path, params=params)

    def request(
        self, method: str, path: str, *, params: Any = None, json: Any = None, timeout: float = TIMEOUT
    ) -> Any:
        """JSON of an answer, None of an empty one. Sent once: what must not happen twice is not repeated.

        Raises PlatformUnavailable where the same may succeed later, else PlatformError.
        """
        with told_plainly(self.url):
            headers = self.sdk._client_wrapper.get_headers()  # pyright: ignore[reportPrivateUsage]
            url = f"{self.url}{path}"
            response = self._http.request(
                method, url, params=params, json=json, headers=headers, timeout=timeout
            )
            response.raise_for_status()
            if date := response.headers.get("date"):
                self.asked_at = parsedate_to_datetime(date) - response.elapsed
            return response.json() if response.content else None


def told_plainly(url: str) -> AbstractContextManager[None]:
    """Turns what the SDK and httpx raise into PlatformError and PlatformUnavailable."""
    return answering.told_plainly("Label Studio", url, _status, _denied, _NEXT)


def _status(error: Exception) -> tuple[int, Any] | None:
    from label_studio_sdk.core.api_error import ApiError

    return (error.status_code or 0, error.body) if isinstance(error, ApiError) else None


def _denied(detail: str) -> str:
    if "legacy token" in detail:
        return "This server takes no legacy tokens: make a personal access token under Account & Settings."
    return "Check the token, and that its owner may use the project: CURATION_LABEL_STUDIO_TOKEN."


def web_address(url: str, path: str, **query: Any) -> str:
    """An address for a browser."""
    return f"{url.rstrip('/')}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
