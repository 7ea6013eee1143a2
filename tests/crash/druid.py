"""The campaign on a real Druid: the gateway dies, Druid's processes die, and the network between.

The gateway speaks to Druid through a proxy of ours (see `proxy`); Druid's workers fetch large
batches from the gateway directly, and a small limit for inline batches makes both ways common.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

# The scripts of deploy/ are no package: they run by their path alone.
sys.path.insert(0, str(Path(__file__).parents[2] / "deploy" / "druid"))

from cluster import HOME, Cluster
from jars import assemble
from launch import choose_ports

from tests.crash.campaign import Campaign, Deadlines
from tests.crash.embedded import habits
from tests.crash.plan import Broken, Cut, Kill, RoleDown, Step, druid_plan
from tests.crash.proxy import Proxy
from tests.crash.readback import stored_in_druid, tasks_in_druid
from tests.crash.report import Report
from tests.crash.victim import Victim

STARTUP_S = 2.5
STEP_S = 150.0
KILL_S = 60.0
REST_S = 180.0
DELAY_S = 0.4
SETTINGS = {"DRUID__INLINE_LIMIT_BYTES": 48 << 10, "INGEST__RETRY_MAX_S": 3.0}


@contextlib.contextmanager
def druid_cluster(
    folder: Path, running: Path | None, say: Callable[[str], None]
) -> Iterator[Cluster]:
    """The cluster of ``running``, or one of our own on free ports, up for the block."""
    if running is not None:
        yield Cluster(running)
        return
    cluster = Cluster(folder, assemble(HOME), choose_ports("free"), say)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


class DruidFaults:
    """Plays the steps of a plan."""

    def __init__(self, campaign: Campaign, cluster: Cluster, proxy: Proxy) -> None:
        self.recoveries_s: dict[str, list[float]] = {}
        self._campaign = campaign
        self._cluster = cluster
        self._proxy = proxy

    async def play(self, step: Step) -> None:
        """One step, to its end: the cluster is whole again, and batches are committed."""
        if isinstance(step, Kill):
            await self._campaign.kill(step)
            return
        if isinstance(step, RoleDown):
            await self._role_down(step)
            name = step.role
        else:
            await self._broken(step)
            name = step.cut.value
        healed_s = time.monotonic()
        await self._campaign.clock.committing(STEP_S)
        self.recoveries_s.setdefault(name, []).append(round(time.monotonic() - healed_s, 3))

    async def _role_down(self, step: RoleDown) -> None:
        await asyncio.to_thread(self._cluster.kill, step.role)
        try:
            if step.kill is not None:
                await self._campaign.kill(step.kill)
            await asyncio.sleep(step.down_s)
        finally:
            await asyncio.to_thread(self._cluster.restart, step.role)
        await asyncio.to_thread(self._cluster.wait_ready)

    async def _broken(self, step: Broken) -> None:
        faults = {
            Cut.DELAYED: lambda: self._proxy.delayed(DELAY_S),
            Cut.REPLIES_LOST: self._proxy.replies_lost,
            Cut.AWAY: self._proxy.away,
        }
        async with faults[step.cut]():
            if step.kill is not None:
                await self._campaign.kill(step.kill)
            await asyncio.sleep(step.for_s)


def look_anew(cluster: Cluster) -> None:
    """Restart what serves segments: they are announced again, all that are published."""
    for role in ("historical", "broker"):
        cluster.kill(role)
        cluster.restart(role)
    cluster.wait_ready()


async def run_druid(
    cluster: Cluster, folder: Path, kills: int, seed: int, say: Callable[[str], None]
) -> Report:
    """``kills`` kills of the gateway, each role of Druid killed, each fault of the connection."""
    dice = random.Random(seed)
    # Names that the cluster has never seen, and that a seed does not repeat.
    mark = uuid.uuid4().hex[:8]
    streams = {f"CRASH_{letter}_{mark}".upper(): f"crash_{letter}_{mark}" for letter in "ab"}
    proxy = Proxy(cluster.router, random.Random(seed))
    await proxy.open()
    victim = Victim(
        folder, warehouse="druid", arguments=["--druid-url", proxy.url], settings=SETTINGS
    )
    deadlines = Deadlines(step_s=STEP_S, rest_s=REST_S, total_s=KILL_S * kills + 3 * REST_S)
    campaign = Campaign(
        victim,
        dice,
        deadlines,
        streams,
        say,
        outside=lambda: stored_in_druid(cluster.router, list(streams.values())),
        scene=lambda: tasks_in_druid(cluster.router),
        renew=lambda: asyncio.to_thread(look_anew, cluster),
    )
    faults = DruidFaults(campaign, cluster, proxy)
    steps = druid_plan(kills, dice, startup_s=STARTUP_S)
    try:
        report = await campaign.run(habits(streams, pause_s=0.25), steps, faults.play)
    finally:
        await proxy.close()
    report.warehouse_recoveries_s = faults.recoveries_s
    report.cut = proxy.cut
    return report
