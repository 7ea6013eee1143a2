"""The access room through its door: who is let in as whom, who is refused how, and reloads."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from gateway.access import evidence
from gateway.access.access_room import AccessRoom
from gateway.access.settings import AccessSettings, AccessUnusable, Limit, Rule
from gateway.access.tokens import digest
from gateway.clock import wall_time
from gateway.seams import Credentials, Right, Use
from protocol.errors import Forbidden, NotReady, TooManyRequests, Unauthorized
from tests.access_world import (
    EVERYTHING,
    NOT_ANONYMOUS,
    basic,
    bearer,
    certificate,
    jwt_settings,
    known_as,
    opened,
    rsa_jwk,
    rsa_key,
    token,
    tokens_file,
    users_file,
    written,
)

STATIC = "hrt_static-token"
NOBODY = Credentials(peer="192.0.2.9")


def all_kinds(folder: Path, **changes: Any) -> AccessSettings:
    """Users, tokens, JWT and certificates."""
    given: dict[str, Any] = {
        "users_file": users_file(folder, alice="secret", alf="hidden"),
        "tokens_file": tokens_file(folder, alan=STATIC),
        "jwt": jwt_settings(folder),
        "rules": (NOT_ANONYMOUS,),
    }
    return AccessSettings(**{**given, **changes})


async def refused(room: AccessRoom, credentials: Credentials) -> Unauthorized:
    with pytest.raises(Unauthorized) as caught:
        await room.permit(credentials)
    return caught.value


# ── who is who ──


async def test_each_kind_of_credential_is_known_for_what_it_is(tmp_path: Path) -> None:
    async with opened(all_kinds(tmp_path)) as room:
        assert await known_as(room, basic("alice", "secret")) == ("alice", "basic")
        assert await known_as(room, bearer(STATIC)) == ("alan", "bearer")
        assert await known_as(room, bearer(token())) == ("alice", "jwt")
        shown = Credentials(certificate=certificate(("alma",)))
        assert await known_as(room, shown) == ("alma", "certificate")


async def test_a_good_header_wins_over_a_certificate_and_a_bad_one_is_refused(
    tmp_path: Path,
) -> None:
    async with opened(all_kinds(tmp_path)) as room:
        der = certificate(("alma",))
        both = dataclasses.replace(basic("alice", "secret"), certificate=der)
        assert await known_as(room, both) == ("alice", "basic")
        for bad in (
            basic("alice", "x"),
            bearer("x"),
            bearer("a.b.c"),
            Credentials(authorization=""),
        ):
            await refused(room, dataclasses.replace(bad, certificate=der))


async def test_every_refusal_has_the_same_words_whatever_was_wrong(tmp_path: Path) -> None:
    async with opened(all_kinds(tmp_path)) as room:
        shown = [
            NOBODY,
            basic("alice", "wrong"),
            basic("mallory", "secret"),
            bearer("hrt_unknown"),
            bearer(token(exp=1)),
            bearer(token(rsa_key("other"))),
            Credentials(authorization="Digest x"),
            Credentials(certificate=b"x"),
        ]
        errors = [await refused(room, each) for each in shown]
        assert {error.message for error in errors} == {
            "Unauthorized: show credentials that this gateway knows."
        }
        assert {(error.status, error.code) for error in errors} == {(401, 40100)}
        assert {error.challenges for error in errors} == {('Basic realm="headrace"', "Bearer")}
        assert all(error.__context__ is None for error in errors)
        assert room.refused == len(shown)


async def test_a_challenge_names_what_is_configured(tmp_path: Path) -> None:
    users, tokens = users_file(tmp_path, alice="secret"), tokens_file(tmp_path, alan=STATIC)
    for changes, challenges in (
        ({"users_file": users}, ('Basic realm="headrace"',)),
        ({"tokens_file": tokens}, ("Bearer",)),
        ({"jwt": jwt_settings(tmp_path)}, ("Bearer",)),
        ({"rules": (NOT_ANONYMOUS,)}, ("Bearer",)),
    ):
        async with opened(AccessSettings(**changes)) as room:
            assert (await refused(room, NOBODY)).challenges == challenges


async def test_a_token_of_three_parts_is_a_web_token_only_where_those_are_taken(
    tmp_path: Path,
) -> None:
    tokens = written(tmp_path / "tokens", f"alan:{digest('a.b.c')}")
    async with opened(AccessSettings(tokens_file=tokens, rules=(EVERYTHING,))) as room:
        assert await known_as(room, bearer("a.b.c")) == ("alan", "bearer")
        await refused(room, bearer(token()))
    settings = AccessSettings(tokens_file=tokens, jwt=jwt_settings(tmp_path), rules=(EVERYTHING,))
    async with opened(settings) as room:
        await refused(room, bearer("a.b.c"))


async def test_who_shows_nothing_is_let_in_where_a_rule_fits_anonymous(tmp_path: Path) -> None:
    public = Rule(principal="anonymous", rights=(Right.QUERY,), names=("PUBLIC_*",))
    async with opened(all_kinds(tmp_path, rules=(NOT_ANONYMOUS, public))) as room:
        assert await known_as(room, NOBODY) == ("anonymous", "nothing")
        permit = await room.permit(NOBODY)
        assert permit.may(Right.QUERY, "PUBLIC_1")
        assert not permit.may(Right.INSERT, "PUBLIC_1")
        # Showing something bad is not the same as showing nothing.
        await refused(room, basic("alice", "wrong"))


async def test_no_wildcard_lets_in_who_shows_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    everybody = Rule(principal="*", rights=(Right.QUERY,))
    async with opened(all_kinds(tmp_path, rules=(everybody,))) as room:
        with pytest.raises(Unauthorized):
            await room.permit(NOBODY)
        assert (await room.permit(basic("alice", "secret"))).may(Right.QUERY, "X")
    anonymous = Rule(principal="anonymous", rights=(Right.INSERT,))
    async with opened(all_kinds(tmp_path, rules=(everybody, anonymous))) as room:
        permit = await room.permit(NOBODY)
        assert permit.may(Right.INSERT, "X")
        assert not permit.may(Right.QUERY, "X")
    async with opened(all_kinds(tmp_path, rules=())):
        pass
    assert "access.rules is empty" in capsys.readouterr().out


async def test_where_nobody_is_asked_everybody_may_everything_within_the_limits() -> None:
    async with opened(AccessSettings(limits=(Limit(streams_max=1),))) as room:
        for shown in (NOBODY, basic("alice", "whatever"), Credentials(certificate=b"x")):
            assert await known_as(room, shown) == ("anonymous", "nothing")
        named = Credentials(certificate=certificate(("alma",)))
        assert await known_as(room, named) == ("alma", "certificate")
        permit = await room.permit(NOBODY)
        for right in Right:
            permit.require(right, "anything")
        with permit.using(Use.INSERT_STREAM):
            with pytest.raises(TooManyRequests):
                (await room.permit(NOBODY)).using(Use.INSERT_STREAM).__enter__()
            (await room.permit(named)).using(Use.INSERT_STREAM).__enter__()


async def test_before_it_is_open_everybody_is_asked_to_come_later(tmp_path: Path) -> None:
    with pytest.raises(NotReady):
        await AccessRoom(all_kinds(tmp_path)).permit(basic("alice", "secret"))


# ── what a permit says ──


async def test_no_rule_is_written_for_names_that_would_be_patterns_in_it(tmp_path: Path) -> None:
    """Whoever copied it would grant everything to everybody."""
    users = users_file(tmp_path, **{"*": "secret", "alice": "secret"})
    rules = (Rule(principal="nobody", rights=(Right.INSERT,)),)
    async with opened(AccessSettings(users_file=users, rules=rules)) as room:
        for name, touched in (("*", "EVENTS"), ("*", ""), ("alice", "*"), ("alice", "EVENT?")):
            permit = await room.permit(basic(name, "secret"))
            with pytest.raises(Forbidden) as caught:
                permit.require(Right.QUERY if touched else Right.ADMIN, touched)
            assert "principal =" not in caught.value.message
            assert f"`{name}` has no right" in caught.value.message


async def test_forbidden_names_the_principal_the_right_the_name_and_the_remedy(
    tmp_path: Path,
) -> None:
    rules = (Rule(principal="alice", rights=(Right.INSERT,), names=("EVENTS",)),)
    async with opened(all_kinds(tmp_path, rules=rules)) as room:
        permit = await room.permit(basic("alice", "secret"))
        permit.require(Right.INSERT, "EVENTS")
        with pytest.raises(Forbidden) as caught:
            permit.require(Right.QUERY, 'x"; DROP')
        assert (caught.value.status, caught.value.code) == (403, 40300)
        assert caught.value.message == (
            'Forbidden: `alice` has no right to query on `x"; DROP`. A rule in access.rules grants '
            'it: {principal = "alice", rights = ["query"], names = ["x\\"; DROP"]}'
        )
        with pytest.raises(Forbidden) as caught:
            permit.require(Right.ADMIN)
        assert caught.value.message.endswith('{principal = "alice", rights = ["admin"]}')
        with pytest.raises(Forbidden) as caught:
            permit.require(Right.INSERT, "N" * 100_000)
        assert len(caught.value.message) < 1000


async def test_permits_of_one_principal_share_its_limits_however_it_is_known(
    tmp_path: Path,
) -> None:
    limits = (Limit(principal="alice", streams_max=1, rows_per_s=10),)
    async with opened(all_kinds(tmp_path, limits=limits)) as room:
        first = await room.permit(basic("alice", "secret"))
        second = await room.permit(bearer(token()))
        other = await room.permit(bearer(STATIC))
        with first.using(Use.INSERT_STREAM):
            with pytest.raises(TooManyRequests) as caught:
                second.using(Use.INSERT_STREAM).__enter__()
            assert (caught.value.status, caught.value.retry_after_s) == (429, 5)
            with other.using(Use.INSERT_STREAM):
                pass
        with second.using(Use.INSERT_STREAM):
            pass
        assert first.took(20, 0, 0.0) == 1.0
        assert second.took(10, 0, 0.0) == 2.0
        assert other.took(10**9, 0, 0.0) == 0.0


# ── reload ──


async def test_rules_and_limits_that_change_hold_for_what_is_open(tmp_path: Path) -> None:
    settings = all_kinds(tmp_path)
    async with opened(settings) as room:
        permit = await room.permit(basic("alice", "secret"))
        assert permit.may(Right.INSERT, "EVENTS")
        fewer = (Rule(principal="alice", rights=(Right.QUERY,)),)
        limits = (Limit(rows_per_s=1),)
        assert await room.reload(dataclasses.replace(settings, rules=fewer, limits=limits))
        assert not permit.may(Right.INSERT, "EVENTS")
        assert permit.may(Right.QUERY, "EVENTS")
        assert permit.took(3, 0, 0.0) == 2.0


async def test_what_was_taken_back_is_good_no_more_for_what_is_open(tmp_path: Path) -> None:
    settings = all_kinds(tmp_path)
    async with opened(settings) as room:
        shown = [basic("alice", "secret"), basic("alf", "hidden"), bearer(STATIC)]
        alice, alf, alan = [await room.permit(each) for each in shown]
        users_file(tmp_path, alice="another", alf="hidden", alan="third")
        tokens_file(tmp_path)
        assert await room.reload(settings)
        # The file is written anew with another salt: the same password has another hash.
        for permit in (alice, alf, alan):
            assert not permit.may(Right.QUERY, "EVENTS")
            with pytest.raises(Unauthorized) as caught:
                permit.require(Right.QUERY, "EVENTS")
            assert caught.value.challenges
        await refused(room, shown[0])
        await refused(room, shown[2])
        assert await known_as(room, shown[1]) == ("alf", "basic")


async def test_users_whose_lines_did_not_change_go_on(tmp_path: Path) -> None:
    settings = all_kinds(tmp_path)
    assert settings.users_file is not None
    async with opened(settings) as room:
        permit = await room.permit(basic("alice", "secret"))
        with settings.users_file.open("a") as file:
            file.write("# a comment more\n")
        assert await room.reload(settings)
        permit.require(Right.QUERY, "EVENTS")


async def test_a_web_token_and_a_certificate_end_for_what_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(all_kinds(tmp_path)) as room:
        token_permit = await room.permit(bearer(token()))
        certificate_permit = await room.permit(Credentials(certificate=certificate()))
        now = wall_time()
        for later_s, still_may in ((500.0, True), (700.0, False)):
            monkeypatch.setattr(evidence, "wall_time", lambda later_s=later_s: now + later_s)
            assert token_permit.may(Right.QUERY, "EVENTS") is still_may
            assert certificate_permit.may(Right.QUERY, "EVENTS") is still_may


async def test_a_file_that_became_bad_changes_nothing_and_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = all_kinds(tmp_path)
    assert settings.users_file
    assert settings.tokens_file
    assert settings.jwt
    assert settings.jwt.jwks_file
    good = [basic("alice", "secret"), bearer(STATIC), bearer(token())]
    async with opened(settings) as room:
        permit = await room.permit(good[0])
        for file in (settings.users_file, settings.tokens_file, settings.jwt.jwks_file):
            before = file.read_text()
            file.write_text("al:what is this\n")
            other_rules = dataclasses.replace(settings, rules=())
            assert not await room.reload(other_rules)
            assert f"{file}" in capsys.readouterr().out
            for shown in good:
                await room.permit(shown)
            permit.require(Right.INSERT, "EVENTS")
            file.write_text(before)
        jwt = dataclasses.replace(settings.jwt, algorithms=("HS256",))
        assert not await room.reload(dataclasses.replace(settings, jwt=jwt))
        assert await room.reload(settings)


async def test_a_reload_may_begin_to_ask_and_cease_to(tmp_path: Path) -> None:
    async with opened(AccessSettings()) as room:
        permit = await room.permit(NOBODY)
        permit.require(Right.ADMIN)
        assert await room.reload(all_kinds(tmp_path))
        assert not permit.may(Right.ADMIN)
        await refused(room, NOBODY)
        assert await known_as(room, bearer(token())) == ("alice", "jwt")
        assert await room.reload(AccessSettings())
        permit.require(Right.ADMIN)


async def test_keys_are_read_anew_by_a_reload(tmp_path: Path) -> None:
    settings = all_kinds(tmp_path)
    async with opened(settings) as room:
        jwt_settings(tmp_path, rsa_jwk("second", rsa_key("second")))
        assert await room.reload(settings)
        assert await known_as(room, bearer(token(rsa_key("second"), "second"))) == ("alice", "jwt")
        await refused(room, bearer(token()))


@pytest.mark.parametrize("what", ["users_file", "tokens_file", "audit_file"])
async def test_what_cannot_be_used_stops_the_start(tmp_path: Path, what: str) -> None:
    (tmp_path / "file").write_text("x")
    settings = all_kinds(tmp_path, **{what: tmp_path / "file" / "none"})
    room = AccessRoom(settings)
    with pytest.raises(AccessUnusable, match="file/none"):
        await room.open()
    await room.close()
