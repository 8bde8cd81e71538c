"""What DBOS says, in the form of everything else that is logged."""

from __future__ import annotations

import logging

from app.logs import describe_fault

_LOG = logging.getLogger(__name__)
_LONGEST = 300


class _Passed(logging.Handler):
    """Passes on the first line of each message; stacks would show statements and their values."""

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage().strip().partition("\n")[0][:_LONGEST]
        if record.exc_info and record.exc_info[1] is not None:
            said = f"{said} {describe_fault(record.exc_info[1])}"
        _LOG.log(record.levelno, "workflows: %s", said)


def take_over_log() -> None:
    """Let warnings and errors of DBOS go where those of this project go."""
    logger = logging.getLogger("dbos")
    logger.handlers = [_Passed()]
    logger.propagate = False
    logger.setLevel(logging.WARNING)
