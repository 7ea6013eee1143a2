"""Numbers, sizes and times as a person at a terminal reads them. Pure."""

NOTHING = "\u2013"
"""A dash, for what is not known."""

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def count(value: int | None) -> str:
    """A whole number; None: a dash."""
    return NOTHING if value is None else f"{value:,}"


def rate(per_second: float) -> str:
    """A number a second."""
    return f"{per_second:.1f}" if 0 < per_second < 10 else f"{per_second:,.0f}"


def size(size_bytes: float) -> str:
    """Bytes, in steps of 1024."""
    step = 0
    while size_bytes >= 1024 and step < len(_UNITS) - 1:
        size_bytes /= 1024
        step += 1
    digits = 0 if step == 0 or size_bytes >= 100 else 1
    return f"{size_bytes:.{digits}f} {_UNITS[step]}"


def latency(seconds: float | None) -> str:
    """A delay; None: a dash."""
    if seconds is None:
        return NOTHING
    if seconds < 0.01:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def span(seconds: float) -> str:
    """How long, roughly."""
    for unit_s, upto_s, name in ((1, 120, "s"), (60, 7200, "min"), (3600, 172_800, "h")):
        if seconds < upto_s:
            return f"{max(0, int(seconds / unit_s))} {name}"
    return f"{int(seconds / 86_400)} days"


def ago(then_ms: int, now_ms: int) -> str:
    """How long ago."""
    passed_s = (now_ms - then_ms) / 1000
    return "now" if passed_s < 1 else span(passed_s)
