"""Whom a client certificate names."""

import ipaddress
from typing import Literal

import pytest
from cryptography import x509

from gateway.access.certificates import prove
from gateway.access.proofs import Refused
from gateway.clock import wall_time
from tests.access_world import certificate

DNS, MAIL = x509.DNSName("edge.example"), x509.RFC822Name("alice@example.org")
URI = x509.UniformResourceIdentifier("spiffe://example.org/edge")
ADDRESS = x509.IPAddress(ipaddress.ip_address("192.0.2.1"))


def named(der: bytes, by: Literal["cn", "san"]) -> str:
    proof = prove(der, by, wall_time())
    assert proof.principal.shown == "certificate"
    return proof.principal.name


def test_the_common_name_or_the_first_alternative_name_is_the_principal() -> None:
    assert named(certificate(("alice",), (DNS,)), "cn") == "alice"
    assert named(certificate(("alice",), (DNS, MAIL, URI)), "san") == "edge.example"
    assert named(certificate(("alice",), (ADDRESS, MAIL, DNS)), "san") == "alice@example.org"
    assert named(certificate((), (URI,)), "san") == "spiffe://example.org/edge"


@pytest.mark.parametrize(
    ("der", "by"),
    [
        (certificate(()), "cn"),
        (certificate(("alice", "root")), "cn"),
        (certificate(("anonymous",)), "cn"),
        (certificate((" alice",)), "cn"),
        (certificate(("al\x1bice",)), "cn"),
        (certificate(("alice",)), "san"),
        (certificate(("alice",), (ADDRESS,)), "san"),
        (certificate(ends_in_s=-60), "cn"),
        (certificate()[:-20], "cn"),
        (b"", "cn"),
        (b"-----BEGIN CERTIFICATE-----", "cn"),
    ],
    ids=range(11),
)
def test_a_certificate_that_names_nobody_is_refused(der: bytes, by: Literal["cn", "san"]) -> None:
    with pytest.raises(Refused, match="certificate"):
        prove(der, by, wall_time())


def test_a_certificate_ends_though_its_connection_goes_on() -> None:
    der = certificate(ends_in_s=600)
    until = prove(der, "cn", wall_time()).good_until
    assert until is not None
    assert 590 < until - wall_time() <= 600
    with pytest.raises(Refused, match="expired"):
        prove(der, "cn", until)
