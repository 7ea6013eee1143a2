"""JSON Web Tokens: each way in which one is forged, bent, late or for somebody else."""

import hashlib
import hmac
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jwt.algorithms import RSAAlgorithm

from gateway.access.jwks import KINDS, NoKeys, read_keys
from gateway.access.key_source import KeySource
from gateway.access.proofs import Refused
from gateway.access.settings import AccessUnusable, JwtSettings
from gateway.access.web_tokens import WebTokens, require_sound
from tests.access_world import (
    claims,
    ec_jwk,
    ec_key,
    ed_jwk,
    ed_key,
    jwt_settings,
    key_set,
    part,
    public_pem,
    rsa_jwk,
    rsa_key,
    token,
)


async def proved(shown: str, settings: JwtSettings) -> str:
    """Whom that token names. Raises `Refused`."""
    source = KeySource(settings)
    await source.open()
    try:
        return (await WebTokens(settings, source).prove(shown)).principal.name
    finally:
        await source.close()


async def test_a_good_token_names_its_principal(tmp_path: Path) -> None:
    settings = jwt_settings(tmp_path, rsa_jwk("first", rsa_key()), ec_jwk("ec"), ed_jwk("ed"))
    assert await proved(token(), settings) == "alice"
    assert await proved(token(ec_key(), "ec", "ES256", sub="bob"), settings) == "bob"
    assert await proved(token(ed_key(), "ed", "EdDSA", aud=["x", "headrace"]), settings) == "alice"


async def test_another_claim_may_name_the_principal(tmp_path: Path) -> None:
    settings = jwt_settings(tmp_path, principal_claim="client_id")
    assert await proved(token(client_id="edge-7"), settings) == "edge-7"


async def test_a_token_without_a_key_id_is_checked_if_there_is_but_one_key(tmp_path: Path) -> None:
    first, second = rsa_jwk("first", rsa_key()), rsa_jwk("second", rsa_key("second"))
    assert await proved(token(kid=None), jwt_settings(tmp_path, first)) == "alice"
    assert await proved(token(kid=None), jwt_settings(tmp_path, first, ec_jwk("ec"))) == "alice"
    with pytest.raises(Refused, match="no such key"):
        await proved(token(kid=None), jwt_settings(tmp_path, first, second))


async def test_leeway_holds_both_ways(tmp_path: Path) -> None:
    now = int(time.time())
    settings = jwt_settings(tmp_path, leeway_s=60.0)
    assert await proved(token(exp=now - 20), settings) == "alice"
    assert await proved(token(nbf=now + 20), settings) == "alice"


async def test_without_issuer_and_audience_in_the_settings_any_are_taken(tmp_path: Path) -> None:
    settings = jwt_settings(tmp_path, issuer=None, audience=None)
    assert await proved(token(iss="anybody", aud="anything"), settings) == "alice"
    assert await proved(token(iss=None, aud=None), settings) == "alice"


# ── forged and bent ──


def by_hand(header: object, payload: object, sign: Callable[[bytes], bytes]) -> str:
    signed = f"{part(header)}.{part(payload)}"
    return f"{signed}.{part(sign(signed.encode()))}"


def with_public_key_as_secret(shape: bytes) -> str:
    """Algorithm confusion: the public key is known to all, and HS256 signs with what it checks."""

    def sign(signed: bytes) -> bytes:
        return hmac.digest(shape, signed, hashlib.sha256)

    return by_hand({"alg": "HS256", "kid": "first", "typ": "JWT"}, claims(), sign)


def unsigned(algorithm: str) -> str:
    return by_hand({"alg": algorithm, "kid": "first"}, claims(), lambda _: b"")


def signed_by(name: str, payload: object = None, **changes: object) -> str:
    """Signed well by the key of that name, over a header of one's own."""
    algorithm = RSAAlgorithm(RSAAlgorithm.SHA256)
    header = {"alg": "RS256", "kid": "first", **changes}
    claimed = claims() if payload is None else payload
    return by_hand(header, claimed, lambda signed: algorithm.sign(signed, rsa_key(name)))


def with_header(**changes: object) -> str:
    return signed_by("first", **changes)


def with_payload(payload: object) -> str:
    return signed_by("first", payload)


def tampered() -> str:
    header, _, signature = token().split(".")
    return f"{header}.{part(claims(sub='root'))}.{signature}"


def now(seconds: float) -> int:
    return int(time.time() + seconds)


