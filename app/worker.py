"""The process that runs the graph: jobs on standard input, their results into files.

``python -m app.worker PID [DESCRIPTOR]``, where PID is the process that supervises it. One job a
line; the end of input ends it, with status 0 when it wrote every result, whatever they say.
Libraries and networks stay loaded from one job to the next. Through DESCRIPTOR it says, one JSON
object a line, which step of a job has begun or ended, and that a result is written.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import logging
import os
import signal
import sys
import time

from app.interruption import let_through
from app.job import Job
from app.logs import describe_fault, set_up_logging
from app.result_file import ExitStatus, ResultFile
from app.run_report import failure
from operators.vocabulary.refusal import Refusal

_LOG = logging.getLogger("app.worker")
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Take jobs, run them, write their results."""
    _end_with(parent=int(sys.argv[1]))
    let_through()
    news = News(int(sys.argv[2])) if len(sys.argv) > 2 else None
    # Libraries print to the descriptor 2 whenever they like; ours is another one.
    own_errors = os.dup(2)
    for order in sys.stdin.buffer:
        job = Job.model_validate_json(order)
        _move_native_output_aside(job, own_errors)
        set_up_logging(context={"job": job.name} if job.name else None)
        if news is not None:
            logging.getLogger().addHandler(news)
        result = _run(job)
        draft = job.result.with_name("draft-" + job.result.name)
        draft.write_text(result.to_json(), encoding="utf-8")
        draft.replace(job.result)
        if news is not None:
            news.say({"written": job.name})
    logging.shutdown()
    sys.stderr.flush()
    # Taking down torch, the graph and its libraries takes time, and a crash in it would put
    # a run in doubt of which everything is written.
    os._exit(0)


class News(logging.Handler):
    """Tells the supervising process, through a pipe, what it may want to show meanwhile.

    Args:
        descriptor: of the pipe.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._pipe = os.fdopen(descriptor, "w", buffering=1, encoding="utf-8")

    def emit(self, record: logging.LogRecord) -> None:
        """Pass on the beginning and the end of a step."""
        step = getattr(record, "step", None)
        if step is not None:
            self.say({"step": step, "seconds": getattr(record, "seconds", None)})

    def say(self, news: dict[str, object]) -> None:
        """Pass on ``news``."""
        self._pipe.write(json.dumps(news) + "\n")


def _run(job: Job) -> ResultFile:
    try:
        # The libraries of the graph take seconds to load.
        _LOG.info("step started", extra={"step": "start"})
        begun = time.perf_counter()
        from app.application import run_study

        seconds = round(time.perf_counter() - begun, 4)
        _LOG.info("step ended", extra={"step": "start", "seconds": seconds})
        result = run_study(job)
        return result.model_copy(update={"timings": {"start": seconds} | result.timings})
    except Refusal as refusal:
        return failure(job, ExitStatus.REFUSED, refusal.reason, [refusal])
    except Exception as error:  # noqa: BLE001 - whatever it is, the result must say so
        _LOG.error("internal fault: %s", describe_fault(error), exc_info=error)
        return failure(job, ExitStatus.FAULT, f"internal fault: {describe_fault(error)}")


def _end_with(parent: int) -> None:
    """Ask the kernel to end this process when the one that supervises it ends (Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the kernel was asked
        os._exit(ExitStatus.FAULT)


def _move_native_output_aside(job: Job, own_errors: int) -> None:
    """Send what C and C++ libraries print to a file, and keep standard error for this project.

    The supervising process shows the end of that file when this process crashes.
    """
    sys.stderr = os.fdopen(os.dup(own_errors), "w", buffering=1, encoding="utf-8")
    native = os.open(job.native_output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(native, 1)
    os.dup2(native, 2)
    os.close(native)
    faulthandler.enable(2)


if __name__ == "__main__":
    main()
