"""What credentials are checked against: users, tokens, an issuer's keys, rules. Read whole, swapped
whole.

A reload reads a new `Evidence`; until all of it is good the old one stays. An issuer whose settings
have not changed keeps its keys.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from gateway.access.authorization import Basic, Bearer, read
from gateway.access.passwords import Checks, Passwords
from gateway.access.proofs import ANONYMOUS, NOTHING, Proof, Refused
from gateway.access.rules import Rules
from gateway.access.settings import AccessSettings, AccessUnusable
from gateway.access.tokens import digest, read_tokens
from gateway.access.users import Users, read_users
from gateway.clock import wall_time
from gateway.seams import Credentials, Principal, Right

if TYPE_CHECKING:
    # Its libraries, and those of certificates, are a tenth of a gateway's start and of its memory
    # at rest: they are loaded where there is an issuer, or somebody shows a certificate.
    from gateway.access.web_tokens import WebTokens

_log = structlog.get_logger("headrace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that holds at one time."""

    settings: AccessSettings
    rules: Rules
    passwords: Passwords | None = None
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)
    web_tokens: "WebTokens | None" = None

    @property
    def challenges(self) -> tuple[str, ...]:
        """What may be shown, as ``WWW-Authenticate`` says it; never nothing (RFC 9110 §15.5.2)."""
        bearer = bool(self.settings.tokens_file or self.web_tokens)
        basic = self.passwords is not None
        return (('Basic realm="headrace"',) if basic else ()) + (
            ("Bearer",) if bearer or not basic else ()
        )

    # ── from what a request shows to whom it comes from ──

    async def prove(self, shown: Credentials) -> Proof:
        """Raises `Refused`, or `TooManyRequests`.

        A header wins over a certificate, and a bad one is refused whatever the certificate says:
        whoever sends one means to be its principal.
        """
        if not self.settings.asks:
            return self._named(shown)
        if shown.authorization is not None:
            return await self._header(shown.authorization, shown.peer)
        if shown.certificate is not None:
            return self._certificate(shown.certificate)
        if self.rules.knows(ANONYMOUS):
            return NOTHING
        raise Refused("nothing was shown", how="nothing")

    def _named(self, shown: Credentials) -> Proof:
        """Nobody is asked, yet limits and the audit log go by the name of a certificate."""
        try:
            return self._certificate(shown.certificate) if shown.certificate else NOTHING
        except Refused:
            return NOTHING

    def _certificate(self, der: bytes) -> Proof:
        from gateway.access.certificates import prove

        return prove(der, self.settings.certificate_principal, wall_time())

    async def _header(self, header: str, peer: str) -> Proof:
        shown = read(header)
        if isinstance(shown, Basic):
            return await self._basic(shown, peer)
        if self.web_tokens is not None and shown.is_web_token:
            return await self.web_tokens.prove(shown.token)
        return self._static(shown)

    async def _basic(self, shown: Basic, peer: str) -> Proof:
        if self.passwords is None:
            raise Refused("there is no users file", how="basic")
        users = self.passwords.users
        if not await self.passwords.is_right(shown, peer):
            # A name that nobody has may be a password in the wrong field: it is not told on.
            known = shown.name if shown.name in users.hashes else ""
            raise Refused("unknown user or wrong password", how="basic", principal=known)
        principal = Principal(name=shown.name, shown="basic")
        return Proof(principal=principal, mark=users.hashes[shown.name])

    def _static(self, shown: Bearer) -> Proof:
        mark = digest(shown.token)
        name = self.tokens.get(mark)
        if name is None:
            raise Refused("an unknown token", how="bearer")
        return Proof(principal=Principal(name=name, shown="bearer"), mark=mark)

    # ── what holds for a permit that was given earlier ──

    def holds(self, proof: Proof) -> bool:
        """Whether what was shown would be good now."""
        if not self.settings.asks:
            return True
        name = proof.principal.name
        match proof.principal.shown:
            case "basic":
                return self.passwords is not None and (
                    self.passwords.users.hashes.get(name) == proof.mark
                )
            case "bearer":
                return self.tokens.get(proof.mark) == name
            case "jwt":
                return self.web_tokens is not None and _is_before(proof.good_until)
            case "certificate":
                return _is_before(proof.good_until)
        return True

    def grants(self, principal: str, right: Right, name: str) -> bool:
        """Whether it may; everybody may everything where nobody is asked who it is."""
        return not self.settings.asks or self.rules.grants(principal, right, name)


async def read_evidence(
    settings: AccessSettings, checks: Checks, before: Evidence | None = None
) -> Evidence:
    """Read all files, and look at the issuer's keys. Raises `AccessUnusable`."""
    if settings.jwt is not None:
        from gateway.access.web_tokens import require_sound

        require_sound(settings.jwt)
    users, tokens = await asyncio.to_thread(_read_files, settings)
    evidence = Evidence(
        settings=settings,
        rules=Rules(settings.rules),
        passwords=None if users is None else Passwords(users, checks, settings.attempts),
        tokens=tokens,
        web_tokens=await _web_tokens(settings, before),
    )
    _warn(evidence)
    return evidence


def _read_files(settings: AccessSettings) -> tuple[Users | None, Mapping[str, str]]:
    users = None if settings.users_file is None else read_users(settings.users_file)
    return users, read_tokens(settings.tokens_file)


async def _web_tokens(settings: AccessSettings, before: Evidence | None) -> "WebTokens | None":
    if settings.jwt is None:
        return None
    from gateway.access.key_source import KeysAway, KeySource
    from gateway.access.web_tokens import WebTokens

    kept = before and before.web_tokens
    if not kept or kept.settings != settings.jwt:
        source = KeySource(settings.jwt)
        await source.open()
        return WebTokens(settings.jwt, source)
    try:
        await kept.source.look()
    except KeysAway as error:
        if settings.jwt.jwks_file:
            raise AccessUnusable(str(error)) from None
        _log.warning("the keys of the token issuer stay as they were", why=str(error))
    return kept


def _warn(evidence: Evidence) -> None:
    """What is allowed and may not be meant."""
    settings = evidence.settings
    if not settings.asks:
        return
    if not settings.rules:
        _log.warning("access.rules is empty: everybody is refused everything")
    if settings.jwt and not (settings.jwt.issuer and settings.jwt.audience):
        _log.warning(
            "access.jwt names no issuer or no audience: tokens that were made for other services "
            "are taken too"
        )


def _is_before(until: float | None) -> bool:
    return until is not None and wall_time() < until
