"""What the principal of one request may do: `gateway.seams.Permit`, as the access room gives it.

A permit keeps no decision: it asks what holds now, so rules, users and limits that change hold for
streams that are open already.
"""

import json
from contextlib import AbstractContextManager
from typing import Protocol

from gateway.access.audit import AuditLog, Decision
from gateway.access.proofs import Proof
from gateway.access.usage import Usage
from gateway.seams import Principal, Right, Use
from protocol.errors import Forbidden, Unauthorized

SHOWN_MAX = 200
"""characters of a name that a message shows"""


class Judge(Protocol):
    """What holds now."""

    audit: AuditLog

    def may(self, proof: Proof, right: Right, name: str) -> bool:
        """Whether what was shown is still good, and some rule grants it."""

    def holds(self, proof: Proof) -> bool:
        """Whether what was shown is still good."""

    def grants(self, principal: str, right: Right, name: str) -> bool:
        """Whether some rule grants it."""

    def refusal(self) -> Unauthorized:
        """What is said to whom shows nothing good."""


class RoomPermit:
    """The permit of one request."""

    __slots__ = ("_judge", "_peer", "_proof", "_usage", "principal")

    def __init__(self, judge: Judge, proof: Proof, usage: Usage, peer: str) -> None:
        self.principal: Principal = proof.principal
        self._judge = judge
        self._proof = proof
        self._usage = usage
        self._peer = peer

    def __repr__(self) -> str:
        return f"<permit of {self.principal.name} by {self.principal.shown}>"

    def may(self, right: Right, name: str = "") -> bool:
        """Whether it may, at this moment."""
        return self._judge.may(self._proof, right, name)

    def require(self, right: Right, name: str = "") -> None:
        """Raises `Forbidden` or `Unauthorized`, and tells the audit log."""
        if not self._judge.holds(self._proof):
            self._tell("authenticate", "refused", right, name, "expired or taken back meanwhile")
            raise self._judge.refusal()
        if not self._judge.grants(self.principal.name, right, name):
            self._tell("require", "forbidden", right, name, "no rule grants it")
            raise Forbidden(_forbidden(self.principal.name, right, name))

    def record(self, action: str, name: str = "", *, outcome: str = "done") -> None:
        """Tell the audit log what was done."""
        self._tell(action, outcome, None, name, "")

    def using(self, use: Use) -> AbstractContextManager[None]:
        """One more of these. Raises `TooManyRequests` on entry."""
        return self._usage.one_more(use)

    def took(self, rows: int, size_bytes: int, now: float) -> float:
        """Count rows; returns the seconds for which no more should be read."""
        return self._usage.took(rows, size_bytes, now)

    def _tell(self, action: str, outcome: str, right: Right | None, name: str, reason: str) -> None:
        self._judge.audit.record(
            Decision(
                action=action,
                outcome=outcome,
                principal=self.principal.name,
                how=self.principal.shown,
                peer=self._peer,
                right=right.value if right else "",
                name=name,
                reason=reason,
            )
        )


def _forbidden(principal: str, right: Right, name: str) -> str:
    if len(name) > SHOWN_MAX:
        name = name[:SHOWN_MAX] + "…"
    where, names = (f" on `{name}`", f", names = [{_quoted(name)}]") if name else ("", "")
    if right is Right.ADMIN:
        where = names = ""
    refused = f"Forbidden: `{principal}` has no right to {right.value}{where}."
    if any(wildcard in text for wildcard in "*?" for text in (principal, names)):
        # Whoever wrote such a name into a rule would grant more than this.
        return refused
    return (
        f"{refused} A rule in access.rules "
        f'grants it: {{principal = {_quoted(principal)}, rights = ["{right.value}"]{names}}}'
    )


def _quoted(text: str) -> str:
    """As TOML spells it: what is within the quotes of JSON is a basic string there too."""
    return json.dumps(text, ensure_ascii=False)
