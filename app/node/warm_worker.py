"""A worker process that is kept from one job to the next, and watched while it has one."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from app.result_file import ExitStatus
from app.supervision import Stopped, end_worker, start_worker

_SECONDS_BETWEEN_LOOKS = 0.25
_SECONDS_TO_END = 10
_LIKELIER_TO_BE_KILLED = 500
"""For the kernel's out-of-memory killer (proc(5), oom_score_adj)."""


@dataclass(frozen=True)
class Watch:
    """How one job is watched.

    Attributes:
        on_step: told when a step begins (without its seconds), and when it ends.
        why_stop: asked again and again; a reason ends the job, "" lets it go on.
        seconds: that the job may take.
        memory: bytes that the worker may hold, or None.
    """

    on_step: Callable[[str, float | None], None]
    why_stop: Callable[[], str]
    seconds: float
    memory: int | None = None


class WarmWorker:
    """Started for its first job, and again whenever it has ended.

    All calls come from one thread, and the process ends with that thread.

    Args:
        environment: for the process, in addition to that of this one.
        most_jobs: after as many it is replaced.
    """

    def __init__(self, environment: Mapping[str, str], most_jobs: int) -> None:
        self._environment = dict(environment)
        self._most_jobs = most_jobs
        self._process: subprocess.Popen[bytes] | None = None
        self._news = -1
        self._unread = b""
        self._done = 0

    @property
    def pid(self) -> int | None:
        """Of the process, where there is one."""
        return None if self._process is None else self._process.pid

    def work(self, job: bytes, watch: Watch) -> int:
        """Have a job done; see ``app.batch.TakesJobs``.

        Raises:
            Stopped: the job took too long or too much memory, or was to stop.
        """
        process = self._process
        if process is None or process.poll() is not None or self._done >= self._most_jobs:
            self.end()
            process = self.start()
        assert process.stdin is not None
        # A worker that has ended already takes nothing; its status says so below.
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(job + b"\n")
            process.stdin.flush()
        try:
            status = self._await(process, watch)
        # Whatever it is, a worker that is still at this job must not be given the next one.
        except BaseException:
            self.end()
            raise
        self._done += 1
        return status

    def _await(self, process: subprocess.Popen[bytes], watch: Watch) -> int:
        """Wait for the result of the job; 0, or the status that the process ended with."""
        deadline = time.monotonic() + watch.seconds
        while not self._is_written(watch):
            status = process.poll()
            if status is not None:
                written = self._is_written(watch)
                self.end()
                return 0 if written else status
            reason = watch.why_stop() or _excess(process.pid, deadline, watch)
            if reason:
                raise Stopped(reason, ExitStatus.FAULT)
        return 0

    def end(self) -> None:
        """End the process, and everything that it started."""
        if self._process is None:
            return
        end_worker(self._process)
        assert self._process.stdin is not None
        # What it did not read any more is of no use.
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        os.close(self._news)
        self._process = None

    def start(self) -> subprocess.Popen[bytes]:
        """Start the process, which loads what is light and waits for a job."""
        self._news, writing = os.pipe()
        try:
            process = start_worker(writing, environment=self._environment)
        finally:
            os.close(writing)
        # Where it is forbidden the kernel chooses by size, which is this process as well.
        with contextlib.suppress(OSError):
            Path(f"/proc/{process.pid}/oom_score_adj").write_text(str(_LIKELIER_TO_BE_KILLED))
        self._process, self._unread, self._done = process, b"", 0
        return process

    def _is_written(self, watch: Watch) -> bool:
        """Wait a moment for news; whether the result of the job is written."""
        ready, _, _ = select.select([self._news], [], [], _SECONDS_BETWEEN_LOOKS)
        if not ready:
            return False
        said = os.read(self._news, 65536)
        if not said:  # it closed the pipe: it is ending
            assert self._process is not None
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_SECONDS_TO_END)
            return False
        *lines, self._unread = (self._unread + said).split(b"\n")
        written = False
        for line in lines:
            news = json.loads(line)
            if "written" in news:
                written = True
            else:
                watch.on_step(news["step"], news["seconds"])
        return written


def _excess(pid: int, deadline: float, watch: Watch) -> str:
    """What the worker has exceeded, in one sentence, or ""."""
    if time.monotonic() > deadline:
        return f"it took longer than {watch.seconds:g} s (node.jobs.time_limit_seconds)"
    if watch.memory is not None:
        held = resident_bytes(pid)
        if held > watch.memory:
            return (
                f"it needed {held / 2**30:.1f} GiB of memory, more than the "
                f"{watch.memory / 2**30:.1f} GiB of node.jobs.memory_limit"
            )
    return ""


def resident_bytes(pid: int) -> int:
    """Memory that a process and all below it hold; 0 where there is none."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        children = [
            int(child)
            for tasks in Path(f"/proc/{pid}/task").iterdir()
            for child in (tasks / "children").read_text().split()
        ]
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(map(resident_bytes, children))
