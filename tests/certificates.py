"""Certificates for tests: authorities of their own (trustme), as PEM files and in TLS contexts."""

import contextlib
import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path

import trustme
from cryptography import x509

DEADLINE_S = 15.0
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def write_pair(folder: Path, issued: trustme.LeafCert) -> tuple[Path, Path]:
    """``cert.pem`` (with its chain) and ``key.pem`` in ``folder``, written over what was there."""
    folder.mkdir(parents=True, exist_ok=True)
    certificate, key = folder / "cert.pem", folder / "key.pem"
    certificate.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return certificate, key


def write_authority(file: Path, authority: trustme.CA) -> Path:
    """Its certificate as a PEM file."""
    authority.cert_pem.write_to_path(file)
    return file


def client_context(
    authority: trustme.CA, *protocols: str, shows: trustme.LeafCert | None = None
) -> ssl.SSLContext:
    """A client that trusts ``authority``, offers ``protocols`` by ALPN, ``shows`` a certificate."""
    made = ssl.create_default_context()
    authority.configure_trust(made)
    if protocols:
        made.set_alpn_protocols(list(protocols))
    if shows is not None:
        shows.configure_cert(made)
    return made


def wrapped(address: tuple[str, int], context: ssl.SSLContext) -> ssl.SSLSocket:
    """A connection whose handshake is done, as far as this side can know."""
    plain = socket.create_connection(address, timeout=DEADLINE_S)
    try:
        return context.wrap_socket(plain, server_hostname="localhost")
    except BaseException:
        plain.close()
        raise


def shown_serial(address: tuple[str, int], context: ssl.SSLContext) -> str:
    """The serial number of the certificate that a new connection is shown."""
    with contextlib.closing(wrapped(address, context)) as connection:
        certificate = connection.getpeercert()
    assert certificate is not None
    return str(certificate["serialNumber"])


def serial_of(issued: trustme.LeafCert) -> str:
    """The serial number of a certificate, written as `shown_serial` has it."""
    number = x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes()).serial_number
    text = f"{number:X}"
    return text if len(text) % 2 == 0 else "0" + text


def der_of(issued: trustme.LeafCert) -> bytes:
    """The certificate itself, DER."""
    return ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())
