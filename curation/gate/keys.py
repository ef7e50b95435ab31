"""Ed25519 keys: a signature shows that an export was sealed by whoever holds the private key."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from curation.errors import GateError, InputError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


def new_pair(path: Path) -> Path:
    """Write a private key to `path`, for its owner's eyes, and its public key beside it (`.pub`); returns the latter.

    Raises InputError if either file is there already or cannot be written.
    """
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = path.with_name(path.name + ".pub")
    key = Ed25519PrivateKey.generate()
    pem = form.Encoding.PEM
    private_pem = key.private_bytes(pem, form.PrivateFormat.PKCS8, form.NoEncryption())
    public_pem = key.public_key().public_bytes(pem, form.PublicFormat.SubjectPublicKeyInfo)
    try:
        if public.exists():
            raise FileExistsError(17, "it exists already")
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(private_pem)
        public.write_bytes(public_pem)
    except OSError as error:
        raise InputError(
            f"no key pair was made at {path} and {public.name}: {error.strerror}",
            "Name a new file in a folder that you may write to.",
        ) from None
    return public


def load_private(path: Path) -> Ed25519PrivateKey:
    """Raises InputError if the file is not an Ed25519 private key without a password."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = _read(path)
    try:
        key = load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(
            f"{path} is not an Ed25519 private key without a password", "Make one: curation keys new FILE"
        )
    return key


def load_public(path: Path) -> Ed25519PublicKey:
    """Raises InputError if the file is not an Ed25519 public key."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    data = _read(path)
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(
            f"{path} is not an Ed25519 public key", "Name the .pub file that `curation keys new` wrote."
        )
    return key


def fingerprint(key: Ed25519PublicKey) -> str:
    """SHA-256 (hex) of the raw public key."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()


def check(key: Ed25519PublicKey, signature: bytes, signed: bytes) -> None:
    """Raises GateError unless the signature is this key's on these bytes."""
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, signed)
    except InvalidSignature:
        raise GateError(
            "the signature is not this key's on this manifest", "Do not train on this export."
        ) from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"the key {path} cannot be read: {error.strerror}", "Check its name and permissions."
        ) from None
