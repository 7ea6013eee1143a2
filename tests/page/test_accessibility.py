"""The page as axe-core sees it, with every section filled: light, dark and narrow.

Over scripted rooms, which can hold a batch and run Druid's stages at will.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from gateway.console.viewers import ViewerLimits
from protocol.entities import LiveQuery
from tests.admin_port import batch, letter
from tests.console_house import House, ScriptedQuery, opened_console, source, stream
from tests.page.axe import axe_script, violations
from tests.page.browser import NARROW, WIDE
from tests.page.conftest import Look

VIEWS: dict[str, dict[str, Any]] = {
    "light": {"size": WIDE, "color_scheme": "light"},
    "dark": {"size": WIDE, "color_scheme": "dark"},
    "narrow": {"size": NARROW, "color_scheme": "light"},
    "narrow and dark": {"size": NARROW, "color_scheme": "dark"},
}


@pytest.fixture(scope="module")
def axe() -> str:
    return axe_script()


@pytest.fixture
def house() -> Iterator[House]:
    """Something of everything."""
    with opened_console(ViewerLimits(every_s=0.1)) as made:
        made.streams = [stream("EVENTS", "edge-7", principal="ada"), stream("CLICKS")]
        made.queries = [
            LiveQuery(query_id="transient_1", sql="SELECT * FROM EVENTS", rows_delivered=12),
            LiveQuery(query_id="pull_1", sql="SELECT 1 -- " + "x" * 300, kind="PULL"),
        ]
        made.sources = [source("EVENTS"), source("CLICKS", columns=9)]
        made.letters.add(letter(1), letter(2, raw=b'{"ID":"%b"}' % (b"y" * 400)))
        made.batches.add(
            batch("b1", state="RUNNING", error=None, rows=250_000, attempt=2),
            batch("b2", state="WAITING"),
            batch("b3"),
        )
        made.task("b1", "RUNNING", STAGE="1:READING_INPUT", WORKERS=3, ROWS_OUT=90_000,
                  TASK_ID="query-b1-a1")  # fmt: skip
        made.task("b0", "COMMITTED", ROWS_OUT=10, SEGMENTS=2, DURATION_MS=900)
        made.starts = ScriptedQuery([b'[1,"a"]\n[2,null]\n'])
        yield made


@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing_to_say(house: House, look: Look, axe: str, view: str) -> None:
    page = look(house.url, **VIEWS[view]).page
    expect(page.locator("#held")).to_be_visible()
    expect(page.locator("#batches")).to_contain_text("reading input · 3 workers")
    expect(page.locator("#batches")).to_contain_text("90,000 of 250,000 written")
    page.fill("#sql", "SELECT * FROM EVENTS;")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#result-rows tr")).to_have_count(2)
    assert violations(page, axe) == []
    page.get_by_role("button", name="Drop dead letter 1").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert violations(page, axe) == [], "with the question open"
    page.keyboard.press("Escape")
    house.state = "STOPPING"
    house.health = {"warehouse": {"isHealthy": False, "unreachableSinceMs": 5, "state": "away"}}
    expect(page.locator("#away")).to_be_visible()
    assert violations(page, axe) == [], "with a warning"
    assert page.evaluate("document.documentElement.scrollWidth") == VIEWS[view]["size"][0]


def test_who_wants_no_motion_sees_none(house: House, look: Look) -> None:
    page = look(house.url, reduced_motion="reduce").page
    moving = page.evaluate(
        "[...document.querySelectorAll('*')].filter(one => parseFloat("
        "getComputedStyle(one).transitionDuration) > 0).length"
    )
    assert moving == 0


def test_a_held_batch_is_decided_on_by_its_buttons(house: House, look: Look) -> None:
    page = look(house.url).page
    held = page.locator("#held tbody tr")
    expect(held).to_contain_text("3 of 10 rows are there")
    page.get_by_role("button", name="Accept batch b3").click()
    expect(page.get_by_role("dialog")).to_contain_text("You have seen all 10 rows of b3 in events")
    page.get_by_role("dialog").get_by_role("button", name="Accept").click()
    expect(page.locator("#held")).to_be_hidden()
    assert house.batches.verdicts == [("accept", "b3")]


def test_a_row_of_a_table_that_changes_keeps_the_focus_on_its_button(
    house: House, look: Look
) -> None:
    page = look(house.url).page
    close = page.get_by_role("button", name="Close query transient_1")
    close.focus()
    house.queries = [
        LiveQuery(query_id="newer", sql="SELECT 2", since_ms=99),
        LiveQuery(query_id="transient_1", sql="SELECT * FROM EVENTS", rows_delivered=4242),
    ]
    expect(page.locator("#queries")).to_contain_text("4,242")
    expect(page.locator("#queries tbody tr")).to_have_count(2)
    expect(close).to_be_focused()
