"""Starts the worker process, hands it its job, and waits for its end or for an interruption.

Imports nothing that takes time, so that the worker can be started first and load its libraries
while this process loads its own and checks the order.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from app.interruption import INTERRUPTIONS, await_next

# Holoscan asks for 32 MB; threads take the limit that their process was started with.
_STACK_BYTES = 32 * 1024 * 1024


class Stopped(Exception):  # noqa: N818 - not an error: somebody asked for it
    """The worker was ended before it had done its job.

    Args:
        reason: why, in one sentence.
        exit_status: that the failed result states.
    """

    def __init__(self, reason: str, exit_status: int) -> None:
        self.exit_status = exit_status
        super().__init__(reason)


class Interrupted(Stopped):
    """The run was interrupted, and the worker ended.

    Args:
        by: the signal.
    """

    def __init__(self, by: signal.Signals) -> None:
        self.by = by
        super().__init__(f"interrupted by {by.name}", 128 + by)


class Worker:
    """The process that runs the graph; idle until it is given a job.

    Interruptions must be held back (``app.interruption``) as long as there is a worker.
    """

    def __init__(self) -> None:
        self._process = start_worker()

    def work(self, job: bytes) -> int:
        """Hand over a job and wait until the worker has ended.

        Args:
            job: a Job as JSON, in one line.

        Returns:
            Exit status of the worker; minus the number of the signal that ended it.

        Raises:
            Interrupted: this process was to end; the worker has.
        """
        assert self._process.stdin is not None
        # A worker that has ended already takes nothing; its status says so below.
        with contextlib.suppress(BrokenPipeError), self._process.stdin as orders:
            orders.write(job + b"\n")
        while self._process.poll() is None:
            received = await_next()
            if received in INTERRUPTIONS and self._process.poll() is None:
                self.end()
                raise Interrupted(received)
        return self._process.returncode

    def end(self) -> None:
        """End the worker and everything that it started."""
        end_worker(self._process)


_ALLOCATION = {"MALLOC_MMAP_THRESHOLD_": str(4 * 2**20)}
"""The C library otherwise keeps freed volumes of up to 32 MiB in pieces: 0.4 GB for a head of
256x256x180 voxels."""


def start_worker(
    *descriptors: int, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a worker process, which waits for jobs on its standard input.

    It ends when the thread that called this function ends.

    Args:
        descriptors: open ones that it inherits; the first is where it tells its news.
        environment: in addition to that of this process.
    """
    _raise_stack_limit()
    return subprocess.Popen(
        [sys.executable, "-m", "app.worker", str(os.getpid()), *map(str, descriptors)],
        stdin=subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[1],
        env=_ALLOCATION | os.environ | dict(environment or {}),
        pass_fds=descriptors,
        # A session of its own, so that it can be ended with every process that it starts.
        start_new_session=True,
    )


def end_worker(process: subprocess.Popen[bytes]) -> None:
    """End a worker and everything that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _raise_stack_limit() -> None:
    now, most = resource.getrlimit(resource.RLIMIT_STACK)
    unlimited = resource.RLIM_INFINITY
    if now != unlimited and now < _STACK_BYTES and (most == unlimited or most >= _STACK_BYTES):
        resource.setrlimit(resource.RLIMIT_STACK, (_STACK_BYTES, most))
