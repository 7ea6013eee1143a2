"""axe-core of npm, installed as it is published, and what it says of a page.

https://github.com/dequelabs/axe-core: WCAG 2.0 to 2.2, levels A and AA, and its best practices.
"""

from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from tests.clients.installed import npm_packages

HERE = Path(__file__).parent


def axe_script() -> str:
    """The text of axe. Skips, or fails where clients are required, if it cannot be had."""
    modules = npm_packages("axe-core of npm", "axe", HERE / "package.json")
    return (modules / "axe-core" / "axe.min.js").read_text()


def violations(page: Page, script: str) -> list[str]:
    """What axe finds wrong, one line each: rule, impact, and the first elements."""
    # The page's policy runs no script that is not its own; the debugger may.
    page.evaluate(script)
    found: dict[str, Any] = page.evaluate(
        "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa',"
        " 'best-practice']})"
    )
    assert found["passes"], "it looked at nothing"
    return [_line(one) for one in found["violations"]]


def _line(violation: dict[str, Any]) -> str:
    places = "; ".join(str(node["target"]) for node in violation["nodes"][:4])
    why = violation["nodes"][0].get("failureSummary", "").replace("\n", " ")
    return f"{violation['id']} ({violation['impact']}): {places}: {why}"
