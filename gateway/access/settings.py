"""What the access room is told at its start and at each reload. Frozen values, no secrets in them.

``asks`` says whether anybody must show anything at all. Where nobody must, everybody may do
everything, within the limits that are given.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gateway.seams import Right


class AccessUnusable(Exception):
    """What access stands on cannot be used; the text names file, line and remedy, no secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One grant: patterns (``*``, ``?``) over principals' names and over streams' names."""

    principal: str
    rights: tuple[Right, ...]
    names: tuple[str, ...] = ("*",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What one principal may use at once; None is no limit. The first that fits holds."""

    principal: str = "*"
    streams_max: int | None = None
    push_queries_max: int | None = None
    rows_per_s: int | None = None
    bytes_per_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtSettings:
    """Which JSON Web Tokens are taken. One of ``jwks_url`` and ``jwks_file`` is given."""

    jwks_url: str | None = None
    jwks_file: Path | None = None
    issuer: str | None = None
    audience: str | None = None
    algorithms: tuple[str, ...] = ("RS256", "ES256", "EdDSA")
    principal_claim: str = "sub"
    leeway_s: float = 30.0
    refresh_s: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptLimits:
    """What guessing passwords may cost this machine, and how often one peer may guess."""

    threads: int = 2
    """passwords that are checked at once; each takes the memory that its hash was made with"""
    waiting_max: int = 64
    """further ones that wait; past it 429"""
    failures_max: int = 10
    """wrong passwords from one peer before it has to wait"""
    failure_s: float = 6.0
    """after which one more is allowed"""
    peers_max: int = 10_000
    verified_max: int = 4096
    """right passwords that are not checked again"""
    verified_s: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessSettings:
    """Everything."""

    users_file: Path | None = None
    tokens_file: Path | None = None
    jwt: JwtSettings | None = None
    certificate_principal: Literal["cn", "san"] = "cn"
    rules: tuple[Rule, ...] = ()
    limits: tuple[Limit, ...] = ()
    audit_file: Path | None = None
    attempts: AttemptLimits = AttemptLimits()

    @property
    def asks(self) -> bool:
        """Whether anybody must show who it is."""
        return bool(self.users_file or self.tokens_file or self.jwt or self.rules)
