"""What a run says while it works: progress on a terminal, JSON lines otherwise.

Only the loggers of this project are heard. Messages and warnings of other libraries can quote
DICOM values, and those can name a patient.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.text import Text

_OUR_PACKAGES = ("app", "operators", "models")
_STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "taskName"}
_PROJECT = Path(__file__).resolve().parents[1]


def set_up_logging(
    console: Console | None = None, context: Mapping[str, str] | None = None
) -> None:
    """Send this project's messages to the terminal, or as JSON lines to standard error.

    Args:
        console: standard error as a rich console; made when it is not given.
        context: what every JSON line says beside.
    """
    console = console or Console(stderr=True)
    handler: logging.Handler = (
        TerminalProgress(console) if console.is_terminal else logging.StreamHandler(sys.stderr)
    )
    if not console.is_terminal:
        handler.setFormatter(JsonFormatter(context))
    handler.addFilter(lambda record: record.name.partition(".")[0] in _OUR_PACKAGES)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    warnings.simplefilter("ignore")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message and the record's extra fields.

    Args:
        context: what every line says beside.
    """

    def __init__(self, context: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._context = dict(context or {})

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON without a line end."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= self._context
        line |= {
            name: value for name, value in vars(record).items() if name not in _STANDARD_ATTRIBUTES
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["fault"] = describe_fault(record.exc_info[1])
            line["stack"] = _stack(record.exc_info[1])
        return json.dumps(line, default=str)


class _SecondsColumn(ProgressColumn):
    """Time of a step, to a tenth of a second."""

    def render(self, task: Task) -> Text:
        """The time as text."""
        return Text(f"{task.finished_time or task.elapsed or 0:6.1f} s", style="cyan")


class TerminalProgress(logging.Handler):
    """Shows each step with a spinner and its time; warnings and errors above them."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}"),
            _SecondsColumn(),
            TextColumn("[dim]{task.fields[detail]}"),
            console=console,
        )
        self._steps: dict[str, TaskID] = {}
        self._current: TaskID | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Show one record."""
        step = getattr(record, "step", None)
        if step is not None:
            self._show_step(str(step), ended=hasattr(record, "seconds"))
        elif record.levelno >= logging.WARNING:
            colour = "yellow" if record.levelno == logging.WARNING else "red"
            self._say(record.getMessage(), colour)
            if record.exc_info and record.exc_info[1] is not None:
                for line in _stack(record.exc_info[1]):
                    self._say("  " + line, "dim")
        elif self._current is not None:
            self._progress.update(self._current, detail=record.getMessage())

    def _say(self, text: str, style: str) -> None:
        self._progress.console.print(text, style=style, markup=False, highlight=False)

    def _show_step(self, step: str, *, ended: bool) -> None:
        if ended:
            self._progress.update(self._steps[step], total=1, completed=1, detail="")
            return
        self._progress.start()
        self._current = self._steps[step] = self._progress.add_task(
            step.replace("_", " "), total=None, detail=""
        )

    def close(self) -> None:
        """Stop drawing, so that the next line of text stands below the steps."""
        self._progress.stop()
        super().close()


def describe_fault(error: BaseException) -> str:
    """What went wrong, in one line that cannot hold patient data.

    The text of an exception is repeated only where this project wrote it: libraries quote the
    values that they stumble over.
    """
    frames = traceback.extract_tb(error.__traceback__)
    raised_here = bool(frames) and _is_ours(frames[-1].filename)
    kind = type(error).__name__
    place = f" in {_place(frames[-1])}" if frames else ""
    if raised_here:
        return f"{kind}: {error}"
    # The operating system's words name no file, and say the one thing that helps.
    said = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
    return f"{kind}{said}{place}"


def _stack(error: BaseException) -> list[str]:
    """Innermost last: file, line and function of each frame of this project."""
    frames = traceback.extract_tb(error.__traceback__)
    return [_place(frame) for frame in frames if _is_ours(frame.filename)]


def _is_ours(filename: str) -> bool:
    path = Path(filename)
    return path.is_relative_to(_PROJECT) and path.relative_to(_PROJECT).parts[0] in _OUR_PACKAGES


def _place(frame: traceback.FrameSummary) -> str:
    path = Path(frame.filename)
    name = path.relative_to(_PROJECT) if _is_ours(frame.filename) else path.name
    return f"{name}:{frame.lineno} {frame.name}"
