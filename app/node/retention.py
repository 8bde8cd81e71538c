"""Removes what has served its time; never what still has to be run or delivered."""

from __future__ import annotations

import logging
import shutil
import threading
from pathlib import Path

from sqlalchemy import Select, delete, exists, func, select, update

from app.logs import describe_fault
from app.node.audit import AuditTrail
from app.node.ledger import Ledger, now
from app.node.records import ENDED, CollectionState
from app.node.settings import RetentionSettings
from app.node.tables import COLLECTIONS, DELIVERIES, JOBS, OBJECTS, SERIES, STEPS

_LOG = logging.getLogger(__name__)
_DAY = 86400.0
_SECONDS_BETWEEN_ROUNDS = 60.0
_AT_A_TIME = 200


class Retention(threading.Thread):
    """Looks once a minute for what may go.

    Args:
        ledger: says what has been done.
        folder: of the node.
        results: folder of the results of every job.
        settings: what goes when.
        audit: is told of each study that goes.
    """

    def __init__(
        self,
        ledger: Ledger,
        folder: Path,
        results: Path,
        settings: RetentionSettings,
        audit: AuditTrail,
    ) -> None:
        super().__init__(name="retention", daemon=True)
        self._ledger = ledger
        self._folder = folder
        self._results = results
        self._settings = settings
        self._audit = audit
        self._end = threading.Event()

    def stop(self) -> None:
        """End after what is being done now."""
        self._end.set()
        self.join()

    def run(self) -> None:
        """Look until the end."""
        while not self._end.wait(_SECONDS_BETWEEN_ROUNDS):
            try:
                self.clean()
            # Neither a full disk nor a database that is away must end this thread.
            except Exception as error:  # noqa: BLE001
                _LOG.error("cannot clean up: %s", describe_fault(error), exc_info=error)

    def clean(self) -> None:
        """Remove what has served its time, and more where the disk fills."""
        moment = now()
        self._remove_received(moment - self._settings.received_days * _DAY)
        self._remove_results(moment - self._settings.results_days * _DAY)
        self._remove_history(moment - self._settings.history_days * _DAY)
        if self._is_disk_low():
            _LOG.warning("the disk fills: what is done goes earlier (node.retention)")
            while self._is_disk_low() and self._remove_received(moment, at_a_time=1):
                pass
            while self._is_disk_low() and self._remove_results(moment, at_a_time=1):
                pass

    def _remove_received(self, before: float, at_a_time: int = _AT_A_TIME) -> int:
        """Remove received objects of studies of which every job ended before a moment."""
        last_end = (
            select(func.max(JOBS.c.finished))
            .where(JOBS.c.collection == COLLECTIONS.c.key)
            .scalar_subquery()
        )
        unfinished = exists().where(
            JOBS.c.collection == COLLECTIONS.c.key, JOBS.c.state.not_in(ENDED)
        )
        query = (
            select(COLLECTIONS.c.key, COLLECTIONS.c.generation)
            .where(
                COLLECTIONS.c.state == CollectionState.COMPLETE,
                last_end < before,
                ~unfinished,
            )
            .order_by(COLLECTIONS.c.last_received)
            .limit(at_a_time)
        )
        found = self._ledger.rows(query, tuple)
        for key, generation in found:
            self._mark_removed(key, generation)
        self._remove_marked()
        return len(found)

    def _mark_removed(self, key: str, generation: int) -> None:
        with self._ledger.write() as connection:
            connection.execute(
                update(COLLECTIONS)
                .where(
                    COLLECTIONS.c.key == key,
                    # Nothing has arrived meanwhile.
                    COLLECTIONS.c.state == CollectionState.COMPLETE,
                    COLLECTIONS.c.generation == generation,
                )
                .values(state=CollectionState.REMOVED, objects=0)
            )

    def _remove_marked(self) -> None:
        """Remove the files of what was marked, and then its rows: a kill in between is harmless.

        One by one: what arrives meanwhile lies beside them, and is no row yet.
        """
        marked = select(COLLECTIONS.c.key).where(
            COLLECTIONS.c.state == CollectionState.REMOVED,
            exists().where(OBJECTS.c.collection == COLLECTIONS.c.key),
        )
        for key in self._ledger.rows(marked, lambda row: str(row.key)):
            query = select(OBJECTS.c.path).where(OBJECTS.c.collection == key)
            paths = self._ledger.rows(query, lambda row: self._folder / row.path)
            for path in paths:
                path.unlink(missing_ok=True)
            for folder in {path.parent for path in paths}:
                _remove_if_empty(folder)
                _remove_if_empty(folder.parent)
            self._audit.removed(key.partition("/")[0], "by the rules of node.retention")
            with self._ledger.write() as connection:
                connection.execute(delete(OBJECTS).where(OBJECTS.c.collection == key))
                connection.execute(delete(SERIES).where(SERIES.c.collection == key))

    def _remove_results(self, before: float, at_a_time: int = _AT_A_TIME) -> int:
        query = self._ended(before).where(JOBS.c.result_folder != "").limit(at_a_time)
        found = self._ledger.rows(query, tuple)
        for identifier, folder in found:
            shutil.rmtree(self._results / folder, ignore_errors=True)
            with self._ledger.write() as connection:
                connection.execute(
                    update(JOBS).where(JOBS.c.id == identifier).values(result_folder="")
                )
        return len(found)

    def _remove_history(self, before: float) -> None:
        query = self._ended(before).where(JOBS.c.result_folder == "").limit(_AT_A_TIME)
        identifiers = [identifier for identifier, _ in self._ledger.rows(query, tuple)]
        if not identifiers:
            return
        with self._ledger.write() as connection:
            connection.execute(delete(STEPS).where(STEPS.c.job.in_(identifiers)))
            connection.execute(delete(DELIVERIES).where(DELIVERIES.c.job.in_(identifiers)))
            connection.execute(delete(JOBS).where(JOBS.c.id.in_(identifiers)))

    def _ended(self, before: float) -> Select[tuple[str, str]]:
        return (
            select(JOBS.c.id, JOBS.c.result_folder)
            .where(JOBS.c.state.in_(ENDED), JOBS.c.finished < before)
            .order_by(JOBS.c.finished)
        )

    def _is_disk_low(self) -> bool:
        usage = shutil.disk_usage(self._folder)
        return usage.free < self._settings.free_fraction * usage.total


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:  # something is in it, or it is gone
        return
