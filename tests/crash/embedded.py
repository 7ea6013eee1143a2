"""The campaign on the embedded warehouse: nothing dies but the gateway, and that often."""

import random
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.crash.campaign import Campaign, Deadlines
from tests.crash.plan import Kill, Step, embedded_plan
from tests.crash.producer import Habits
from tests.crash.report import Report
from tests.crash.victim import Victim

STREAMS = {"CRASH_A": "crash_a", "CRASH_B": "crash_b"}
STARTUP_S = 1.5
KILL_S = 12.0
"""Deadline of the whole: so much for each kill, and as much again for `REST_S`."""
REST_S = 60.0

LEVELS = ("spooled", "committed", "committed", "spooled", "committed", "queryable")


def habits(streams: dict[str, str], pause_s: float) -> list[Habits]:
    """Six producers over the streams: each ack level, and both ways with a bad row."""
    names = list(streams)
    return [
        Habits(
            name=f"{'goes-on' if number in (1, 3) else 'stops'}-{level}-{number}",
            target=names[number % len(names)],
            level=level,
            goes_on=number in (1, 3),
            pause_s=pause_s,
        )
        for number, level in enumerate(LEVELS)
    ]


def kills_only(campaign: Campaign) -> Callable[[Step], Awaitable[None]]:
    """How a step is played where it can only be a kill."""

    async def play(step: Step) -> None:
        assert isinstance(step, Kill)
        await campaign.kill(step)

    return play


async def run_embedded(folder: Path, kills: int, seed: int, say: Callable[[str], None]) -> Report:
    """``kills`` kills. Everything it keeps is in ``folder``, with the log beside it."""
    dice = random.Random(seed)
    victim = Victim(folder, warehouse="embedded")
    deadlines = Deadlines(step_s=40.0, rest_s=REST_S, total_s=KILL_S * kills + 3 * REST_S)
    campaign = Campaign(victim, dice, deadlines, STREAMS, say)
    steps = embedded_plan(kills, dice, startup_s=STARTUP_S)
    return await campaign.run(habits(STREAMS, pause_s=0.08), steps, kills_only(campaign))
