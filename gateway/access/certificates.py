"""Who a client certificate names. TLS has verified it: here it is only read. Pure.

A certificate outlives its handshake on a long connection, so its end is looked at as well.
"""

from typing import Literal

from cryptography import x509
from cryptography.x509.oid import NameOID

from gateway.access.proofs import Proof, Refused, is_name
from gateway.seams import Principal

HOW = "certificate"


def prove(der: bytes, named_by: Literal["cn", "san"], now: float) -> Proof:
    """Whom it names at ``now`` (seconds since 1970). Raises `Refused`."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        name = _common_name(certificate) if named_by == "cn" else _alternative_name(certificate)
        until = certificate.not_valid_after_utc.timestamp()
    except ValueError:
        raise Refused("the certificate cannot be read", how=HOW) from None
    if name is None or not is_name(name):
        raise Refused(f"the certificate has no {named_by} that can be a name", how=HOW)
    if now >= until:
        raise Refused("the certificate has expired", how=HOW)
    return Proof(principal=Principal(name=name, shown=HOW), good_until=until)


def _common_name(certificate: x509.Certificate) -> str | None:
    """Only where there is exactly one: of two, readers disagree about which counts."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    value = names[0].value if len(names) == 1 else None
    return value if isinstance(value, str) else None


def _alternative_name(certificate: x509.Certificate) -> str | None:
    """The first of its DNS names, e-mail addresses or URIs, in the certificate's order."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension):
        return None
    kinds = (x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier)
    return next((name.value for name in names if isinstance(name, kinds)), None)