BAD: dict[str, tuple[Callable[[], str], str]] = {
    "expired": (lambda: token(exp=now(-120)), "expired"),
    "expired long ago": (lambda: token(exp=-1), "expired"),
    "without an end": (lambda: token(exp=None), "a claim is missing"),
    "whose end is no time": (lambda: token(exp="soon"), "not a good token"),
    "whose end is null": (lambda: with_payload({**claims(), "exp": None}), "a claim is missing"),
    "that never ends": (
        lambda: with_payload(json.dumps({**claims(), "exp": float("inf")}).encode()),
        "not a good token|wrong type",
    ),
    "whose end no clock will show": (lambda: token(exp=10**400), "wrong type"),
    "whose end is a number of thousands of digits": (
        lambda: with_payload(json.dumps({**claims(), "exp": 1}).replace("1}", "9" * 9000 + "}")),
        "not a good token|wrong type|wrong",
    ),
    "not yet valid": (lambda: token(nbf=now(120)), "not valid yet"),
    "made in the future": (lambda: token(iat=now(120)), "not valid yet"),
    "of another issuer": (lambda: token(iss="https://evil.example"), "of another issuer"),
    "of no issuer": (lambda: token(iss=None), "a claim is missing"),
    "for another audience": (lambda: token(aud="other"), "for another audience"),
    "for no audience": (lambda: token(aud=None), "a claim is missing"),
    "without the claim": (lambda: token(sub=None), "is not a name in it"),
    "with an empty claim": (lambda: token(sub=""), "is not a name in it"),
    "named anonymous": (lambda: token(sub="anonymous"), "is not a name in it"),
    "named with a line break": (lambda: token(sub="a\nb"), "is not a name in it"),
    "named too long": (lambda: token(sub="a" * 1000), "is not a name in it"),
    "unsigned": (lambda: unsigned("none"), "its algorithm"),
    "unsigned, in capitals": (lambda: unsigned("NONE"), "its algorithm"),
    "unsigned, said to be signed": (lambda: unsigned("RS256"), "the signature is wrong"),
    "with the public key as a secret": (
        lambda: with_public_key_as_secret(public_pem(rsa_key())),
        "its algorithm",
    ),
    "with the published key as a secret": (
        lambda: with_public_key_as_secret(json.dumps(rsa_jwk("first", rsa_key())).encode()),
        "its algorithm",
    ),
    "of an algorithm that is not listed": (lambda: token(algorithm="RS512"), "its algorithm"),
    "of the other kind than its key": (lambda: token(ec_key(), "first", "ES256"), "no such key"),
    "without an algorithm": (lambda: with_header(alg=None), "its algorithm"),
    "whose algorithm is a list": (lambda: with_header(alg=["RS256"]), "its algorithm"),
    "of an unknown key": (lambda: token(kid="second"), "no such key"),
    "of another key by this name": (lambda: token(rsa_key("other")), "the signature is wrong"),
    "whose key id is a number": (lambda: with_header(kid=1), "not the form"),
    "with its own key in it": (
        lambda: signed_by("other", jwk=rsa_jwk("first", rsa_key("other")), jku="https://e.example"),
        "the signature is wrong",
    ),
    "critical for something": (
        lambda: with_header(crit=["urn:x"], **{"urn:x": 1}),
        "not the form",
    ),
    "critical for a raw payload": (
        lambda: with_header(crit=["b64"], b64=True),
        "asks for an extension",
    ),
    "critical for nothing": (lambda: with_header(crit=[]), "not the form"),
    "tampered with": (tampered, "the signature is wrong"),
    "cut short": (lambda: token()[:-10], "signature is wrong|not the form"),
    "without its signature": (lambda: token().rpartition(".")[0] + ".", "the signature is wrong"),
    "of empty parts": (lambda: "..", "not the form"),
    "of two parts": (lambda: "a.b", "not the form"),
    "of no JSON": (lambda: f"{part(b'{')}.{part(b'{')}.{part(b'x')}", "not the form"),
    "of deep JSON": (lambda: f"{part(b'[' * 9000)}.{part(b'{}')}.{part(b'x')}", "not the form"),
    "whose header is a list": (lambda: f"{part([])}.{part({})}.{part(b'x')}", "not the form"),
    "whose payload is a list": (lambda: with_payload([]), "not a good token"),
    "whose payload is no JSON": (lambda: with_payload(b"{"), "not a good token"),
    "with blanks": (lambda: token() + " ", "not the form"),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_token_is_refused(tmp_path: Path, name: str) -> None:
    make, reason = BAD[name]
    shown = make()
    with pytest.raises(Refused, match=reason) as refused:
        await proved(shown, jwt_settings(tmp_path))
    assert refused.value.how == "jwt"
    assert refused.value.__suppress_context__ or refused.value.__context__ is None
    assert shown == "" or shown not in str(refused.value)


# ── settings under which anybody could sign ──


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"algorithms": ("RS256", "HS256")}, "HS256 cannot be taken"),
        ({"algorithms": ("none",)}, "none cannot be taken"),
        ({"algorithms": ("RS256", "rs512")}, "rs512 cannot be taken"),
        ({"algorithms": ()}, "cannot be taken"),
        ({"jwks_url": "https://issuer.example/keys"}, "set one of jwks_url and jwks_file"),
        ({"jwks_file": None}, "set one of jwks_url and jwks_file"),
        ({"jwks_file": None, "jwks_url": "http://issuer.example/keys"}, "use https"),
        ({"jwks_file": None, "jwks_url": "file:///etc/passwd"}, "use https"),
        ({"jwks_file": None, "jwks_url": "https://"}, "use https"),
        ({"jwks_file": None, "jwks_url": "https://u:pass@issuer.example/"}, "leave out user"),
        ({"principal_claim": ""}, "name a claim"),
    ],
)
def test_settings_that_would_let_anybody_sign_are_refused(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(AccessUnusable, match=words) as refused:
        require_sound(jwt_settings(tmp_path, **changes))
    assert "pass@" not in str(refused.value)


@pytest.mark.parametrize("url", ["https://issuer.example/keys", "http://127.0.0.1:1/keys"])
def test_keys_come_over_tls_or_from_this_machine(url: str) -> None:
    require_sound(JwtSettings(jwks_url=url, algorithms=tuple(KINDS)))


# ── key sets ──


def found(*keys: dict[str, Any]) -> int:
    return len(read_keys(key_set(*keys).encode()))


GOOD = rsa_jwk("first", rsa_key())
SECRET = {"kty": "oct", "kid": "first", "k": part(b"x" * 64)}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


def test_keys_that_cannot_check_a_signature_are_as_if_they_were_not_there() -> None:
    assert found(GOOD) == 1
    unusable: list[dict[str, Any]] = [
        {**GOOD, "use": "enc"},
        {**GOOD, "key_ops": ["sign"]},
        {**GOOD, "kty": "DSA"},
        {**GOOD, "kid": 7},
        {**GOOD, "alg": ["RS256"]},
        {**GOOD, "n": 5},
        {**GOOD, "n": "é"},
        without("n"),
        without("e"),
        without("kty"),
        {**ec_jwk("ec"), "crv": "P-384"},
        {**ec_jwk("ec"), "x": part(b"1")},
        {**ec_jwk("ec"), "crv": ["P-256"]},
        {**ed_jwk("ed"), "crv": "X25519"},
        rsa_jwk("weak", rsa_key("weak", 1024)),
        SECRET,
    ]
    for each in unusable:
        assert found(each, GOOD) == 1, each
        with pytest.raises(NoKeys, match="no key in it can check a signature"):
            found(each)


def test_a_private_key_that_was_published_by_mistake_is_used_as_a_public_one() -> None:
    private = {**RSAAlgorithm.to_jwk(rsa_key(), as_dict=True), "kid": "first"}
    del private["key_ops"]
    public = read_keys(key_set(private).encode()).find("first", "RS256")
    assert not hasattr(public, "private_numbers")


def test_a_key_that_is_for_one_algorithm_serves_no_other_of_its_kind() -> None:
    keys = read_keys(key_set(rsa_jwk("first", rsa_key(), alg="RS256")).encode())
    assert keys.find("first", "RS256") is not None
    assert keys.find("first", "PS256") is None
    assert keys.find("first", "ES256") is None
    assert keys.find("first", "HS256") is None
    assert keys.find("First", "RS256") is None


@pytest.mark.parametrize(
    "document", [b"", b"<html>", b"[]", b"null", b"{}", b'{"keys":{}}', b'{"keys":[1,"x",null]}']
)
def test_what_is_no_key_set_is_refused(document: bytes) -> None:
    with pytest.raises(NoKeys):
        read_keys(document)
