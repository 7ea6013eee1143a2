"""Orders to end a query, over real sockets: they arrive, though they overtake it or are lost.

A real Druid cannot be made to learn of a query late, or to lose an answer; `tests/druid` has what
becomes of real queries and tasks.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import web

from gateway.seams import QueryEngine, QueryRefused, WarehouseQuery
from gateway.warehouse.druid.transport import DruidUrls
from gateway.warehouse.druid.warehouse import DruidSettings, DruidWarehouse
from tests.contract.druid_fixture import until

QUERY = WarehouseQuery(sql="SELECT 1", query_id="q")
REPORT = {
    "multiStageQuery": {
        "payload": {
            "results": {
                "signature": [{"name": "a", "type": "LONG"}],
                "sqlTypeNames": ["BIGINT"],
                "results": [[1]],
                "resultsTruncted": False,
            }
        }
    }
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
TASK = WarehouseQuery(sql="SELECT 1", query_id="q", engine=QueryEngine.TASK)


class LateDruid:
    """A Druid whose queries never answer; it learns of each only at the ``known_at``-th order."""

    def __init__(self, known_at: int = 1) -> None:
        self.orders: list[str] = []
        self.arrived = asyncio.Event()
        self.state = "RUNNING"
        self._known_at = known_at

    async def answer(self, request: web.Request) -> web.StreamResponse:
        match request.method, request.path:
            case "POST", "/druid/v2/sql":
                self.arrived.set()
                await asyncio.Event().wait()
            case "POST", "/druid/v2/sql/task":
                return web.json_response({"taskId": "query-q", "state": "RUNNING"}, status=202)
            case "POST", "/druid/indexer/v1/taskStatus":
                self.arrived.set()
                worker = {"query-q-worker0_0": {"status": "RUNNING"}}
                return web.json_response({"query-q": {"status": self.state}, **worker})
            case ("DELETE", _) | ("POST", "/druid/indexer/v1/task/query-q/shutdown"):
                return self._order(request)
            case _, "/status":
                return web.json_response({"version": "27.0.0"})
        return web.Response(status=404)

    def _order(self, request: web.Request) -> web.Response:
        self.orders.append(request.path)
        if len(self.orders) < self._known_at:
            return web.Response(status=404)
        self.state = "FAILED"
        if request.method == "DELETE":
            return web.Response(status=202)
        return web.json_response({"task": "query-q"})


@asynccontextmanager
async def warehouse_on(
    answer: Handler, settings: DruidSettings | None = None
) -> AsyncIterator[DruidWarehouse]:
    """A warehouse on a Druid that ``answer`` stands for."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    urls = DruidUrls.router(f"http://127.0.0.1:{port}")
    base = settings or DruidSettings(urls=urls, fetch_base_url="http://unused")
    warehouse = DruidWarehouse(replace(base, urls=urls))
    await warehouse.open()
    try:
        yield warehouse
    finally:
        await warehouse.close()
        await runner.cleanup()


async def cancelled(warehouse: DruidWarehouse, druid: LateDruid, query: WarehouseQuery) -> None:
    """Start a query, and give it up once Druid has heard of it."""
    starting = asyncio.create_task(warehouse.query(query))
    await druid.arrived.wait()
    starting.cancel()
    await asyncio.wait([starting])
    assert starting.cancelled()


async def is_free(warehouse: DruidWarehouse) -> bool:
    return await warehouse.free_batches() == 1


@pytest.mark.parametrize("known_at", [1, 3])
async def test_a_native_query_without_an_answer_is_ended_when_its_caller_goes(
    known_at: int,
) -> None:
    druid = LateDruid(known_at)
    async with warehouse_on(druid.answer) as warehouse:
        await cancelled(warehouse, druid, QUERY)
    assert druid.orders == ["/druid/v2/sql/q"] * known_at


@pytest.mark.parametrize("known_at", [1, 3])
async def test_a_task_is_shut_down_when_its_caller_goes_and_gives_its_place_back(
    known_at: int,
) -> None:
    druid = LateDruid(known_at)
    async with warehouse_on(druid.answer) as warehouse:
        await cancelled(warehouse, druid, TASK)
        await until(lambda: is_free(warehouse))
    assert druid.orders == ["/druid/indexer/v1/task/query-q/shutdown"] * known_at


async def test_a_select_whose_controller_lost_its_worker_is_run_again_as_another_task() -> None:
    tasks: dict[str, str] = {}

    async def answer(request: web.Request) -> web.StreamResponse:
        match request.path.rpartition("/")[2]:
            case "task":
                task_id = "query-" + (await request.json())["context"]["sqlQueryId"]
                tasks[task_id] = "SUCCESS" if tasks else "RUNNING"
                tasks[f"{task_id}-worker0_0"] = tasks[task_id].replace("RUNNING", "FAILED")
                return web.json_response({"taskId": task_id, "state": "RUNNING"}, status=202)
            case "taskStatus":
                asked = await request.json()
                return web.json_response({at: {"status": tasks[at]} for at in asked})
            case "shutdown":
                tasks[request.path.split("/")[-2]] = "FAILED"
                return web.json_response({})
            case "reports":
                return web.json_response(REPORT)
        return web.Response(status=404)

    async with warehouse_on(answer) as warehouse:
        result = await warehouse.query(TASK)
        assert [chunk.raw async for chunk in result.rows()] == [b"[1]\n"]
        await result.close()
    assert tasks["query-q"] == "FAILED", "the stuck one was shut down"
    assert tasks["query-q-a2"] == "SUCCESS"


async def test_an_order_that_druid_never_takes_is_given_up_in_the_end() -> None:
    druid = LateDruid(known_at=1000)
    async with warehouse_on(druid.answer) as warehouse:
        await cancelled(warehouse, druid, TASK)
    assert 1 < len(druid.orders) < 10


async def test_a_zone_that_a_report_cannot_show_is_refused_before_a_task_is_made() -> None:
    druid = LateDruid()
    asked = WarehouseQuery(
        sql="SELECT 1",
        query_id="q",
        engine=QueryEngine.TASK,
        context={"sqlTimeZone": "Europe/Oslo"},
    )
    async with warehouse_on(druid.answer) as warehouse:
        with pytest.raises(QueryRefused, match=r"Europe/Oslo.*headrace\.engine=task"):
            await warehouse.query(asked)
    assert not druid.arrived.is_set()
