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
from pathlib import Path

from app.interruption import INTERRUPTIONS, await_next

# Holoscan asks for 32 MB; threads take the limit that their process was started with.
_STACK_BYTES = 32 * 1024 * 1024


class Interrupted(Exception):  # noqa: N818 - not an error: somebody asked for it
    """The run was interrupted, and the worker ended.

    Args:
        by: the signal.
    """

    def __init__(self, by: signal.Signals) -> None:
        self.by = by
        super().__init__(f"interrupted by {by.name}")


class Worker:
    """The process that runs the graph; idle until it is given a job.

    Interruptions must be held back (``app.interruption``) as long as there is a worker.
    """

    def __init__(self) -> None:
        _raise_stack_limit()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "app.worker", str(os.getpid())],
            stdin=subprocess.PIPE,
            cwd=Path(__file__).resolve().parents[1],
            # A session of its own, so that it can be ended with every process that it starts.
            start_new_session=True,
        )

    def work(self, job: bytes) -> int:
        """Hand over a job and wait until the worker has ended.

        Args:
            job: a Job as JSON.

        Returns:
            Exit status of the worker; minus the number of the signal that ended it.

        Raises:
            Interrupted: this process was to end; the worker has.
        """
        assert self._process.stdin is not None
        # A worker that has ended already takes nothing; its status says so below.
        with contextlib.suppress(BrokenPipeError), self._process.stdin as orders:
            orders.write(job)
        while self._process.poll() is None:
            received = await_next()
            if received in INTERRUPTIONS and self._process.poll() is None:
                self.end()
                raise Interrupted(received)
        return self._process.returncode

    def end(self) -> None:
        """End the worker and everything that it started."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def _raise_stack_limit() -> None:
    now, most = resource.getrlimit(resource.RLIMIT_STACK)
    unlimited = resource.RLIM_INFINITY
    if now != unlimited and now < _STACK_BYTES and (most == unlimited or most >= _STACK_BYTES):
        resource.setrlimit(resource.RLIMIT_STACK, (_STACK_BYTES, most))
