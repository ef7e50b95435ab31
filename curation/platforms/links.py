"""Addresses on labeling platforms for a person's browser. They need no token: whoever follows one logs in there."""

from __future__ import annotations

from curation.ledger.targets import Target
from curation.platforms.argilla.dataset import queue_url
from curation.platforms.label_studio.api import web_address
from curation.platforms.opening import ARGILLA, LABEL_STUDIO


def item_address(target: Target, remote_id: str) -> str | None:
    """Where an item is shown; None if the platform has no address for a single item."""
    if target.platform == LABEL_STUDIO and _is_web(target):
        return web_address(target.url, f"/projects/{target.project}/data", task=remote_id)
    return None


def queue_address(target: Target) -> str | None:
    """Where the target's queue is worked through; None for a platform that is not known here."""
    if not _is_web(target):
        return None
    if target.platform == LABEL_STUDIO:
        return web_address(target.url, f"/projects/{target.project}/data", labeling=1)
    if target.platform == ARGILLA:
        return queue_url(target.url, target.project, str(target.options.get("prefix", "")))
    return None


def _is_web(target: Target) -> bool:
    return target.url.startswith(("http://", "https://"))
