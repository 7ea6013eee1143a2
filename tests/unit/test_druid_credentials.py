"""What Druid is shown, over real sockets: to whom it goes, and when it is read anew."""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from aiohttp import web
from structlog.testing import capture_logs

from gateway.config import Config, ConfigError, load
from gateway.runtime.wiring import DruidCredentials
from gateway.seams import (
    InsertSpec,
    QueryRefused,
    Submission,
    TimeEncoding,
    WarehouseQuery,
    WarehouseUnreachable,
)
from gateway.tls import KeyPair, TlsUnusable
from gateway.warehouse.druid.credentials import Authorization, basic, bearer, client_tls, nobody
from gateway.warehouse.druid.transport import DruidUrls, Server, Transport
from gateway.warehouse.druid.warehouse import DruidSettings, DruidWarehouse
from tests.certificates import write_authority, write_pair
from tests.contract.druid_fixture import MemoryBatch

SECRET = "pässword-nobody-may-see"
WORKERS = [
    {
        "worker": {"capacity": 8, "host": "w:8091", "version": "1", "category": ""},
        "currCapacityUsed": 0,
        "runningTasks": [],
    }
]
Allows = Callable[[web.Request], bool]


class Guarded:
    """A server that lets those in whom ``allows`` says, and keeps what it was sent."""

    def __init__(self, allows: Allows) -> None:
        self.allows = allows
        self.redirects_to: str | None = None
        self.seen: list[str | None] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.seen.append(request.headers.get("Authorization"))
        if self.redirects_to is not None:
            return web.Response(status=307, headers={"Location": self.redirects_to + request.path})
        if not self.allows(request):
            return web.Response(status=401, text="<html>HTTP ERROR 401</html>")
        return web.json_response({"version": "30.0.0"})


@asynccontextmanager
async def guarded(
    allows: Allows, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[Guarded, str]]:
    server = Guarded(allows)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "localhost", 0, ssl_context=tls).start()
    try:
        scheme = "https" if tls else "http"
        yield server, f"{scheme}://localhost:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def connected(
    url: str, authorization: Authorization = nobody, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Transport]:
    transport = Transport(DruidUrls.router(url), authorization=authorization, tls=tls)
    transport.open()
    try:
        yield transport
    finally:
        await transport.close()


def with_basic(password: str) -> Allows:
    wanted = "Basic " + base64.b64encode(f"u:{password}".encode()).decode()
    return lambda request: request.headers.get("Authorization") == wanted


# ── who we are ───────────────────────────────────────────────────────────────────────────────


async def test_a_user_and_password_open_a_server_that_asks_for_them() -> None:
    async with (
        guarded(with_basic(SECRET)) as (_, url),
        connected(url, lambda: basic("u", SECRET)) as transport,
    ):
        assert (await transport.get(Server.BROKER, "/status")).status == 200
        response = await transport.stream(Server.BROKER, "/druid/v2/sql", {})
        response.close()
        assert response.status == 200


async def test_a_bearer_token_does_too() -> None:
    async with (
        guarded(lambda asked: asked.headers.get("Authorization") == "Bearer t.o-k") as (_, url),
        connected(url, lambda: bearer("t.o-k")) as transport,
    ):
        assert (await transport.post(Server.OVERLORD, "/a", [])).status == 200


@pytest.mark.parametrize("token", ["two words", "split\r\nX-Evil: 1", "ümlaut", "tab\there"])
def test_a_token_that_no_header_may_hold_is_no_token(token: str) -> None:
    with pytest.raises(ValueError, match=r"druid\.token") as refused:
        bearer(token)
    assert token not in str(refused.value)


async def test_a_secret_that_was_changed_in_its_file_is_found_at_the_first_refusal(
    tmp_path: Path,
) -> None:
    file = tmp_path / "password"
    file.write_text("old\n")
    config = load(None, {"druid": {"username": "u", "password_file": str(file)}})
    async with (
        guarded(with_basic("old")) as (server, url),
        connected(url, DruidCredentials(config)) as transport,
    ):
        assert (await transport.get(Server.BROKER, "/a")).status == 200
        server.allows = with_basic("new")
        file.write_text("new\n")
        asked = (transport.post(Server.BROKER, f"/{n}", {}) for n in range(5))
        assert {reply.status for reply in await asyncio.gather(*asked)} == {200}
        server.seen.clear()
        assert (await transport.get(Server.BROKER, "/a")).status == 200
        assert len(server.seen) == 1, "it is kept"


async def test_refused_credentials_are_unreachable_with_the_remedy_and_without_the_secret() -> None:
    async with (
        guarded(with_basic("another")) as (server, url),
        connected(url, lambda: basic("u", SECRET)) as transport,
    ):
        with pytest.raises(WarehouseUnreachable, match=r"401.*druid\.password_file") as refused:
            await transport.get(Server.BROKER, "/status")
        assert len(server.seen) == 1, "the same credentials are not shown twice"
    shown = basic("u", SECRET).removeprefix("Basic ")
    assert SECRET not in str(refused.value)
    assert shown not in str(refused.value)


