"""The live page in a real browser over a real gateway: what is seen moves, what is pressed is done.

Every test ends with a look at what the browser complained of: nothing.
"""

import json
import re
import socket
import urllib.request
from pathlib import Path

from playwright.sync_api import BrowserContext, expect

from tests.gateways import GatewayProcess, gateway_process
from tests.page.browser import NARROW, WAIT_MS, opened
from tests.page.conftest import Look
from tests.page.load import Load
from tests.peers import Peer
from tests.push_streams import push, read_rows
from tests.server.ksqldb import declare, insert, ksql, open_inserts, unique

expect.set_options(timeout=WAIT_MS)

AT = "2024-02-29T12:00:00"
SOME = re.compile(r"[1-9]")
"""a rate that is not nothing"""
MARKUP = "<img src=x onerror=window.wasRun=1>"


def test_a_load_that_arrives_is_seen(gateway: GatewayProcess, peer: Peer, look: Look) -> None:
    name = declare(peer)
    page = look(gateway.admin_url).page
    expect(page.locator("#rows-in")).to_have_text("0")
    with Load(gateway, name, lambda n: {"ID": n, "AT": AT}, channel="edge-7"):
        row = page.locator("#streams tr", has_text=name)
        expect(row).to_contain_text("edge-7")
        expect(page.locator("#rows-in")).to_have_text(SOME)
        expect(page.locator("#rows-acked")).to_have_text(SOME)
        expect(page.locator("#latency")).to_contain_text("ms")
        shown = row.locator("[data-label=Rows]")
        before = shown.inner_text()
        expect(shown).not_to_have_text(before)
        expect(page.locator("#batches tr", has_text=name).first).to_contain_text("hr-")
        assert page.locator("#spark-in .line").get_attribute("d")
    expect(row).to_have_count(0)
    expect(page.locator("#totals")).to_contain_text("per second")


def test_a_push_query_is_closed_by_its_button(
    gateway: GatewayProcess, peer: Peer, look: Look
) -> None:
    name = declare(peer)
    stream = push(peer, f"SELECT id FROM {name} EMIT CHANGES;")
    insert(peer, name, [{"ID": 1, "AT": AT}])
    read_rows(stream, 1)
    page = look(gateway.admin_url).page
    row = page.locator("#queries tbody tr", has_text=f"FROM {name}")
    expect(row.locator("[data-label='Rows out']")).to_have_text("1")
    row.get_by_role("button", name="Close query").click()
    expect(page.locator("#notices")).to_contain_text("is closed")
    expect(row).to_have_count(0)
    stream.read_to_end()


def test_a_dead_letter_is_mended_and_retried_and_another_dropped(
    gateway: GatewayProcess, peer: Peer, look: Look
) -> None:
    name = declare(peer)
    insert(peer, name, b'{"ID":"one"}\n{"ID":"two"}\n', on_error="continue")
    page = look(gateway.admin_url).page
    letters = page.locator("#letters tbody tr", has_text=name)
    expect(letters).to_have_count(2)
    one = letters.filter(has_text='"one"')
    expect(one).to_contain_text("Can't coerce")
    _mend(gateway, int(one.locator("[data-label=Id]").inner_text()), {"ID": 1, "AT": AT})
    one.get_by_role("button", name="Retry").click()
    expect(page.locator("#notices")).to_contain_text("on its way again")
    expect(letters).to_have_count(1)
    drop = letters.get_by_role("button", name="Drop")
    drop.click()
    page.get_by_role("button", name="Keep it").click()
    expect(drop).to_be_focused()
    expect(letters).to_have_count(1)
    drop.click()
    page.get_by_role("dialog").get_by_role("button", name="Drop").click()
    expect(letters).to_have_count(0)
    # A push query, for the retried row is committed when it is: a pull query would not wait.
    page.fill("#sql", f"SELECT ID FROM {name} EMIT CHANGES LIMIT 1;")
    page.select_option("#from", "earliest")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#result-rows td")).to_have_text("1")


