"""A gateway that asks for credentials, and everybody who may come to it.

| who | shows | may |
| --- | --- | --- |
| anna | a token | insert, query and define ``MINE*`` and ``mine*`` |
| bert | a token, or a password | insert, query and define ``HIS*`` |
| rita | a token | read ``MINE*`` |
| root | a token | the admin port, and no name |
| olga | a token, or a password | everything to every name |
| slow | a token | as anna, at `SLOW_ROWS_PER_S` |
| jane | a JSON Web Token | as anna |
"""

import base64
import contextlib
import functools
import hashlib
import http.client
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.access.users import hash_password
from tests.gateways import GatewayProcess, gateway_process
from tests.peers import Peer
from tests.server.ksqldb import Reply
from tests.streams import Headers

SLOW_ROWS_PER_S = 200
ISSUER = "https://issuer.example"
PASSWORD = "a pass:word with a colon"
TOKENS = {
    name: f"hrt_{name}_of_this_test" for name in ("anna", "bert", "rita", "root", "olga", "slow")
}

_RULES = """
[access]
users_file = "{folder}/users"
tokens_file = "{folder}/tokens"
audit_file = "{folder}/audit.jsonl"

[access.jwt]
jwks_file = "{folder}/jwks.json"
issuer = "https://issuer.example"
audience = "headrace"
leeway_s = 0
algorithms = ["ES256"]

[[access.rules]]
principal = "anna"
rights = ["insert", "query", "define"]
names = ["MINE*", "mine*"]

[[access.rules]]
principal = "jane"
rights = ["insert", "query", "define"]
names = ["MINE*", "mine*"]

[[access.rules]]
principal = "slow"
rights = ["insert", "query", "define"]
names = ["MINE*", "mine*"]

[[access.rules]]
principal = "rita"
rights = ["query"]
names = ["MINE*"]

[[access.rules]]
principal = "bert"
rights = ["insert", "query", "define"]
names = ["HIS*"]

[[access.rules]]
principal = "root"
rights = ["admin"]

[[access.rules]]
principal = "olga"
rights = ["insert", "query", "define", "admin"]

[[access.limits]]
principal = "slow"
rows_per_s = 200

[[access.limits]]
principal = "rita"
push_queries_max = 1

[[access.limits]]
principal = "bert"
streams_max = 1
"""


@functools.cache
def signing_key() -> ec.EllipticCurvePrivateKey:
    """The issuer's."""
    return ec.generate_private_key(ec.SECP256R1())


@functools.cache
def _other_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def web_token(
    *, lives_s: float = 600.0, key: Any = None, algorithm: str = "ES256", **claims: Any
) -> str:
    """A token of jane's; ``claims`` differ."""
    now = int(time.time())
    given = {"sub": "jane", "iss": ISSUER, "aud": "headrace", "iat": now, "exp": now + lives_s}
    signer = key if key is not None else signing_key()
    return jwt.encode({**given, **claims}, signer, algorithm, {"kid": "k1"})


def _public_pem() -> bytes:
    return (
        signing_key()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def _signed_with_the_public_key() -> str:
    """What a server takes that lets a token choose its algorithm."""

    def part(document: Mapping[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()

    import hmac

    claims = {"sub": "jane", "iss": ISSUER, "aud": "headrace", "exp": int(time.time()) + 600}
    text = f"{part({'alg': 'HS256', 'typ': 'JWT', 'kid': 'k1'})}.{part(claims)}"
    mac = hmac.digest(_public_pem(), text.encode(), "sha256")
    return f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def bearer(token: str) -> str:
    """The header's value."""
    return f"Bearer {token}"


def basic(name: str, password: str) -> str:
    """The header's value."""
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def bad_credentials() -> dict[str, str | None]:
    """Header values that nobody may come in by, each by what is wrong with it."""
    return {
        "none": None,
        "unknown token": bearer("hrt_nobody"),
        "wrong password": basic("bert", "wrong"),
        "unknown user": basic("nobody", PASSWORD),
        "no scheme": TOKENS["anna"],
        "unknown scheme": f"Digest {TOKENS['anna']}",
        "no value": "Bearer",
        "not base64": "Basic !!!",
        "expired": bearer(web_token(lives_s=-60)),
        "not yet": bearer(web_token(nbf=int(time.time()) + 600)),
        "other issuer": bearer(web_token(iss="https://evil.example")),
        "other audience": bearer(web_token(aud="another")),
        "other key": bearer(web_token(key=_other_key())),
        "unsigned": bearer(web_token(key="", algorithm="none")),
        "downgraded": bearer(_signed_with_the_public_key()),
        "changed": bearer(web_token()[:-6] + "AAAAAA"),
    }


def who(name: str) -> str:
    """The header's value of somebody with a token."""
    return bearer(TOKENS[name])


@contextlib.contextmanager
def guarded_gateway(folder: Path, *, more: str = "", **options: Any) -> Iterator[GatewayProcess]:
    """Such a gateway, up for the block; ``more`` is further TOML, before the sections."""
    folder.mkdir(parents=True, exist_ok=True)
    users = [f"{name}:{hash_password(PASSWORD)}\n" for name in ("bert", "olga")]
    (folder / "users").write_text("".join(users))
    lines = [
        f"{name}:{hashlib.sha256(token.encode()).hexdigest()}" for name, token in TOKENS.items()
    ]
    (folder / "tokens").write_text("\n".join(lines) + "\n")
    for name in ("users", "tokens"):
        (folder / name).chmod(0o600)
    key = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(signing_key().public_key()))
    (folder / "jwks.json").write_text(json.dumps({"keys": [{**key, "kid": "k1", "alg": "ES256"}]}))
    (folder / "config.toml").write_text(more + _RULES.replace("{folder}", str(folder)))
    arguments = ["--config", str(folder / "config.toml")]
    with gateway_process(folder / "data", arguments=arguments, **options) as running:
        yield running


# ── asking ───────────────────────────────────────────────────────────────────────────────────


def shown(authorization: str | None) -> Headers:
    """The header, if there is one."""
    return [] if authorization is None else [("authorization", authorization)]


def ask1(address: tuple[str, int], method: str, path: str, body: bytes, headers: Headers) -> Reply:
    """One request over HTTP/1.1, on a connection of its own."""
    connection = http.client.HTTPConnection(*address, timeout=20)
    with contextlib.closing(connection):
        connection.request(method, path, body or None, dict(headers))
        response = connection.getresponse()
        given = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, given, response.read())


def ask2(address: tuple[str, int], method: str, path: str, body: bytes, headers: Headers) -> Reply:
    """One request over HTTP/2, on a connection of its own.

    A response that goes on for ever is left after its headers.
    """
    with Peer(address) as peer:
        stream = peer.open(method, path, headers, end=not body)
        if body:
            stream.send(body, end=True)
        given = stream.read_headers()
        if "content-length" in given:
            stream.read_to_end()
        return Reply(stream.status, given, stream.body)


def admin_address(gateway: GatewayProcess) -> tuple[str, int]:
    """Where the admin port answers."""
    host, _, port = gateway.admin_url.removeprefix("http://").rpartition(":")
    return host, int(port)
