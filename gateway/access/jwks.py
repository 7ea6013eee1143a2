"""A JSON Web Key Set read: which public key checks which signature. Pure.

Laws: only public members are looked at; a key serves the algorithms of its own kind and no other,
so a token cannot choose how its key is used (algorithm confusion); keys that are too weak, too
strange or for another use are as if they were not there. Sources: RFC 7517, RFC 8725 §3.1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import PyJWTError

KEYS_MAX = 100
RSA_BITS = range(2048, 8193)

_RSA = ("RSA", None)
KINDS: Mapping[str, tuple[str, str | None]] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), _RSA),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""algorithm → key type and curve. None is symmetric: whoever could check could also sign"""

_READERS: Mapping[str, tuple[Any, tuple[str, ...]]] = {
    "RSA": (RSAAlgorithm, ("kty", "n", "e")),
    "EC": (ECAlgorithm, ("kty", "crv", "x", "y")),
    "OKP": (OKPAlgorithm, ("kty", "crv", "x")),
}


class NoKeys(Exception):
    """Not a key set, or no key in it can be used; the text says which."""


@dataclass(frozen=True, slots=True)
class _Key:
    kid: str | None
    algorithm: str | None
    """the only one it is for, if it says so"""
    kind: tuple[str, str | None]
    public: Any


class KeySet:
    """The keys of an issuer at one time."""

    def __init__(self, keys: Sequence[_Key] = ()) -> None:
        self._keys = keys

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, kid: str | None, algorithm: str) -> Any | None:
        """The public key for that algorithm. Without a key id: the only one that there is."""
        fitting = [
            key.public
            for key in self._keys
            if key.kind == KINDS.get(algorithm)
            and key.algorithm in (None, algorithm)
            and kid in (None, key.kid)
        ]
        return fitting[0] if fitting and (kid is not None or len(fitting) == 1) else None


def read_keys(document: bytes) -> KeySet:
    """Raises `NoKeys`."""
    try:
        members = orjson.loads(document)
    except orjson.JSONDecodeError:
        raise NoKeys("it is not JSON") from None
    listed = members.get("keys") if isinstance(members, dict) else None
    if not isinstance(listed, list):
        raise NoKeys("it is not a key set: it has no list `keys`")
    keys = [key for each in listed[:KEYS_MAX] if (key := _key(each)) is not None]
    if not keys:
        raise NoKeys("no key in it can check a signature")
    return KeySet(keys)


def _key(members: object) -> _Key | None:
    if not isinstance(members, dict) or not _is_for_signatures(members):
        return None
    kid, algorithm = members.get("kid"), members.get("alg")
    kind = members.get("kty"), members.get("crv") if members.get("kty") != "RSA" else None
    if kind not in KINDS.values() or not all(
        isinstance(each, str | None) for each in (kid, algorithm)
    ):
        return None
    reader, names = _READERS[str(kind[0])]
    try:
        public = reader.from_jwk({name: members[name] for name in names})
    except (PyJWTError, KeyError, ValueError, TypeError, AttributeError):
        return None
    if isinstance(public, RSAPublicKey) and public.key_size not in RSA_BITS:
        return None
    return _Key(kid, algorithm, (str(kind[0]), kind[1]), public)


def _is_for_signatures(members: Mapping[str, object]) -> bool:
    operations = members.get("key_ops")
    return members.get("use") in (None, "sig") and (
        operations is None or (isinstance(operations, list) and "verify" in operations)
    )
