"""The wall clock as rows and records carry it. Deadlines take the event loop's time instead."""

import time


def wall_time() -> float:
    """Seconds since 1970 in UTC."""
    return time.time()


def now_ms() -> int:
    """Milliseconds since 1970 in UTC."""
    return int(time.time() * 1000)
