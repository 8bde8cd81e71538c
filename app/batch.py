"""Analyses one study folder: keeps watch over the worker that does it, then publishes.

The graph runs in a worker process, so that whatever happens to it (a crash in native code, an
end by the out-of-memory killer, an interruption) this process still states a true result.
"""

from __future__ import annotations

import logging
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from app.interruption import INTERRUPTIONS, await_next
from app.job import Job
from app.logs import describe_fault
from app.result_file import ExitStatus, ResultFile
from app.result_folder import ResultFolder
from app.run_report import failure

_LOG = logging.getLogger(__name__)

# Holoscan asks for 32 MB; threads take the limit that their process was started with.
_STACK_BYTES = 32 * 1024 * 1024


def run_batch(output: Path, order: Callable[[ResultFolder], Job]) -> ResultFile:
    """Analyse a study and publish what came of it.

    Interruptions must be held back (``app.interruption``) when this is called. They end the
    worker, leave a failed result and are told by ``exit_status``; they wait while files are
    being published.

    Args:
        output: result folder.
        order: makes the job, given the folder in which the worker may write.

    Returns:
        what was published as ``result.json``.

    Raises:
        FolderInUseError: another run is writing into ``output``.
        OSError: ``output`` cannot be written.
    """
    with ResultFolder(output) as folder:
        job = order(folder)
        result = _supervise(job)
        try:
            folder.publish(result)
        except (OSError, ValueError) as error:
            # No room, or the worker named what it did not write: say so, publish nothing.
            result = failure(job, ExitStatus.FAULT, f"cannot publish: {describe_fault(error)}")
            folder.publish(result)
    return result


def _supervise(job: Job) -> ResultFile:
    """Run the worker to its end, or end it."""
    _raise_stack_limit()
    worker = subprocess.Popen(
        [sys.executable, "-m", "app.worker", str(os.getpid())],
        stdin=subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[1],
        # A session of its own, so that it can be ended with every process that it started.
        start_new_session=True,
    )
    assert worker.stdin is not None
    try:
        with worker.stdin as order:
            order.write(job.model_dump_json().encode())
    except BrokenPipeError:
        _LOG.error("the worker ended before it took the job")
    while worker.poll() is None:
        received = await_next()
        if received in INTERRUPTIONS and worker.poll() is None:
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
            return failure(job, 128 + received, f"interrupted by {received.name}")
    result = ResultFile.read(job.result)
    if worker.returncode == 0 and result is not None:
        return result
    native = _tail(job.native_output)
    if native:
        _LOG.error("last words of the worker's libraries:\n%s", native)
    return failure(job, ExitStatus.FAULT, _why_it_ended(worker.returncode))


def _raise_stack_limit() -> None:
    now, most = resource.getrlimit(resource.RLIMIT_STACK)
    unlimited = resource.RLIM_INFINITY
    if now != unlimited and now < _STACK_BYTES and (most == unlimited or most >= _STACK_BYTES):
        resource.setrlimit(resource.RLIMIT_STACK, (_STACK_BYTES, most))


def _why_it_ended(status: int) -> str:
    if status >= 0:
        return f"the worker process ended with status {status} and no result"
    name = signal.Signals(-status).name
    hint = " (the machine may have run out of memory)" if name == "SIGKILL" else ""
    return f"the worker process was ended by {name}{hint}"


def _tail(file: Path, lines: int = 20) -> str:
    try:
        return "\n".join(file.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""
