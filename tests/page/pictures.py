"""The README's pictures: the live page over a real gateway under a load, as Chromium draws it.

``make pictures`` writes ``deploy/pictures/*.png``. What is seen on them is made up, and real: rows
go in, are committed, and come out of the query box.
"""

import math
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, expect

from tests.gateways import GatewayProcess, gateway_process
from tests.page.browser import NARROW, WIDE, browser, opened
from tests.page.load import Load, loads
from tests.peers import Peer
from tests.push_streams import push
from tests.server.ksqldb import insert, ksql

FOLDER = Path(__file__).parents[2] / "deploy" / "pictures"
WARM_S = 100.0
"""so that the sparklines are full"""
BYTES_MAX = 300_000

STREAMS = (
    "TRIPS (ride STRING, city STRING, km DOUBLE, fare DECIMAL(9,2), paid BOOLEAN, at BIGINT)",
    "SENSORS (sensor STRING, celsius DOUBLE, volts DOUBLE, at BIGINT)",
    "CLICKS (page STRING, session STRING, took_ms INTEGER, at BIGINT)",
)
SQL = "SELECT ride, city, km, fare, paid FROM TRIPS WHERE fare > 38 EMIT CHANGES;"
CITIES = ("Lisbon", "Porto", "Braga", "Faro")
VIEWS: dict[str, dict[str, Any]] = {
    "page-light": {"size": WIDE, "color_scheme": "light"},
    "page-dark": {"size": WIDE, "color_scheme": "dark"},
    "page-narrow": {"size": NARROW, "color_scheme": "light"},
}

_chance = random.Random(7)


def main() -> None:
    """Draw them."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        settings = {"INGEST__BATCH_AGE_S": "1"}
        with gateway_process(place / "data", settings=settings) as gateway, gateway.peer() as peer:
            _declare(peer)
            with _load(gateway), browser(place / "profile") as context:
                _draw(gateway, context)


def _draw(gateway: GatewayProcess, context: BrowserContext) -> None:
    with gateway.peer() as reader:
        stream = push(reader, "SELECT city, fare FROM TRIPS WHERE fare > 39 EMIT CHANGES;")
        until = time.monotonic() + WARM_S
        while time.monotonic() < until:
            reader.read_for(1.0)
        assert stream.frames
        for name, view in VIEWS.items():
            page = opened(context, gateway.admin_url, **view).page
            page.fill("#sql", SQL)
            page.get_by_role("button", name="Run").click()
            expect(page.locator("#result-rows tr")).not_to_have_count(0, timeout=20_000)
            reader.read_for(4.0)
            page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
            _shoot(page, FOLDER / f"{name}.png")
            if view["size"] == WIDE:
                page.evaluate("document.querySelector('#ask').scrollIntoView()")
                _shoot(page, FOLDER / f"{name.replace('page', 'ask')}.png")
            page.close()


def _shoot(page: Any, file: Path) -> None:
    page.wait_for_timeout(1200)
    page.screenshot(path=str(file))
    size_bytes = file.stat().st_size
    assert size_bytes < BYTES_MAX, f"{file} takes {size_bytes} bytes"
    print(f"{file.relative_to(Path.cwd())}  {size_bytes // 1000} kB")


def _declare(peer: Peer) -> None:
    for text in STREAMS:
        name = text.split()[0]
        ksql(peer, f"CREATE STREAM {text} WITH (kafka_topic='{name.lower()}', timestamp='at');")
    at = int(time.time() * 1000)
    bad = ('{"ride":"r-000017","km":"far","at":%d}', '{"ride":"r-000208","fare":"free","at":%d}')
    for row in bad:
        insert(peer, "TRIPS", (row % at).encode() + b"\n", on_error="continue")


def _load(gateway: GatewayProcess) -> Any:
    def trip(number: int) -> dict[str, Any]:
        return {"ride": f"r-{number:06}", "city": CITIES[number % 4], "paid": number % 7 > 0,
                "km": round(_chance.random() * 20, 1), "fare": round(_chance.random() * 40, 2),
                "at": _now_ms()}  # fmt: skip

    def sensor(number: int) -> dict[str, Any]:
        celsius = round(20 + math.sin(number / 900) * 4, 2)
        return {"sensor": f"s{number % 40}", "celsius": celsius, "volts": 3.3, "at": _now_ms()}

    def click(number: int) -> dict[str, Any]:
        session = f"x{number % 999}"
        return {"page": "/", "session": session, "took_ms": number % 400, "at": _now_ms()}

    return loads(
        Load(gateway, "TRIPS", trip, rows=300, pause_s=0.15, channel="edge-7"),
        Load(gateway, "TRIPS", trip, rows=100, pause_s=0.1, channel="edge-9"),
        Load(gateway, "SENSORS", sensor, rows=250, pause_s=0.3, ack="spooled"),
        Load(gateway, "CLICKS", click, rows=60, pause_s=0.2),
    )


def _now_ms() -> int:
    return int(time.time() * 1000)


if __name__ == "__main__":
    main()