async def test_a_server_that_wants_credentials_where_there_are_none_says_which_keys() -> None:
    async with guarded(with_basic("x")) as (_, url), connected(url) as transport:
        with pytest.raises(WarehouseUnreachable, match=r"set druid\.username"):
            await transport.get(Server.BROKER, "/status")


async def test_a_secret_file_that_is_gone_is_said_and_the_old_secret_stays(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("good")
    config = load(None, {"druid": {"token_file": str(file)}})
    allows: Allows = lambda asked: asked.headers.get("Authorization") == "Bearer good"  # noqa: E731
    async with (
        guarded(allows) as (server, url),
        connected(url, DruidCredentials(config)) as transport,
    ):
        file.unlink()
        with pytest.raises(ValueError, match=r"druid\.token_file"):
            transport.renew()
        assert (await transport.get(Server.BROKER, "/a")).status == 200
        server.allows = lambda _: False
        with pytest.raises(WarehouseUnreachable, match=r"druid\.token_file"):
            await transport.get(Server.BROKER, "/a")


# ── where it goes ────────────────────────────────────────────────────────────────────────────


async def test_credentials_never_follow_a_redirect_to_another_origin() -> None:
    async with (
        guarded(lambda _: True) as (thief, elsewhere),
        guarded(lambda _: True) as (server, url),
        connected(url, lambda: basic("u", SECRET)) as transport,
    ):
        server.redirects_to = elsewhere
        with pytest.raises(WarehouseUnreachable, match="not sent") as refused:
            await transport.post(Server.OVERLORD, "/a", ["id"])
        assert thief.seen == []
        assert SECRET not in str(refused.value)
        server.redirects_to = elsewhere.replace("localhost", "127.0.0.1")
        with pytest.raises(WarehouseUnreachable, match="not sent"):
            await transport.get(Server.OVERLORD, "/a")
        assert thief.seen == []


async def test_a_redirect_between_configured_servers_keeps_them() -> None:
    async with (
        guarded(with_basic(SECRET)) as (leader, leader_url),
        guarded(lambda _: True) as (follower, url),
    ):
        follower.redirects_to = leader_url
        urls = DruidUrls(broker=leader_url, overlord=url, coordinator=url)
        transport = Transport(urls, authorization=lambda: basic("u", SECRET))
        transport.open()
        try:
            assert (await transport.post(Server.OVERLORD, "/a", [])).status == 200
        finally:
            await transport.close()
        assert leader.seen == [basic("u", SECRET)]


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────


class House:
    """The authorities of a Druid and of those who may ask it."""

    def __init__(self, folder: Path) -> None:
        self.servers, self.clients = trustme.CA(), trustme.CA()
        self.server_ca = write_authority(folder / "servers.pem", self.servers)
        self.folder = folder

    def server(self, *names: str, asks: bool = False) -> ssl.SSLContext:
        made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.servers.issue_cert(*(names or ("localhost",))).configure_cert(made)
        if asks:
            self.clients.configure_trust(made)
            made.verify_mode = ssl.CERT_REQUIRED
        return made

    def config(self, url: str, **keys: object) -> Config:
        files = {"tls_ca_file": str(self.server_ca), **keys}
        return load(None, {"warehouse": "druid", "druid": {"url": url, **files}})


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


async def test_druid_is_trusted_by_its_own_authority(house: House) -> None:
    async with guarded(with_basic(SECRET), house.server()) as (_, url):
        tls = client_tls(house.server_ca, None)
        async with connected(url, lambda: basic("u", SECRET), tls.context) as transport:
            assert (await transport.get(Server.BROKER, "/status")).status == 200


async def test_another_authority_and_another_name_are_not_trusted(house: House) -> None:
    foreign = write_authority(house.folder / "foreign.pem", trustme.CA())
    cases = [(foreign, "localhost"), (None, "localhost"), (house.server_ca, "druid.example")]
    for authorities, name in cases:
        async with guarded(lambda _: True, house.server(name)) as (server, url):
            tls = client_tls(authorities, None)
            async with connected(url, lambda: basic("u", SECRET), tls.context) as transport:
                with pytest.raises(WarehouseUnreachable, match=r"druid\.tls_ca_file"):
                    await transport.get(Server.BROKER, "/status")
            assert server.seen == []


async def test_the_client_certificate_is_shown_and_a_renewed_one_taken_up(house: House) -> None:
    certificate, key = write_pair(house.folder, house.clients.issue_cert("headrace.example"))
    tls = client_tls(house.server_ca, KeyPair("druid", certificate, key))
    async with guarded(lambda _: True, house.server(asks=True)) as (_, url):
        async with connected(url, tls=tls.context) as transport:
            assert (await transport.get(Server.BROKER, "/status")).status == 200
        write_pair(house.folder, trustme.CA().issue_cert("headrace.example"))
        tls.reload_if_changed()
        async with connected(url, tls=tls.context) as transport:
            with pytest.raises(WarehouseUnreachable):
                await transport.get(Server.BROKER, "/status")
        write_pair(house.folder, house.clients.issue_cert("headrace.example"))
        tls.reload_if_changed()
        async with connected(url, tls=tls.context) as transport:
            assert (await transport.get(Server.BROKER, "/status")).status == 200
        async with connected(url, tls=client_tls(house.server_ca, None).context) as transport:
            with pytest.raises(WarehouseUnreachable):
                await transport.get(Server.BROKER, "/status")


def test_files_that_cannot_be_used_name_their_key(tmp_path: Path) -> None:
    with pytest.raises(TlsUnusable, match=r"druid\.tls_ca_file: .* cannot be read"):
        client_tls(tmp_path / "none.pem", None)


# ── what becomes of work ─────────────────────────────────────────────────────────────────────


def submission() -> Submission:
    raw = b'{"__time":1}\n'
    spec = InsertSpec(
        datasource="d",
        columns=(),
        time_column="__time",
        time_encoding=TimeEncoding.MILLIS,
        partitioned_by="DAY",
    )
    return Submission(batch_id="b", task_id="b-1", spec=spec, rows=1, content=MemoryBatch(raw))


@asynccontextmanager
async def unauthorized(status: int) -> AsyncIterator[DruidWarehouse]:
    """A Druid that tells of itself, and answers ``status`` to every SQL."""

    async def answer(request: web.Request) -> web.Response:
        if request.path.startswith("/druid/v2/sql"):
            return web.json_response({"error": "Unauthorized", "errorMessage": "no"}, status=status)
        if request.path == "/status":
            return web.json_response({"version": "30.0.0"})
        return web.json_response(WORKERS)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    warehouse = DruidWarehouse(DruidSettings(urls=DruidUrls.router(url), fetch_base_url="http://x"))
    await warehouse.open()
    try:
        yield warehouse
    finally:
        await warehouse.close()
        await runner.cleanup()


@pytest.mark.parametrize(("status", "said"), [(401, "credentials"), (403, "READ and WRITE")])
async def test_rows_wait_where_druid_will_not_have_us(status: int, said: str) -> None:
    """Unreachable, not refused: the committer tries such a batch again, and drops no row."""
    async with unauthorized(status) as warehouse:
        free = await warehouse.free_batches()
        with pytest.raises(WarehouseUnreachable, match=said):
            await warehouse.submit(submission())
        if status == 403:
            assert await warehouse.free_batches() == free, "it was never started: no slot is kept"


async def test_a_query_that_is_forbidden_is_told_to_who_asked() -> None:
    async with unauthorized(403) as warehouse:
        with pytest.raises(QueryRefused, match="no"):
            await warehouse.query(WarehouseQuery(sql="SELECT 1", query_id="q"))
    async with unauthorized(401) as warehouse:
        with pytest.raises(WarehouseUnreachable, match="credentials"):
            await warehouse.query(WarehouseQuery(sql="SELECT 1", query_id="q"))


async def test_nothing_secret_is_in_the_log_or_in_a_repr() -> None:
    async with guarded(with_basic("another")) as (_, url):
        settings = DruidSettings(
            urls=DruidUrls.router(url),
            fetch_base_url="http://gateway",
            fetch_secret=SECRET.encode(),
            authorization=lambda: basic("u", SECRET),
        )
        warehouse = DruidWarehouse(settings)
        with capture_logs() as logs:
            await warehouse.open()
            await warehouse.close()
    said = json.dumps(logs, default=repr) + repr(settings) + repr(warehouse)
    assert "Druid does not answer" in said
    assert SECRET not in said
    assert basic("u", SECRET).removeprefix("Basic ") not in said


# ── configuration ────────────────────────────────────────────────────────────────────────────


def test_a_user_in_the_url_is_taken_out_and_used() -> None:
    config = load(None, {"druid": {"url": "https://me:p%40ss@druid.example:8281/base"}})
    assert config.druid.url == "https://druid.example:8281/base"
    assert DruidCredentials(config)() == basic("me", "p@ss")
    assert "p@ss" not in repr(config)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"url": "http://a:b@h", "username": "u", "password": SECRET}, "leave one out"),
        ({"username": "u"}, "go together"),
        ({"password": SECRET}, "go together"),
        ({"username": "u", "password": SECRET, "token": SECRET}, "leave one out"),
        ({"token": SECRET, "token_file": "t"}, "leave one out"),
        ({"url": "druid.example"}, "must begin with"),
        ({"tls_ca_file": "ca.pem"}, "https://"),
        ({"url": "https://h", "tls_cert_file": "c.pem"}, "go together"),
        ({"fetch_host": "0.0.0.0"}, "druid.fetch_url"),
        ({"fetch_host": "10.0.0.1", "fetch_tls": True}, "http.tls_cert_file"),
    ],
)
def test_keys_that_contradict_one_another_are_named_and_no_secret_is(
    keys: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        load(None, {"warehouse": "druid", "druid": keys})
    assert said in str(refused.value)
    assert SECRET not in str(refused.value)
