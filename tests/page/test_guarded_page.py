"""The live page of a gateway that asks for credentials: a browser with them works as without any.

Who shows none, or may not see the admin port, sees nothing of the gateway: not even the page.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from playwright.sync_api import APIResponse, Browser, BrowserContext, HttpCredentials, Page, expect
from playwright.sync_api import Error as BrowserError

from tests.gateways import GatewayProcess
from tests.guarded import PASSWORD, admin_address, ask1, guarded_gateway, shown, who
from tests.page.browser import WAIT_MS, launched, opened
from tests.page.load import Load
from tests.page.test_page import AT, SOME
from tests.peers import Peer
from tests.server.ksqldb import COLUMNS, ask, header_of, open_inserts, open_query

NAME = "WATCHED"
OLGA = shown(who("olga"))
"""she may everything"""
PATHS = ("", "picture", "events", "console/page.js", "console/icon.svg", "dead-letters", "batches")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """One with a stream, and users, tokens and rules."""
    with guarded_gateway(tmp_path_factory.mktemp("guarded")) as running:
        with running.peer() as peer:
            text = f"CREATE STREAM {NAME} ({COLUMNS}) WITH (kafka_topic='watched', timestamp='at');"
            assert ask(peer, "POST", "/ksql", {"ksql": text}, OLGA).status == 200
        yield running
        assert running.complaints == []


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Contexts are made of it: each is a person of his own."""
    with launched() as made:
        yield made


def test_who_signs_in_as_an_admin_sees_and_does_all_that_the_page_can(
    gateway: GatewayProcess, chromium: Browser
) -> None:
    with _signed_in(chromium, "olga") as context, gateway.peer() as peer:
        query = open_query(peer, f"SELECT ID FROM {NAME} EMIT CHANGES;", headers=OLGA)
        header_of(query)
        _insert_badly(peer)
        seen = opened(context, gateway.admin_url)
        _sees_a_load(gateway, seen.page)
        _closes_a_query(seen.page)
        query.read_to_end()
        _retries_a_dead_letter(gateway, seen.page)
        _asks_for_the_mended_row(seen.page)
        assert seen.complaints == []


@pytest.mark.parametrize(("name", "status"), [(None, 401), ("bert", 403)])
def test_who_does_not_sign_in_as_an_admin_is_shown_nothing(
    gateway: GatewayProcess, chromium: Browser, name: str | None, status: int
) -> None:
    with _signed_in(chromium, name) as context:
        _sees_nothing(context.new_page(), gateway.admin_url)
        for path in PATHS:
            _is_refused(context.request.get(f"{gateway.admin_url}/{path}"), status)
        document = {"sql": f"SELECT * FROM {NAME};"}
        _is_refused(context.request.post(f"{gateway.admin_url}/query", data=document), status)


@contextmanager
def _signed_in(chromium: Browser, name: str | None) -> Iterator[BrowserContext]:
    """As a browser is once somebody has typed in his password; without a name, nobody has."""
    typed: HttpCredentials | None = None
    if name is not None:
        typed = {"username": name, "password": PASSWORD}
    with chromium.new_context(http_credentials=typed) as context:
        context.set_default_timeout(WAIT_MS)
        yield context


# ── what is seen and done ────────────────────────────────────────────────────────────────────


def _sees_a_load(gateway: GatewayProcess, page: Page) -> None:
    few = Load(
        gateway, NAME, lambda n: {"ID": n, "AT": AT}, rows=20, channel="edge-7", headers=OLGA
    )
    with few:
        row = page.locator("#streams tr", has_text=NAME)
        expect(row).to_contain_text("edge-7")
        expect(row).to_contain_text("olga")
        expect(page.locator("#rows-in")).to_have_text(SOME)
        expect(page.locator("#rows-acked")).to_have_text(SOME)


def _closes_a_query(page: Page) -> None:
    row = page.locator("#queries tbody tr", has_text=NAME)
    row.get_by_role("button", name="Close query").click()
    expect(page.locator("#notices")).to_contain_text("is closed")
    expect(row).to_have_count(0)


def _insert_badly(peer: Peer) -> None:
    stream = open_inserts(peer, NAME, headers=OLGA, on_error="continue")
    stream.send(b'{"ID":"one"}\n', end=True)
    stream.read_to_end()


def _retries_a_dead_letter(gateway: GatewayProcess, page: Page) -> None:
    letter = page.locator("#letters tbody tr", has_text='"one"')
    path = f"/dead-letters/{letter.locator('[data-label=Id]').inner_text()}"
    body = json.dumps({"row": {"ID": -1, "NAME": "mended", "AT": AT}}).encode()
    headers = [*OLGA, ("content-type", "application/json")]
    assert ask1(admin_address(gateway), "PUT", path, body, headers).status == 200
    page.get_by_role("button", name="Retry dead letter").click()
    expect(page.locator("#notices")).to_contain_text("on its way again")
    expect(page.locator("#letters tbody tr")).to_have_count(0)


def _asks_for_the_mended_row(page: Page) -> None:
    # A push query waits for the row: it is committed a little after it was retried.
    page.select_option("#from", "earliest")
    page.fill("#sql", f"SELECT ID FROM {NAME} WHERE NAME = 'mended' EMIT CHANGES LIMIT 1;")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#outcome")).to_have_text("Its LIMIT is reached: 1 row.")
    expect(page.locator("#result-rows td")).to_have_text("-1")


# ── what is refused ──────────────────────────────────────────────────────────────────────────


def _sees_nothing(page: Page, url: str) -> None:
    """Neither the page nor a name; Chromium without a person may put its own words there."""
    loaded: list[str] = []
    page.on("request", lambda request: loaded.append(request.url.removeprefix(url)))
    with suppress(BrowserError):
        page.goto(url)
    assert set(loaded) == {"/"}, "nothing of the page was loaded"
    assert page.locator("main").count() == 0
    assert NAME not in page.content()


def _is_refused(answer: APIResponse, status: int) -> None:
    """By the error's document and nothing else; who was not known is asked who he is."""
    assert answer.status == status, answer.url
    assert ("www-authenticate" in answer.headers) == (status == 401)
    document = answer.json()
    assert set(document) == {"@type", "error_code", "message"}
    assert NAME not in document["message"]
