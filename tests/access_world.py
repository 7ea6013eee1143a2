"""An access room over real files, a real issuer of JSON Web Tokens on the loopback, and what goes
wrong with them: forged tokens, keys that rotate, an issuer that goes away."""

import asyncio
import base64
import datetime
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jwt
from aiohttp import web
from argon2 import PasswordHasher
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from gateway.access.access_room import AccessRoom
from gateway.access.settings import AccessSettings, JwtSettings, Rule
from gateway.access.tokens import digest
from gateway.seams import Credentials, Permit, Right

ISSUER = "https://issuer.example"
AUDIENCE = "headrace"
DEADLINE_S = 30.0
EVERYTHING = Rule(principal="?*", rights=tuple(Right))
NOT_ANONYMOUS = Rule(principal="al*", rights=tuple(Right))

_CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def cheap_hash(password: str) -> str:
    """An argon2id hash that costs next to nothing to check."""
    return _CHEAP.hash(password)


def written(path: Path, *lines: str) -> Path:
    """A file of these lines."""
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def users_file(folder: Path, **passwords: str) -> Path:
    lines = [f"{name}:{cheap_hash(password)}" for name, password in passwords.items()]
    return written(folder / "users", "# who may come in", "", *lines)


def tokens_file(folder: Path, **tokens: str) -> Path:
    return written(
        folder / "tokens", *(f"{name}:{digest(token)}" for name, token in tokens.items())
    )


def basic(name: str, password: str, peer: str = "192.0.2.1") -> Credentials:
    shown = base64.b64encode(f"{name}:{password}".encode()).decode()
    return Credentials(authorization=f"Basic {shown}", peer=peer)


def bearer(token: str, peer: str = "192.0.2.1") -> Credentials:
    return Credentials(authorization=f"Bearer {token}", peer=peer)


@asynccontextmanager
async def opened(settings: AccessSettings) -> AsyncIterator[AccessRoom]:
    room = AccessRoom(settings)
    await room.open()
    try:
        yield room
    finally:
        await room.close()


async def known_as(room: AccessRoom, credentials: Credentials) -> tuple[str, str]:
    permit: Permit = await room.permit(credentials)
    return permit.principal.name, permit.principal.shown


async def until(holds: Callable[[], bool], what: str) -> None:
    """Wait until it holds, at most for `DEADLINE_S`."""
    deadline = asyncio.get_running_loop().time() + DEADLINE_S
    while not holds():
        assert asyncio.get_running_loop().time() < deadline, f"never: {what}"
        await asyncio.sleep(0.005)


# ── keys and tokens ──


def rsa_key(name: str = "first", bits: int = 2048) -> rsa.RSAPrivateKey:
    """The key of that name; another name is another key."""
    return _rsa_key(name, bits)


@cache
def _rsa_key(name: str, bits: int) -> rsa.RSAPrivateKey:
    del name
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@cache
def ed_key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def public_pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def rsa_jwk(kid: str, key: rsa.RSAPrivateKey, **more: object) -> dict[str, Any]:
    return {**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, **more}


def ec_jwk(kid: str) -> dict[str, Any]:
    return {**ECAlgorithm.to_jwk(ec_key().public_key(), as_dict=True), "kid": kid}


def ed_jwk(kid: str) -> dict[str, Any]:
    return {**OKPAlgorithm.to_jwk(ed_key().public_key(), as_dict=True), "kid": kid}


def key_set(*keys: Mapping[str, Any]) -> str:
    return json.dumps({"keys": keys})


def claims(**changes: object) -> dict[str, Any]:
    """Those of a good token; a change to None leaves the claim out."""
    good = {"sub": "alice", "iss": ISSUER, "aud": AUDIENCE, "exp": int(time.time()) + 600}
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def token(
    key: Any = None, kid: str | None = "first", algorithm: str = "RS256", **changes: object
) -> str:
    """A signed token."""
    headers = None if kid is None else {"kid": kid}
    signer = rsa_key() if key is None else key
    return jwt.encode(claims(**changes), signer, algorithm=algorithm, headers=headers)


def part(document: object) -> str:
    """One part of a token made by hand."""
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def jwt_settings(folder: Path, *keys: Mapping[str, Any], **changes: Any) -> JwtSettings:
    """Those of an issuer whose keys are in a file."""
    file = folder / "keys.json"
    file.write_text(key_set(*(keys or (rsa_jwk("first", rsa_key()),))))
    given: dict[str, Any] = {"jwks_file": file, "issuer": ISSUER, "audience": AUDIENCE}
    return JwtSettings(**{**given, **changes})


def certificate(
    common_names: tuple[str, ...] = ("alice",),
    alternatives: tuple[x509.GeneralName, ...] = (),
    ends_in_s: float = 600.0,
) -> bytes:
    """A client certificate, in DER, signed by itself."""
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each) for each in common_names])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(ec_key().public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(seconds=ends_in_s))
    )
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return builder.sign(ec_key(), hashes.SHA256()).public_bytes(serialization.Encoding.DER)


@dataclass
class Issuer:
    """A JWKS server on the loopback. ``answer`` is what it says, ``asked`` how often it was."""

    keys: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    body: bytes | None = None
    location: str | None = None
    asked: int = 0
    port: int = 0
    stall: asyncio.Event | None = None
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/keys"

    async def start(self) -> None:
        """At the same port each time."""
        app = web.Application()
        app.router.add_get("/keys", self._answer)
        app.router.add_get("/moved", self._moved)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        if self.stall is not None:
            await self.stall.wait()
        headers = {"Location": self.location} if self.location else None
        body = key_set(*self.keys).encode() if self.body is None else self.body
        return web.Response(status=self.status, body=body, headers=headers)

    async def _moved(self, request: web.Request) -> web.Response:
        return web.Response(body=key_set(*self.keys).encode())


@asynccontextmanager
async def issuing(*keys: dict[str, Any]) -> AsyncIterator[Issuer]:
    issuer = Issuer(list(keys))
    await issuer.start()
    try:
        yield issuer
    finally:
        await issuer.stop()
