"""One browser for each module, and a gateway that stays; every page ends without a complaint."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import BrowserContext

from tests.gateways import GatewayProcess, gateway_process
from tests.page.browser import Seen, browser, opened
from tests.peers import Peer

Look = Callable[..., Seen]


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """A browser with a profile of its own."""
    with browser(tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway on the embedded warehouse, which must end in peace."""
    with gateway_process(tmp_path_factory.mktemp("gateway") / "data") as running:
        yield running
        assert running.complaints == []


@pytest.fixture
def peer(gateway: GatewayProcess) -> Iterator[Peer]:
    """A connection to the front door."""
    with gateway.peer() as connected:
        yield connected


@pytest.fixture
def look(context: BrowserContext) -> Iterator[Look]:
    """Opens pages, as `tests.page.browser.opened`; at the end the browser may have no complaint."""
    pages: list[Seen] = []

    def opening(url: str, **more: Any) -> Seen:
        pages.append(opened(context, url, **more))
        return pages[-1]

    yield opening
    for seen in pages:
        seen.page.close()
    assert [complaint for seen in pages for complaint in seen.complaints] == []