def test_the_query_box_shows_rows_as_they_come_until_it_is_stopped(
    gateway: GatewayProcess, peer: Peer, look: Look
) -> None:
    name = declare(peer)
    seen = look(gateway.admin_url)
    page = seen.page
    page.locator("#sources article", has_text=name).get_by_role("button").click()
    expect(page.locator("#sql")).to_have_value(f"SELECT * FROM {name} EMIT CHANGES;")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#outcome")).to_contain_text("no row yet")
    exact = 9_007_199_254_740_993
    insert(peer, name, [{"ID": exact, "NAME": MARKUP, "AT": AT}])
    cells = page.locator("#result-rows td")
    expect(cells.nth(0)).to_have_text(str(exact))
    expect(cells.nth(1)).to_have_text(MARKUP)
    insert(peer, name, [{"ID": n, "AT": AT} for n in range(1500)])
    expect(page.locator("#outcome")).to_contain_text("1,501 rows so far. The last 1,000 are shown")
    assert page.locator("#result-rows tr").count() == 1000
    page.focus("#sql")
    page.keyboard.press("Escape")
    expect(page.locator("#outcome")).to_have_text("Stopped after 1,501 rows.")
    expect(page.locator("#queries tbody tr", has_text=name)).to_have_count(0)
    page.fill("#sql", f"SELECT id FROM {name} WHERE id < 3 ORDER BY id;")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#outcome")).to_have_text("That is all: 3 rows.")


def test_what_clients_send_is_text_and_never_markup(
    gateway: GatewayProcess, peer: Peer, look: Look
) -> None:
    name = unique("X")
    ksql(peer, f"CREATE STREAM {name} (`{MARKUP}` STRING) WITH (kafka_topic='{name.lower()}');")
    insert(peer, name, json.dumps({"OTHER": [MARKUP]}).encode() + b"\n{\n", on_error="continue")
    stream = open_inserts(peer, name, channel=MARKUP)
    push(peer, f"SELECT `{MARKUP}` FROM {name} EMIT CHANGES;")
    page = look(gateway.admin_url).page
    expect(page.locator("#streams tbody tr", has_text=name)).to_contain_text(MARKUP)
    expect(page.locator("#queries tbody tr", has_text=name)).to_contain_text(MARKUP)
    expect(page.locator("#sources article", has_text=name)).to_contain_text(MARKUP)
    expect(page.locator("#letters tbody tr", has_text=name).first).to_be_visible()
    assert page.locator("main img").count() == 0
    assert page.evaluate("window.wasRun") is None
    stream.end()
    stream.read_to_end()


def test_the_page_comes_back_when_the_gateway_does(context: BrowserContext, tmp_path: Path) -> None:
    settings = {"ADMIN__PORT": _free_port()}
    with gateway_process(tmp_path / "data", settings=settings) as running:
        seen = opened(context, running.admin_url)
        page = seen.page
        page.fill("#sql", "SELECT 1;")
        assert running.stop() == 0
        expect(page.locator("#state")).to_contain_text("Disconnected since")
        running.start()
        expect(page.locator("#state")).to_have_text("Running")
        with running.peer() as peer:
            name = declare(peer)
        expect(page.locator("#sources")).to_contain_text(name)
        assert page.locator("#sql").input_value() == "SELECT 1;", "it was not loaded anew"
        page.close()
        # The browser itself tells of a connection that is refused; the page adds nothing.
        assert [one for one in seen.complaints if "net::ERR_" not in one] == []


def test_everything_can_be_reached_and_pressed_by_the_keyboard(
    gateway: GatewayProcess, peer: Peer, look: Look
) -> None:
    name = declare(peer)
    insert(peer, name, b'{"ID":"x"}\n', on_error="continue")
    page = look(gateway.admin_url).page
    expect(page.locator("#letters tbody tr", has_text=name)).to_have_count(1)
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.outerHTML.slice(0, 200)"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        if page.evaluate("document.activeElement !== document.body"):
            assert outline != "none", reached[-1]
    for what in ("skip", 'id="sql"', 'id="run"', 'id="from"', "Retry dead letter", "Watch"):
        assert any(what in one for one in reached), what
    assert page.locator("[onclick], div[tabindex]:not([role])").count() == 0


def test_on_a_narrow_screen_nothing_is_wider_than_it(
    gateway: GatewayProcess, peer: Peer, look: Look
) -> None:
    name = declare(peer)
    insert(peer, name, b'{"ID":"%b"}\n' % (b"x" * 3000), on_error="continue")
    push(peer, f"SELECT * FROM {name} EMIT CHANGES;")
    page = look(gateway.admin_url, size=NARROW).page
    expect(page.locator("#letters tbody tr", has_text=name)).to_have_count(1)
    page.fill("#sql", f"SELECT * FROM {name} EMIT CHANGES;")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#outcome")).to_contain_text("no row yet")
    insert(peer, name, [{"ID": 1, "NAME": "n" * 500, "AT": AT}])
    expect(page.locator("#result-rows tr")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") == NARROW[0]


def _mend(gateway: GatewayProcess, letter_id: int, row: dict[str, object]) -> None:
    """As `headrace dead-letters edit` does."""
    url = f"{gateway.admin_url}/dead-letters/{letter_id}"
    body = json.dumps({"row": row}).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"}, method="PUT")
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
