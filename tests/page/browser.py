"""Chromium, headless, with a page whose every complaint is kept.

Owns: finding the browser, its switches, and the profile that it leaves behind. A machine without
it is told loudly: a skip by name, or with HEADRACE_REQUIRE_CLIENTS=1 a failure; `make browser`
installs it.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
WAIT_MS = 20_000
WIDE = (1280, 900)
NARROW = (360, 780)


def chromium() -> str:
    """Where the browser is."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        reason = "NO BROWSER: there is no chromium (`make browser` installs Debian's)"
        if os.environ.get("HEADRACE_REQUIRE_CLIENTS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@dataclass
class Seen:
    """A page, and what the browser complained of: console errors and warnings, exceptions."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Keep them from now on."""
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda fault: self.complaints.append(f"exception: {fault}"))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")


@contextmanager
def browser(profile: Path) -> Iterator[BrowserContext]:
    """A browser with a profile of its own; sizes and colours are each page's."""
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(profile), executable_path=chromium(), args=list(SWITCHES), headless=True
        )
        context.set_default_timeout(WAIT_MS)
        try:
            yield context
        finally:
            context.close()


@contextmanager
def launched() -> Iterator[Browser]:
    """A browser for contexts that know nothing of one another: each has its own credentials."""
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(
            executable_path=chromium(), args=list(SWITCHES), headless=True
        )
        try:
            yield made
        finally:
            made.close()


def opened(
    context: BrowserContext, url: str, *, size: tuple[int, int] = WIDE, **media: Any
) -> Seen:
    """A new page at ``url``; ``media`` as for `Page.emulate_media`."""
    page = context.new_page()
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.emulate_media(**media)
    seen = Seen(page)
    seen.watch()
    page.goto(url)
    page.locator("#state", has_text="Running").wait_for()
    return seen
