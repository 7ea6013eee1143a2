"""Connections to Druid, over real sockets: what arrives is given back, what does not is said."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from gateway.seams import TaskState, WarehouseQuery, WarehouseUnreachable
from gateway.warehouse.druid.endings import Endings
from gateway.warehouse.druid.gate import SlotGate
from gateway.warehouse.druid.reading import start_query
from gateway.warehouse.druid.tasks import Tasks
from gateway.warehouse.druid.transport import DruidUrls, Server, Timeouts, Transport
from gateway.warehouse.druid.warehouse import DruidSettings, DruidWarehouse

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[str]:
    """A server on the loopback that answers everything by ``handler``."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def connected(urls: DruidUrls, call_s: float = 10.0) -> AsyncIterator[Transport]:
    transport = Transport(urls, timeouts=Timeouts(call_s=call_s))
    transport.open()
    try:
        yield transport
    finally:
        await transport.close()


def endings_of(transport: Transport) -> Endings:
    tasks = Tasks(transport, report_wait_s=1.0)
    return Endings(transport, tasks, SlotGate(tasks, blind_limit=1, wait_limit_s=1.0))


async def test_a_redirect_to_the_leader_keeps_the_body() -> None:
    seen: list[tuple[str, bytes]] = []

    async def leader(request: web.Request) -> web.Response:
        seen.append((request.path_qs, await request.read()))
        return web.json_response({"yes": 1})

    async with served(leader) as leader_url:

        async def follower(request: web.Request) -> web.Response:
            return web.Response(
                status=307, headers={"Location": leader_url + request.path_qs + "?x=1"}
            )

        async with (
            served(follower) as url,
            connected(DruidUrls("http://none", url, "http://none")) as transport,
        ):
            reply = await transport.post(Server.OVERLORD, "/a", ["id"])
    assert reply.status == 200
    assert seen == [("/a?x=1", b'["id"]')]


async def test_redirects_in_circles_are_unreachable() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": "/again"})

    async with served(handler) as url, connected(DruidUrls.router(url)) as transport:
        with pytest.raises(WarehouseUnreachable, match="circles"):
            await transport.get(Server.BROKER, "/x")


async def test_a_closed_port_is_unreachable() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response()

    async with served(handler) as url:
        pass
    async with connected(DruidUrls.router(url)) as transport:
        with pytest.raises(WarehouseUnreachable):
            await transport.get(Server.BROKER, "/x")


async def test_a_silent_server_is_unreachable_in_time() -> None:
    gone = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        await gone.wait()
        return web.Response()

    async with (
        served(handler) as url,
        connected(DruidUrls.router(url), call_s=0.1) as transport,
    ):
        with pytest.raises(WarehouseUnreachable, match="timed out"):
            await transport.get(Server.BROKER, "/x")
        gone.set()


async def test_a_reply_that_is_cut_is_unreachable() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = 100
        await response.prepare(request)
        await response.write(b"short")
        assert request.transport is not None
        request.transport.close()
        return response

    async with served(handler) as url, connected(DruidUrls.router(url)) as transport:
        with pytest.raises(WarehouseUnreachable):
            await transport.get(Server.BROKER, "/x")


async def test_a_result_without_its_header_is_unreachable() -> None:
    async def handler(request: web.Request) -> web.Response:
        if request.method == "DELETE":
            return web.Response(status=404)
        return web.Response(text='["a"]\n["LONG"]\n')

    async with served(handler) as url, connected(DruidUrls.router(url)) as transport:
        query = WarehouseQuery(sql="SELECT 1", query_id="q")
        with pytest.raises(WarehouseUnreachable):
            await start_query(transport, query, endings_of(transport))


async def test_who_may_not_ask_for_all_tasks_asks_one_by_one() -> None:
    async def handler(request: web.Request) -> web.Response:
        if request.path.endswith("/taskStatus"):
            return web.Response(status=403)
        if request.path.endswith("/query-a/status"):
            return web.json_response({"task": "query-a", "status": {"statusCode": "SUCCESS"}})
        return web.Response(status=404, text="Cannot find any task with id: [query-b]")

    async with served(handler) as url, connected(DruidUrls.router(url)) as transport:
        states = await Tasks(transport, 0.0).states(["a", "b"])
    assert states == {"a": TaskState.SUCCESS}


async def test_a_druid_that_hides_its_slots_is_given_the_configured_number() -> None:
    async def handler(request: web.Request) -> web.Response:
        if request.path == "/status":
            return web.json_response({"version": "30.0.0"})
        return web.Response(status=403)

    async with served(handler) as url:
        settings = DruidSettings(
            urls=DruidUrls.router(url), fetch_base_url="http://gateway", blind_batches_limit=3
        )
        warehouse = DruidWarehouse(settings)
        await warehouse.open()
        assert await warehouse.free_batches() == 3
        await warehouse.close()


async def test_an_unreachable_druid_does_not_stop_the_gateway() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response()

    async with served(handler) as url:
        pass
    warehouse = DruidWarehouse(DruidSettings(urls=DruidUrls.router(url), fetch_base_url="x"))
    await warehouse.open()
    with pytest.raises(WarehouseUnreachable):
        await warehouse.free_batches()
    with pytest.raises(WarehouseUnreachable):
        await warehouse.datasources()
    await warehouse.close()
