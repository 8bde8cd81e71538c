"""Analyses one study folder: has a worker do it, then publishes what came of it.

The graph runs in a worker process, so that whatever happens to it (a crash in native code, an
end by the out-of-memory killer, an interruption) this process still states a true result.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from app.job import Job
from app.logs import describe_fault
from app.result_file import ExitStatus, ResultFile
from app.result_folder import ResultFolder
from app.run_report import failure
from app.supervision import Stopped

_LOG = logging.getLogger(__name__)


class TakesJobs(Protocol):
    """A worker process, however it is supervised."""

    def work(self, job: bytes) -> int:
        """Have a job done: a Job as JSON, in one line.

        Returns:
            0 when it has written its result; else the exit status of the process, minus the
            number of the signal that ended it.

        Raises:
            Stopped: it was ended before that.
        """
        ...


def run_batch(output: Path, worker: TakesJobs, order: Callable[[ResultFolder], Job]) -> ResultFile:
    """Analyse a study and publish what came of it.

    Interruptions end the worker, leave a failed result and are told by ``exit_status``; they
    wait while files are being published.

    Args:
        output: result folder.
        worker: idle, takes the job.
        order: makes the job, given the folder in which the worker may write.

    Returns:
        what was published as ``result.json``.

    Raises:
        FolderInUseError: another run is writing into ``output``.
        OSError: ``output`` cannot be written.
    """
    with ResultFolder(output) as folder:
        job = order(folder)
        result = _run(job, worker)
        try:
            folder.publish(result)
        except (OSError, ValueError) as error:
            # No room, or the worker named what it did not write: say so, publish nothing.
            result = failure(job, ExitStatus.FAULT, f"cannot publish: {describe_fault(error)}")
            folder.publish(result)
    return result


def _run(job: Job, worker: TakesJobs) -> ResultFile:
    """The worker's result, or one that says why there is none."""
    try:
        status = worker.work(job.model_dump_json().encode())
    except Stopped as stopped:
        return failure(job, stopped.exit_status, str(stopped))
    result = ResultFile.read(job.result)
    if status == 0 and result is not None:
        return result
    native = _last_words(job.native_output)
    if native:
        _LOG.error("last words of the worker's libraries:\n%s", native)
    return failure(job, ExitStatus.FAULT, _why_it_ended(status))


def _why_it_ended(status: int) -> str:
    if status >= 0:
        return f"the worker process ended with status {status} and no result"
    name = signal.Signals(-status).name
    hint = " (the machine may have run out of memory)" if name == "SIGKILL" else ""
    return f"the worker process was ended by {name}{hint}"


def _last_words(file: Path, lines: int = 20) -> str:
    """The end of what libraries printed; of a crash its beginning, where the innermost call is."""
    try:
        said = file.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    crashes = [number for number, line in enumerate(said) if line.startswith("Fatal Python error")]
    first = crashes[-1] if crashes else max(0, len(said) - lines)
    return "\n".join(said[first : first + lines])
