"""An issuer's keys over a real socket: rotated, away, back, slow, and talking nonsense."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.access import key_source
from gateway.access.key_source import DOCUMENT_MAX_BYTES, KeysAway, KeySource, fetch, shown
from gateway.access.proofs import Refused
from gateway.access.settings import AccessUnusable, JwtSettings
from gateway.access.web_tokens import WebTokens
from tests.access_world import (
    AUDIENCE,
    ISSUER,
    Issuer,
    issuing,
    jwt_settings,
    key_set,
    rsa_jwk,
    rsa_key,
    token,
    until,
)

FIRST, SECOND = rsa_jwk("first", rsa_key()), rsa_jwk("second", rsa_key("second"))


def second() -> str:
    return token(rsa_key("second"), "second")


@asynccontextmanager
async def checking(
    issuer: Issuer, sooner_s: float = 10.0, **changes: Any
) -> AsyncIterator[WebTokens]:
    given = {"jwks_url": issuer.url, "issuer": ISSUER, "audience": AUDIENCE, **changes}
    settings = JwtSettings(**given)
    source = KeySource(settings, sooner_s=sooner_s)
    await source.open()
    try:
        yield WebTokens(settings, source)
    finally:
        await source.close()


async def test_a_rotated_key_is_found_by_the_first_token_that_names_it() -> None:
    async with issuing(FIRST) as issuer, checking(issuer, sooner_s=0.0) as tokens:
        assert (await tokens.prove(token())).principal.name == "alice"
        assert issuer.asked == 1
        issuer.keys = [FIRST, SECOND]
        assert (await tokens.prove(second())).principal.name == "alice"
        assert issuer.asked == 2


async def test_a_key_that_was_taken_back_is_gone_with_the_next_look() -> None:
    async with issuing(FIRST) as issuer, checking(issuer, sooner_s=0.0) as tokens:
        issuer.keys = [SECOND]
        await tokens.prove(second())
        with pytest.raises(Refused, match="no such key"):
            await tokens.prove(token())


async def test_unknown_keys_bring_about_one_look_at_a_time_and_one_in_ten_seconds() -> None:
    async with issuing(FIRST) as issuer, checking(issuer) as tokens:
        for number in range(50):
            with pytest.raises(Refused, match="no such key"):
                await tokens.prove(token(kid=f"unknown-{number}"))
        assert issuer.asked == 1
    async with issuing(FIRST) as issuer, checking(issuer, sooner_s=0.0) as tokens:
        issuer.stall = asyncio.Event()
        asked = [asyncio.create_task(tokens.prove(second())) for _ in range(50)]
        await until(lambda: issuer.asked == 2, "the issuer is asked")
        issuer.keys = [SECOND]
        asked[0].cancel()
        issuer.stall.set()
        proofs = await asyncio.gather(*asked[1:])
        assert {proof.principal.name for proof in proofs} == {"alice"}
        assert issuer.asked == 2


async def test_an_issuer_that_goes_away_and_comes_back_with_other_keys() -> None:
    async with issuing(FIRST) as issuer, checking(issuer, sooner_s=0.0) as tokens:
        await issuer.stop()
        assert (await tokens.prove(token())).principal.name == "alice"
        with pytest.raises(Refused, match="no such key"):
            await tokens.prove(second())
        assert (await tokens.prove(token())).principal.name == "alice"
        issuer.keys = [SECOND]
        await issuer.start()
        assert (await tokens.prove(second())).principal.name == "alice"


async def test_an_issuer_that_is_away_at_the_start_is_waited_for() -> None:
    issuer = Issuer([FIRST])
    await issuer.start()
    await issuer.stop()
    async with checking(issuer, sooner_s=0.0, refresh_s=0.02) as tokens:
        with pytest.raises(Refused, match="no such key"):
            await tokens.prove(token())
        await issuer.start()
        try:
            await until(lambda: len(tokens.source.keys) == 1, "the keys are there")
            assert (await tokens.prove(token())).principal.name == "alice"
        finally:
            await issuer.stop()


async def test_keys_are_looked_at_by_the_clock_though_nobody_asks() -> None:
    async with issuing(FIRST) as issuer, checking(issuer, refresh_s=0.02) as tokens:
        issuer.keys = [SECOND]
        await until(lambda: tokens.source.keys.find("second", "RS256") is not None, "second")
        assert tokens.source.keys.find("first", "RS256") is None
        issuer.status = 500
        asked = issuer.asked
        await until(lambda: issuer.asked > asked + 2, "it goes on looking")
        assert tokens.source.keys.find("second", "RS256") is not None


NONSENSE: list[dict[str, Any]] = [
    {"status": 503},
    {"status": 404},
    {"body": b"<html>we are sorry</html>"},
    {"body": b'{"keys":[]}'},
    {"body": key_set(FIRST).encode().ljust(DOCUMENT_MAX_BYTES + 1)},
    {"status": 302, "location": "/moved"},
]


@pytest.mark.parametrize("answer", NONSENSE, ids=range(len(NONSENSE)))
async def test_the_last_good_keys_stay_where_the_answer_is_no_key_set(
    answer: dict[str, Any],
) -> None:
    async with issuing(FIRST) as issuer, checking(issuer, sooner_s=0.0) as tokens:
        for name, value in answer.items():
            setattr(issuer, name, value)
        with pytest.raises(KeysAway):
            await tokens.source.look()
        assert issuer.asked == 2
        assert (await tokens.prove(token())).principal.name == "alice"


async def test_an_issuer_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_source, "LOOK_S", 0.05)
    async with issuing(FIRST) as issuer:
        issuer.stall = asyncio.Event()
        with pytest.raises(KeysAway, match="no answer within"):
            await fetch(issuer.url)
        issuer.stall.set()


async def test_a_place_that_nobody_listens_at_is_told_without_its_query() -> None:
    issuer = Issuer()
    await issuer.start()
    await issuer.stop()
    with pytest.raises(KeysAway) as away:
        await fetch(f"{issuer.url}?key=hidden")
    assert str(away.value).startswith(issuer.url)
    assert "hidden" not in str(away.value)
    assert shown("https://a.example/x?key=hidden#y") == "https://a.example/x"


async def test_a_file_of_keys_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    settings = jwt_settings(tmp_path)
    assert settings.jwks_file is not None
    settings.jwks_file.write_text("{}")
    with pytest.raises(AccessUnusable, match=r"keys\.json: it is not a key set"):
        await KeySource(settings).open()
    settings.jwks_file.unlink()
    with pytest.raises(AccessUnusable, match="there is no such file"):
        await KeySource(settings).open()


async def test_a_file_of_keys_is_looked_at_again(tmp_path: Path) -> None:
    settings = jwt_settings(tmp_path, refresh_s=0.02)
    assert settings.jwks_file is not None
    source = KeySource(settings)
    await source.open()
    settings.jwks_file.write_text(key_set(SECOND))
    await until(lambda: source.keys.find("second", "RS256") is not None, "the second key")
    looks = source.looks
    settings.jwks_file.write_text("broken")
    await until(lambda: source.looks > looks + 2, "more looks")
    assert source.keys.find("second", "RS256") is not None
    await source.close()
