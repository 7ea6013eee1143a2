"""JSON Web Tokens checked: PyJWT does the signature and the claims, this says which it may take.

Laws: the algorithm is chosen by the configuration and the key, never by the token alone; nothing of
a token is believed before its signature is; a token without an end is refused; so is one that says
that something critical must be understood (``crit``), for nothing is. Source: RFC 7519, RFC 8725.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import jwt
from jwt.exceptions import (
    ExpiredSignatureError,
    ImmatureSignatureError,
    InvalidAudienceError,
    InvalidIssuerError,
    InvalidSignatureError,
    MissingRequiredClaimError,
    PyJWTError,
)

from gateway.access.jwks import KINDS
from gateway.access.key_source import KeySource
from gateway.access.proofs import Proof, Refused, is_name
from gateway.access.settings import AccessUnusable, JwtSettings
from gateway.seams import Principal

HOW = "jwt"

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_REASONS: Mapping[type[PyJWTError], str] = {
    ExpiredSignatureError: "expired",
    ImmatureSignatureError: "not valid yet",
    InvalidAudienceError: "for another audience",
    InvalidIssuerError: "of another issuer",
    InvalidSignatureError: "the signature is wrong",
    MissingRequiredClaimError: "a claim is missing",
}
"""for the audit log: PyJWT's own words may quote the token"""


class WebTokens:
    """Checks the tokens of one issuer."""

    def __init__(self, settings: JwtSettings, source: KeySource) -> None:
        self.settings = settings
        self.source = source

    async def prove(self, token: str) -> Proof:
        """Whom it names. Raises `Refused`."""
        header = _header(token)
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in self.settings.algorithms:
            raise Refused("its algorithm is not in access.jwt.algorithms", how=HOW)
        if "crit" in header or "b64" in header:
            raise Refused("it asks for an extension", how=HOW)
        key = await self.source.find(kid, algorithm)
        if key is None:
            raise Refused("the issuer has no such key", how=HOW)
        return self._proof(self._claims(token, key, algorithm))

    def _claims(self, token: str, key: Any, algorithm: str) -> Mapping[str, Any]:
        settings = self.settings
        try:
            return jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                issuer=settings.issuer,
                audience=settings.audience,
                leeway=settings.leeway_s,
                options={
                    "require": ["exp"],
                    "verify_aud": settings.audience is not None,
                    "verify_iss": settings.issuer is not None,
                },
            )
        except PyJWTError as error:
            raise Refused(_REASONS.get(type(error), "not a good token"), how=HOW) from None
        except (ValueError, TypeError, OverflowError, RecursionError):
            raise Refused("a claim of the wrong type", how=HOW) from None

    def _proof(self, claims: Mapping[str, Any]) -> Proof:
        name = claims.get(self.settings.principal_claim)
        if not isinstance(name, str) or not is_name(name):
            raise Refused("access.jwt.principal_claim is not a name in it", how=HOW)
        try:
            until = float(int(claims["exp"])) + self.settings.leeway_s
        except OverflowError:
            # JSON has numbers of any length; a time that no clock will show is none.
            raise Refused("a claim of the wrong type", how=HOW) from None
        return Proof(principal=Principal(name=name, shown=HOW), good_until=until)


def require_sound(settings: JwtSettings) -> None:
    """Raises `AccessUnusable` for settings under which anybody could sign."""
    if (settings.jwks_url is None) == (settings.jwks_file is None):
        raise AccessUnusable("access.jwt: set one of jwks_url and jwks_file")
    unknown = [name for name in settings.algorithms if name not in KINDS]
    if unknown or not settings.algorithms:
        raise AccessUnusable(
            f"access.jwt.algorithms: {', '.join(unknown) or 'none'} cannot be taken. Of the "
            f"algorithms with a public key there are {', '.join(KINDS)}"
        )
    if not settings.principal_claim:
        raise AccessUnusable("access.jwt.principal_claim: name a claim")
    if settings.jwks_url is not None:
        _require_safe(settings.jwks_url)


def _require_safe(url: str) -> None:
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise AccessUnusable("access.jwt.jwks_url: keys are public: leave out user and password")
    is_near = parts.scheme == "http" and parts.hostname in _LOOPBACK
    if not parts.hostname or not (parts.scheme == "https" or is_near):
        raise AccessUnusable(
            "access.jwt.jwks_url: use https, or http on this machine: whoever could change the "
            "keys on their way could sign as anybody; or put them into access.jwt.jwks_file"
        )


def _header(token: str) -> Mapping[str, Any]:
    try:
        return jwt.get_unverified_header(token)
    except (PyJWTError, ValueError, RecursionError):
        raise Refused("not the form of a web token", how=HOW) from None
