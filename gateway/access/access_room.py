"""The access room: its life, its door, and its reload.

`open` stops the start where anything cannot be used; `reload` keeps what holds and tells the log.
Where nobody is asked for anything a permit costs next to nothing.
"""

import asyncio

import structlog

from gateway.access.audit import AuditLog, Decision
from gateway.access.evidence import Evidence, read_evidence
from gateway.access.passwords import Checks
from gateway.access.permits import RoomPermit
from gateway.access.proofs import NOTHING, Proof, Refused
from gateway.access.rules import Rules
from gateway.access.settings import AccessSettings, AccessUnusable
from gateway.access.usage import Usages
from gateway.seams import Credentials, Permit, Right
from protocol.errors import NotReady, TooManyRequests, Unauthorized

_NOTHING_SHOWN = Credentials()

_log = structlog.get_logger("headrace")


class AccessRoom:
    """`gateway.seams.Access`. Before `open` it asks everybody to come later (503)."""

    def __init__(self, settings: AccessSettings) -> None:
        self.audit = AuditLog(settings.audit_file)
        self.refused = 0
        """requests that showed nothing good"""
        self._settings = settings
        self._checks = Checks(settings.attempts)
        self._usages = Usages(settings.limits)
        self._evidence = Evidence(settings=settings, rules=Rules(()))
        self._is_open = False
        self._one_reload = asyncio.Lock()
        self._reloads: set[asyncio.Task[bool]] = set()

    @property
    def asks(self) -> bool:
        """Whether anybody must show who it is, now."""
        return self._evidence.settings.asks

    async def open(self) -> None:
        """Raises `AccessUnusable`, with file and line."""
        try:
            self._evidence = await read_evidence(self._settings, self._checks)
            await asyncio.to_thread(self.audit.open)
        except AccessUnusable:
            await self.close()
            raise
        # Where nobody is asked, a line for each request would only fill the log.
        self.audit.to_log = self._settings.asks
        self._is_open = True

    async def close(self) -> None:
        """Stop what runs; the audit log is written to its end."""
        for task in self._reloads:
            task.cancel()
        await asyncio.gather(*self._reloads, return_exceptions=True)
        if self._evidence.web_tokens is not None:
            await self._evidence.web_tokens.source.close()
        await self._checks.close()
        await asyncio.to_thread(self.audit.close)

    # ── the door ──

    async def permit(self, credentials: Credentials) -> Permit:
        """Who that is. Raises `Unauthorized`, `TooManyRequests`, or `NotReady`."""
        if not self._is_open:
            raise NotReady
        try:
            proof = await self._evidence.prove(credentials)
        except Refused as refused:
            self._tell(refused, credentials.peer)
        except TooManyRequests:
            self.audit.record(
                Decision(action="authenticate", outcome="throttled", peer=credentials.peer)
            )
            raise
        else:
            name = proof.principal.name
            return RoomPermit(self, proof, self._usages.of(name), credentials.peer)
        # Outside of the handler: what was refused must not hang on what is told to the client.
        raise self.refusal()

    def refusal(self) -> Unauthorized:
        """The same words and challenges whatever was wrong."""
        return Unauthorized(
            "Unauthorized: show credentials that this gateway knows.", self._evidence.challenges
        )

    def _tell(self, refused: Refused, peer: str) -> None:
        self.refused += 1
        self.audit.record(
            Decision(
                action="authenticate",
                outcome="refused",
                principal=refused.principal,
                how=refused.how,
                peer=peer,
                reason=refused.reason,
            )
        )

    # ── what permits ask ──

    def may(self, proof: Proof, right: Right, name: str) -> bool:
        """Both of the below. Asked for each read of a stream."""
        evidence = self._evidence
        return not evidence.settings.asks or (
            self.holds(proof) and evidence.grants(proof.principal.name, right, name)
        )

    def holds(self, proof: Proof) -> bool:
        """Whether what was shown is still good."""
        return proof is NOTHING or self._evidence.holds(proof)

    def grants(self, principal: str, right: Right, name: str) -> bool:
        """Whether it may now."""
        return self._evidence.grants(principal, right, name)

    # ── other settings ──

    def reload_soon(self, settings: AccessSettings) -> None:
        """Begin a `reload`, from the event loop's thread."""
        task = asyncio.create_task(self.reload(settings))
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def reload(self, settings: AccessSettings) -> bool:
        """Read everything anew, files included; whether all of it could be used.

        If not, all stays as it is and the log says why. The audit log goes on in a new file if its
        old one was moved away.
        """
        async with self._one_reload:
            self.audit.reopen()
            audit = self.audit
            try:
                if settings.audit_file != audit.path:
                    audit = AuditLog(settings.audit_file)
                    await asyncio.to_thread(audit.open)
                after = await read_evidence(settings, self._checks, self._evidence)
            except AccessUnusable as error:
                _log.error("access stays as it was", why=str(error))
                await self._put_away(audit)
                return False
            await self._take_up(after, audit)
            return True

    async def _take_up(self, after: Evidence, audit: AuditLog) -> None:
        before, self._evidence = self._evidence, after
        old_audit, self.audit = self.audit, audit
        audit.to_log = after.settings.asks
        self._usages.set_limits(after.settings.limits)
        _log.info("access was read anew")
        if before.web_tokens is not None and before.web_tokens is not after.web_tokens:
            await before.web_tokens.source.close()
        await self._put_away(old_audit)

    async def _put_away(self, audit: AuditLog) -> None:
        if audit is not self.audit:
            await asyncio.to_thread(audit.close)
