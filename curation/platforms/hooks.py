"""Whether a webhook comes from the platform that a target is on."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from curation.errors import PlatformError

LABEL_STUDIO_HEADER = "x-curation-secret"
"""Label Studio signs nothing, but sends a header that it is given."""


def is_genuine(platform: str, secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether the request carries the secret, or for Argilla a signature with it that is at most 5 minutes old.

    Signatures follow Standard Webhooks (https://www.standardwebhooks.com). Takes the same time for every wrong secret.
    """
    if platform == "label-studio":
        given = headers.get(LABEL_STUDIO_HEADER, "")
        return hmac.compare_digest(given.encode(), secret.encode())
    try:
        from standardwebhooks.webhooks import Webhook, WebhookVerificationError
    except ModuleNotFoundError:
        raise PlatformError(
            "standardwebhooks is not installed", "Install it: pip install 'curation[serve]'"
        ) from None
    try:
        Webhook(secret).verify(body, dict(headers))
    except (
        WebhookVerificationError,
        ValueError,
    ):  # an answer that is no JSON, or a signature that is no base64
        return False
    return True
