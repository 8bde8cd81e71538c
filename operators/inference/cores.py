"""How many cores this process may use, which in a container is not what the host has."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def available_cores(cgroup: Path = _CGROUP) -> int:
    """Cores that the affinity mask and the control group's CPU quota leave to this process.

    Libraries that start one thread for each core of the host slow down many times where a
    quota allows fewer.

    Args:
        cgroup: mount point of the control groups (version 2, or version 1).

    Returns:
        At least 1.
    """
    cores = len(os.sched_getaffinity(0))
    quota = _quota(cgroup)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def _quota(cgroup: Path) -> float | None:
    """Cores worth of time that the control group grants, or None without a limit."""
    version_2 = _words(cgroup / "cpu.max")
    if version_2:
        limit, period = version_2[0], version_2[-1]
        return None if limit == "max" else int(limit) / int(period)
    limit_1 = _words(cgroup / "cpu" / "cpu.cfs_quota_us")
    period_1 = _words(cgroup / "cpu" / "cpu.cfs_period_us")
    if limit_1 and period_1 and int(limit_1[0]) > 0:
        return int(limit_1[0]) / int(period_1[0])
    return None


def _words(file: Path) -> list[str]:
    return file.read_text().split() if file.is_file() else []
