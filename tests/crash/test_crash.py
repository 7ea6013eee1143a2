"""The short campaigns that CI runs; `make crash` runs the long ones."""

import secrets
import sys
from collections.abc import Callable
from pathlib import Path

from cluster import Cluster

from tests.crash.druid import run_druid
from tests.crash.embedded import run_embedded
from tests.crash.plan import DRUID_ROLES, Cut
from tests.crash.report import Report


def saying(seed: int) -> Callable[[str], None]:
    """Onto the captured error stream, which a failure shows; the seed first."""
    print(f"seed {seed}", file=sys.stderr)
    return lambda line: print(line, file=sys.stderr)


def told(report: Report, seed: int, folder: Path) -> str:
    """What a failure says."""
    return "\n".join([f"seed {seed}, kept in {folder}", report.line(), *report.details()])


async def test_thirty_kills_on_the_embedded_warehouse_lose_and_double_no_row(
    tmp_path: Path,
) -> None:
    seed = secrets.randbelow(1 << 32)
    report = await run_embedded(tmp_path / "data", 30, seed, saying(seed))
    assert report.clean, told(report, seed, tmp_path)
    assert report.kills == 30
    assert report.duplicates > 0, "no row was ever resent: the producers test nothing"
    assert report.verdict is not None
    assert report.verdict.refused > 0


async def test_six_kills_and_druids_own_deaths_lose_and_double_no_row(
    druid: Cluster, tmp_path: Path
) -> None:
    seed = secrets.randbelow(1 << 32)
    report = await run_druid(druid, tmp_path / "data", 6, seed, saying(seed))
    assert report.clean, told(report, seed, tmp_path)
    assert report.kills == 6
    assert report.warehouse_recoveries_s.keys() == {*DRUID_ROLES, *(cut.value for cut in Cut)}
    assert report.cut > 0, "no connection to Druid was broken"
    assert report.outside is not None
