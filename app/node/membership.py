"""Machines that share a ledger: each shows that it lives, and takes over from one that died."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from sqlalchemy import delete, select, update

from app.logs import describe_fault
from app.node.ledger import Ledger, insert_new, now
from app.node.tables import MACHINES
from operators.vocabulary.version import VERSION

_LOG = logging.getLogger(__name__)
_SECONDS_BETWEEN_BEATS = 5.0
_SECONDS_UNTIL_DEAD = 30.0


class Membership(threading.Thread):
    """Shows that this node lives, and watches the others.

    The clocks of machines may differ: another is taken for dead when what it writes has not
    changed for thirty seconds of our own clock.

    Args:
        ledger: that is shared.
        machine: name of this one.
        workers: of this one.
        take_over: called with the name of a machine that died; it lets its jobs run elsewhere.
    """

    def __init__(
        self, ledger: Ledger, machine: str, workers: int, take_over: Callable[[str], None]
    ) -> None:
        super().__init__(name="membership", daemon=True)
        self._ledger = ledger
        self._machine = machine
        self._workers = workers
        self._take_over = take_over
        self._others: dict[str, tuple[float, float]] = {}
        self._end = threading.Event()

    def join_others(self) -> None:
        """Show up for the first time."""
        row = {
            "name": self._machine,
            "started": now(),
            "seen": now(),
            "workers": self._workers,
            "version": VERSION,
        }
        with self._ledger.write() as connection:
            connection.execute(delete(MACHINES).where(MACHINES.c.name == self._machine))
            insert_new(connection, MACHINES, [row])

    def stop(self) -> None:
        """End, and say that this machine is gone; its unfinished jobs are left to it."""
        self._end.set()
        self.join()

    def run(self) -> None:
        """Beat and look until the end."""
        while not self._end.wait(_SECONDS_BETWEEN_BEATS):
            try:
                self._beat()
                self._look()
            # A database that is away for a while must not end this thread.
            except Exception as error:  # noqa: BLE001
                _LOG.error("cannot reach the ledger: %s", describe_fault(error), exc_info=error)

    def _beat(self) -> None:
        with self._ledger.write() as connection:
            beaten = connection.execute(
                update(MACHINES).where(MACHINES.c.name == self._machine).values(seen=now())
            )
        if beaten.rowcount == 0:  # another took this one for dead
            self.join_others()

    def _look(self) -> None:
        query = select(MACHINES.c.name, MACHINES.c.seen).where(MACHINES.c.name != self._machine)
        for name, seen in self._ledger.rows(query, tuple):
            known = self._others.get(name)
            if known is None or known[0] != seen:
                self._others[name] = (seen, time.monotonic())
            elif time.monotonic() - known[1] > _SECONDS_UNTIL_DEAD:
                self._bury(name, seen)

    def _bury(self, name: str, seen: float) -> None:
        """Take over from a machine that died, unless another one does."""
        with self._ledger.write() as connection:
            buried = connection.execute(
                delete(MACHINES).where(MACHINES.c.name == name, MACHINES.c.seen == seen)
            )
        if buried.rowcount == 1:
            _LOG.warning("machine %s died; its jobs are taken over", name)
            self._take_over(name)
        self._others.pop(name, None)
