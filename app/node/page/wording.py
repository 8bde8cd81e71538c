"""How times, durations and numbers are written on the page."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime


def moment(seconds: float) -> str:
    """A point in time as date and time (UTC), or a dash where it is not yet."""
    if not seconds:
        return "–"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def machine_moment(seconds: float) -> str:
    """The same for the ``datetime`` attribute of a ``time`` element."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds") if seconds else ""


def ago(seconds: float) -> str:
    """How long ago, or in how long, a point in time is."""
    if not seconds:
        return "–"
    difference = time.time() - seconds
    return f"{duration(difference)} ago" if difference >= 0 else f"in {duration(-difference)}"


def duration(seconds: float) -> str:
    """A length of time in its two largest units."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, length, below, length_below in (
        ("d", 86400, "h", 3600),
        ("h", 3600, "min", 60),
        ("min", 60, "s", 1),
    ):
        if whole >= length:
            return f"{whole // length} {unit} {whole % length // length_below} {below}"
    return f"{whole} s"


def span(started: float, finished: float) -> str:
    """How long something took, or takes already."""
    if not started:
        return "–"
    return duration((finished or time.time()) - started)


def plain(values: Mapping[str, object]) -> dict[str, str]:
    """Values as a form shows them, numbers without needless digits."""
    return {
        name: f"{value:g}" if isinstance(value, float) else str(value)
        for name, value in values.items()
    }
