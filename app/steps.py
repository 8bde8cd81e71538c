"""Makes each operator of the graph say when it starts and ends, and keeps the times."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

_LOG = logging.getLogger(__name__)


class StepTimes:
    """Seconds spent in each operator of one run, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def of(self, operator: type) -> Callable[..., Any]:
        """``operator`` as a class of which each ``compute`` is announced and timed.

        A subclass and not a wrapped instance, because the graph's executor looks ``compute``
        up on the class.
        """
        times = self

        class Timed(operator):
            def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
                _LOG.info("step started", extra={"step": self.name})
                start = time.perf_counter()
                super().compute(op_input, op_output, context)
                seconds = time.perf_counter() - start
                times.seconds[self.name] = seconds
                _LOG.info("step ended", extra={"step": self.name, "seconds": round(seconds, 3)})

        return Timed
