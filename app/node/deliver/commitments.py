"""Storage commitment reports that are waited for, wherever they come in."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from app.node.receive.channel import CommitmentReport


@dataclass
class ExpectedReport:
    """A report that is waited for.

    Attributes:
        committed: SOP Instance UIDs that the target keeps.
        failed: failure reason of those that it does not keep.
        complete: set when nothing more will come.
    """

    committed: set[str] = field(default_factory=set)
    failed: dict[str, int] = field(default_factory=dict)
    complete: threading.Event = field(default_factory=threading.Event)

    def wait(self, seconds: float) -> bool:
        """Whether the report came within ``seconds``."""
        return self.complete.wait(seconds)


class Commitments:
    """Brings reports to those who wait for them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._expected: dict[str, ExpectedReport] = {}

    @contextmanager
    def expected(self, transaction_uid: str) -> Iterator[ExpectedReport]:
        """Wait for the report on a transaction inside of this context."""
        report = ExpectedReport()
        with self._lock:
            self._expected[transaction_uid] = report
        try:
            yield report
        finally:
            with self._lock:
                del self._expected[transaction_uid]

    def take(self, report: CommitmentReport) -> None:
        """Take a report, or a part of one; nobody waits for it where it came too late."""
        with self._lock:
            expected = self._expected.get(report.transaction_uid)
            if expected is None:
                return
            expected.committed |= set(report.committed)
            expected.failed |= dict(report.failed)
            if report.complete:
                expected.complete.set()
