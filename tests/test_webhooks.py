"""One signed message to one address, and to no other."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from curation.errors import DeliveryError, InputError
from curation.webhooks import check_url, deliver, is_public, shown
from tests.receiver import receiver

SECRET = "whsec_" + "c2VjcmV0" * 4


def test_a_message_arrives_signed_under_its_own_name() -> None:
    with receiver() as kept:
        deliver(kept.url, SECRET, "msg_1", '{"type":"test"}', private=True)
        assert kept.messages(SECRET) == [{"type": "test"}]
        ((headers, _),) = kept.received
    assert headers["webhook-id"] == "msg_1"
    assert headers["host"] == f"localhost:{kept.port}"


@pytest.mark.parametrize("status", [302, 307, 400, 410, 500])
def test_anything_but_2xx_is_a_failure_and_redirects_are_not_followed(status: int) -> None:
    with receiver() as kept:
        kept.answers = [status]
        with pytest.raises(DeliveryError, match=str(status)):
            deliver(kept.url, SECRET, "msg_1", "{}", private=True)
        assert len(kept.received) == 1


def test_a_receiver_that_is_not_there_is_a_failure() -> None:
    with receiver() as kept:
        pass
    with pytest.raises(DeliveryError, match="cannot be reached"):
        deliver(kept.url, SECRET, "msg_1", "{}", private=True)


def test_one_that_never_answers_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setattr("curation.webhooks.DELIVERY_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(DeliveryError, match=r"did not answer|cannot be reached: ReadTimeout"):
            deliver(f"http://127.0.0.1:{port}/", SECRET, "msg_1", "{}", private=True)


def test_private_addresses_are_refused_before_anything_is_sent() -> None:
    with receiver() as kept:
        for host in ("localhost", "127.0.0.1", "[::ffff:127.0.0.1]", "0.0.0.0"):
            with pytest.raises(DeliveryError, match="private network"):
                deliver(f"http://{host}:{kept.port}/", SECRET, "msg_1", "{}", private=False)
        assert kept.received == []


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "127.1.2.3", "0.0.0.0", "224.0.0.1",
     "::1", "::", "fe80::1%eth0", "fd00::1", "ff02::1", "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::a00:1"],
)  # fmt: skip
def test_what_is_no_public_address(address: str) -> None:
    assert not is_public(address)


def test_public_addresses() -> None:
    assert all(map(is_public, ("8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808")))


@pytest.mark.parametrize(
    "url", ["ftp://host/", "file:///etc/passwd", "host", "http://", "https://user:pass@host/", "http://host/#part",
            "http://host/\n", "gopher://host"]
)  # fmt: skip
def test_what_is_no_address_of_a_receiver(url: str) -> None:
    with pytest.raises(InputError):
        check_url(url)


def test_addresses_are_shown_without_what_may_be_a_secret() -> None:
    check_url("https://host:8443/path?key=hidden")
    assert shown("https://host:8443/path?key=hidden") == "https://host:8443/path"


def test_the_certificate_is_that_of_the_name_although_its_address_is_connected_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, other = certificate(tmp_path, "localhost"), certificate(tmp_path, "elsewhere.example")
    for files, accepted in ((good, True), (other, False)):
        monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
        with receiver(context) as kept:
            if accepted:
                deliver(kept.url, SECRET, "msg_1", "{}", private=True)
            else:
                with pytest.raises(DeliveryError, match="cannot be reached"):
                    deliver(kept.url, SECRET, "msg_1", "{}", private=True)
            assert len(kept.received) == accepted


def certificate(folder: Path, host: str) -> tuple[Path, Path]:
    """Certificate and key of a host, signed with that key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / f"{host}.pem", folder / f"{host}.key"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return files
