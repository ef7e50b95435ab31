"""Sending one signed message to one address (Standard Webhooks), without being made to talk to somebody else.

Whoever names an address could aim this machine at services that only it can reach. So addresses of private networks
are refused unless a setting allows them, the name is resolved once and that very address is connected to, redirects
are not followed, no proxy is asked, all of it has to be over in seconds, and what is answered is not read.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import httpx

from curation.errors import DeliveryError, InputError

DELIVERY_SECONDS = 15.0
"""How long one try may take, from the look-up of the name to the status of the answer."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_ALLOW = "allow it with CURATION_HOOKS_PRIVATE=true if the receiver is meant to be there"


def check_url(url: str) -> None:
    """Raise InputError unless this can be the address of a receiver: http or https, a host, no password."""
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        parts = httpx.URL("")
    if parts.scheme not in ("http", "https") or not parts.host or not url.isprintable():
        raise InputError(f"{url!r:.200} is no address for a hook", "Give it as https://host/path.")
    if parts.userinfo or parts.fragment:
        raise InputError(
            "an address for a hook has no password and no fragment",
            "Messages are signed: the receiver knows them by that.",
        )


def shown(url: str) -> str:
    """The address without its query, where people put secrets."""
    return str(httpx.URL(url).copy_with(query=None))


def deliver(url: str, secret: str, name: str, body: str, *, private: bool) -> None:
    """Send a message and see it accepted (any 2xx). `name` is its id, `private` allows private networks.

    Raises DeliveryError saying what came instead; nothing the receiver answers is quoted.
    """
    try:
        from standardwebhooks.webhooks import Webhook
    except ModuleNotFoundError:
        raise DeliveryError(
            "standardwebhooks is not installed", "Install it: pip install 'curation[serve]'"
        ) from None
    now = datetime.now(UTC)
    headers = {
        "content-type": "application/json",
        "user-agent": "curation",
        "webhook-id": name,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(name, now, body),
    }
    try:
        # in a thread, since the caller's may have a loop of its own, as that of a notebook has
        with ThreadPoolExecutor(1) as pool:
            sending = asyncio.wait_for(_post(url, headers, body, private), DELIVERY_SECONDS)
            status = pool.submit(asyncio.run, sending).result()
    except TimeoutError:
        raise _unreachable(f"did not answer within {DELIVERY_SECONDS:.0f} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError) as error:
        raise _unreachable(f"cannot be reached: {type(error).__name__}") from None
    if 300 <= status < 400:
        raise _unreachable(f"answered {status}, and redirects are not followed")
    if not 200 <= status < 300:
        raise _unreachable(f"answered {status}")


async def _post(url: str, headers: dict[str, str], body: str, private: bool) -> int:
    parts = httpx.URL(url)
    host = parts.raw_host.decode("ascii")
    address = await _resolve(host, parts.port or (443 if parts.scheme == "https" else 80), private)
    # The system's certificates (or SSL_CERT_FILE), and no proxies: they would resolve the name once more.
    async with httpx.AsyncClient(
        trust_env=False, verify=ssl.create_default_context(), timeout=DELIVERY_SECONDS
    ) as client:
        request = client.build_request(
            "POST",
            parts.copy_with(host=address),
            headers={**headers, "host": parts.netloc.decode("ascii")},
            content=body.encode(),
            extensions={"sni_hostname": host},  # the certificate is that of the name
        )
        response = await client.send(request, stream=True, follow_redirects=False)
        await response.aclose()
    return response.status_code


async def _resolve(host: str, port: int, private: bool) -> str:
    """The first address of a host, all of whose addresses are public ones unless `private`."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError):
        raise _unreachable("has a name that cannot be resolved") from None
    addresses = [str(entry[4][0]) for entry in found]
    if not private and not all(is_public(address) for address in addresses):
        raise DeliveryError(
            "the address is on a private network", f"That is not allowed by default: {_ALLOW}."
        )
    return addresses[0]


def is_public(address: str) -> bool:
    """Whether an address, or the one inside it, is that of one machine on the public internet."""
    ip = ipaddress.ip_address(address.split("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        # addresses that stand for an IPv4 one
        inner = (
            ip.ipv4_mapped
            or ip.sixtofour
            or (ipaddress.IPv4Address(ip.packed[-4:]) if ip in _NAT64 else None)
        )
        ip = inner or ip
    return ip.is_global and not ip.is_multicast


def _unreachable(what: str) -> DeliveryError:
    return DeliveryError(f"the receiver {what}", "It is tried again later: `curation hooks list` tells.")
