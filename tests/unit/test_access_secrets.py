"""Nothing that a client shows, and nothing that a file holds, is in a log, an exception or a repr.

The same flows as everywhere, good and bad, with secrets that can be told from all else; then all
that was written anywhere is searched for them, and for what they look like in a header.
"""

import asyncio
import base64
import dataclasses
import io
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from gateway.access import passwords
from gateway.access.authorization import read
from gateway.access.evidence import read_evidence
from gateway.access.passwords import Checks
from gateway.access.proofs import Refused
from gateway.access.settings import AccessSettings, AccessUnusable, AttemptLimits
from gateway.access.tokens import digest
from gateway.seams import Credentials, Right
from protocol.errors import KsqlError
from tests.access_world import (
    NOT_ANONYMOUS,
    basic,
    bearer,
    cheap_hash,
    jwt_settings,
    opened,
    rsa_key,
    token,
    written,
)

PASSWORD, WRONG, MISTYPED = "s3cret-right", "s3cret-wrong", "s3cret-as-a-name"
STATIC, UNKNOWN = "hrt_s3cret-static", "hrt_s3cret-unknown"


@pytest.fixture
def told() -> Iterator[io.StringIO]:
    """All that any log says, debug included."""
    out = io.StringIO()
    known = structlog.get_config()
    root, handler = logging.getLogger(), logging.StreamHandler(out)
    level = root.level
    structlog.configure(
        processors=[structlog.processors.format_exc_info, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield out
    root.removeHandler(handler)
    root.setLevel(level)
    structlog.configure(**known)


def spellings(secrets: list[str]) -> set[str]:
    """A secret as it is, and as a header carries it."""
    return {
        *secrets,
        *(base64.b64encode(f"alice:{secret}".encode()).decode() for secret in secrets),
        *(base64.b64encode(f"{secret}:x".encode()).decode() for secret in secrets),
    }


def files(folder: Path) -> dict[str, Any]:
    hashed = cheap_hash(PASSWORD)
    return {
        "users_file": written(folder / "users", f"alice:{hashed}"),
        "tokens_file": written(folder / "tokens", f"alan:{digest(STATIC)}"),
    }


async def test_no_flow_tells_a_secret(
    tmp_path: Path, told: io.StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    web, forged = token(), token(rsa_key("other"))
    expired, bent = token(exp=1), web[:-4] + "s3cr"
    shown = [
        basic("alice", PASSWORD),
        basic("alice", WRONG),
        basic(MISTYPED, "x"),
        bearer(STATIC),
        bearer(UNKNOWN),
        *map(bearer, (web, forged, expired, bent)),
        Credentials(authorization=f"Basic {PASSWORD}"),
        Credentials(authorization=f"Digest {PASSWORD}"),
        Credentials(authorization=f"Bearer {PASSWORD} {PASSWORD}"),
        Credentials(authorization=PASSWORD),
        Credentials(authorization="Basic " + base64.b64encode(PASSWORD.encode()).decode()),
    ]
    audit = tmp_path / "audit"
    settings = AccessSettings(
        **files(tmp_path), jwt=jwt_settings(tmp_path), rules=(NOT_ANONYMOUS,), audit_file=audit
    )
    said: list[str] = [repr(settings)]
    async with opened(settings) as room:
        for again in range(2):
            for each in shown:
                said += await everything_said(room, each)
            if not again:
                assert await room.reload(settings)
        assert settings.users_file
        settings.users_file.write_text(f"alice:{PASSWORD}\n{MISTYPED}\n")
        assert not await room.reload(settings)
        said += [repr(room._evidence), repr(vars(room)), repr(room._evidence.passwords)]
    secrets = [PASSWORD, WRONG, MISTYPED, STATIC, UNKNOWN, web, forged, expired, bent]
    printed = "".join(capfd.readouterr())
    written_down = "\n".join([*said, told.getvalue(), printed, audit.read_text()])
    assert "Unauthorized" in written_down
    assert "not an argon2id hash" in told.getvalue()
    assert '"outcome":"refused"' in audit.read_text()
    for secret in spellings(secrets) | {part for each in secrets for part in each.split(".")[1:]}:
        assert secret not in written_down
    assert digest(STATIC) not in written_down
    assert "$argon2id$" not in written_down


async def everything_said(room: Any, shown: Credentials) -> list[str]:
    """What is told to the client, what a traceback of it shows, and what is seen of the values."""
    said = [repr(shown), repr(dataclasses.replace(shown, peer="::1"))]
    try:
        permit = await room.permit(shown)
        said += [repr(permit), repr(permit._proof.principal), str(permit)]
        permit.require(Right.INSERT, "EVENTS")
        permit.record("insert", "EVENTS")
    except KsqlError as error:
        said += [repr(error), str(error.document()), *traceback.format_exception(error)]
    return said


@pytest.mark.parametrize("header", [f"Basic {PASSWORD}", f"Bearer {PASSWORD} x", PASSWORD])
def test_a_refusal_does_not_hang_on_a_fault_that_holds_the_secret(header: str) -> None:
    with pytest.raises(Refused) as refused:
        read(header)
    assert PASSWORD not in "".join(traceback.format_exception(refused.value))


async def test_a_fault_in_the_check_tells_no_password(
    tmp_path: Path, told: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(encoded: str, password: str) -> bool:
        raise MemoryError

    monkeypatch.setattr(passwords, "fits", broken)
    settings = AccessSettings(users_file=files(tmp_path)["users_file"], rules=(NOT_ANONYMOUS,))
    async with opened(settings) as room:
        asked = [asyncio.create_task(room.permit(basic("alice", PASSWORD))) for _ in range(3)]
        faults = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(fault) for fault in faults] == [MemoryError] * 3
        for fault in faults:
            assert isinstance(fault, MemoryError)
            structlog.get_logger().error("a request failed", exc_info=fault)
    assert "MemoryError" in told.getvalue()
    assert PASSWORD not in told.getvalue()


async def test_a_file_that_holds_secrets_in_the_wrong_place_is_refused_without_them(
    tmp_path: Path,
) -> None:
    checks = Checks(AttemptLimits())
    for name in ("users_file", "tokens_file"):
        for line in (f"alice:{PASSWORD}", PASSWORD, f"alice {PASSWORD}:", f"al\tice:{PASSWORD}"):
            given = {name: written(tmp_path / "file", line)}
            with pytest.raises(AccessUnusable) as refused:
                await read_evidence(AccessSettings(**given), checks)  # type: ignore[arg-type]
            assert PASSWORD not in "".join(traceback.format_exception(refused.value))
    await checks.close()
