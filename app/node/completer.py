"""Watches what is arriving, closes what is complete, and puts right what was left undone."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from pydicom.dataset import Dataset
from sqlalchemy import select

from app.logs import describe_fault
from app.node import jobs
from app.node.completeness import completeness, rule_for
from app.node.conditions import Facts
from app.node.heads import Heads
from app.node.ledger import Ledger, collection_of, job_of, now
from app.node.records import Collection, CollectionState, JobState, Priority
from app.node.routing import off_peak_start, route
from app.node.settings import NodeSettings
from app.node.sweep import Sweep
from app.node.tables import COLLECTIONS, JOBS, OBJECTS, SERIES
from app.node.workflows import NodeWorkflows
from operators.ingest.acquire import acquire_study
from operators.ingest.settings import IngestSettings
from operators.ingest.study import load_files
from operators.vocabulary.acquisition import SeriesKind
from operators.vocabulary.refusal import hashed_uid

_LOG = logging.getLogger(__name__)
_LONGEST_SLEEP = 5.0
_SHORTEST_SLEEP = 0.05
_SECONDS_BETWEEN_SWEEPS = 15.0


class Completer(threading.Thread):
    """One for each node process; several on one ledger do not disturb each other.

    Args:
        ledger: what has arrived.
        folder: of the node.
        settings: rules of completeness and routing.
        ingest: how series are recognised, where a rule asks for that.
        workflows: run what follows.
        heads: headers of received objects.
    """

    def __init__(
        self,
        ledger: Ledger,
        folder: Path,
        settings: NodeSettings,
        ingest: IngestSettings,
        workflows: NodeWorkflows,
        heads: Heads,
    ) -> None:
        super().__init__(name="completer", daemon=True)
        self._ledger = ledger
        self._folder = folder
        self._settings = settings
        self._ingest = ingest
        self._workflows = workflows
        self._heads = heads
        self._sweep = Sweep(ledger, workflows)
        self._wake = threading.Event()
        self._ending = False
        self._swept = 0.0

    def wake(self) -> None:
        """Say that something has arrived, or was forced."""
        self._wake.set()

    def stop(self) -> None:
        """End after what is being done now."""
        self._ending = True
        self._wake.set()
        self.join()

    def run(self) -> None:
        """Look whenever something has arrived or may have become due."""
        while not self._ending:
            due = now() + _LONGEST_SLEEP
            try:
                due = min(due, self.look())
                if time.monotonic() - self._swept > _SECONDS_BETWEEN_SWEEPS:
                    self._sweep()
                    self._swept = time.monotonic()
            # A database that is away for a while must not end this thread.
            except Exception as error:  # noqa: BLE001
                _LOG.error(
                    "cannot look for complete studies: %s", describe_fault(error), exc_info=error
                )
            time.sleep(_SHORTEST_SLEEP)
            self._wake.wait(max(0.0, min(due - now(), _LONGEST_SLEEP)))
            self._wake.clear()

    def look(self) -> float:
        """Close what is complete; returns when to look again if nothing arrives."""
        query = select(COLLECTIONS).where(COLLECTIONS.c.state == CollectionState.OPEN)
        due = now() + _LONGEST_SLEEP
        for collection in self._ledger.rows(query, collection_of):
            due = min(due, self._look_at(collection))
        return due

    def facts(self, collection: Collection) -> Facts:
        """What rules may ask about a collection."""
        heads = self._series_heads(collection)
        query = (
            select(OBJECTS.c.calling_ae, OBJECTS.c.called_ae)
            .where(OBJECTS.c.collection == collection.key)
            .distinct()
        )
        titles = self._ledger.rows(query, tuple)
        return Facts(
            heads=heads,
            calling_aes=frozenset(str(calling) for calling, _ in titles),
            called_aes=frozenset(str(called) for _, called in titles),
            kinds=lambda: self._kinds(collection),
        )

    def _look_at(self, collection: Collection) -> float:
        """Close it if it is complete; when to look at it again."""
        facts = self.facts(collection)
        heads: Sequence[Dataset] = list(facts.heads.values())
        rule = rule_for(self._settings.completeness, facts)
        found = completeness(rule, collection, heads, now())
        if not found.complete:
            return found.due
        self._close(collection, found.because, facts)
        return now() + _LONGEST_SLEEP

    def _close(self, collection: Collection, because: str, facts: Facts) -> None:
        decided = route(self._settings.routes, facts)
        rule = decided.rule
        not_before = 0.0
        if rule is not None and rule.priority is Priority.OFF_PEAK:
            moment = datetime.now().astimezone()
            not_before = off_peak_start(self._settings.jobs.off_peak, moment).timestamp()
        identifier = jobs.close_collection(
            self._ledger, collection, because, rule, decided.explanation, not_before
        )
        if identifier is None:
            return
        said = {
            "job": identifier,
            "study": hashed_uid(collection.study_instance_uid),
            "objects": collection.objects,
            "rule": None if rule is None else rule.name,
        }
        _LOG.info("study complete: %s", because, extra=said)
        (job,) = self._ledger.rows(select(JOBS).where(JOBS.c.id == identifier), job_of)
        if job.state is JobState.QUEUED:
            self._workflows.enqueue_job(job)

    def _series_heads(self, collection: Collection) -> dict[str, Dataset]:
        query = (
            select(SERIES.c.number, SERIES.c.series_instance_uid, SERIES.c.first_path)
            .where(SERIES.c.collection == collection.key)
            .order_by(SERIES.c.number, SERIES.c.series_instance_uid)
        )
        return {
            f"{'?' if number is None else number} ({hashed_uid(uid)})": self._heads.of(
                self._folder / path
            )
            for number, uid, path in self._ledger.rows(query, tuple)
        }

    def _kinds(self, collection: Collection) -> frozenset[SeriesKind]:
        query = select(OBJECTS.c.path).where(OBJECTS.c.collection == collection.key)
        paths = [self._folder / path for (path,) in self._ledger.rows(query, tuple)]
        try:
            study = acquire_study(load_files(self._folder, paths), self._ingest)
        # Anybody's files: the job will say what is wrong with them.
        except Exception as error:  # noqa: BLE001
            _LOG.error("series cannot be recognised: %s", describe_fault(error), exc_info=error)
            return frozenset()
        return frozenset(series.kind for series in study.series)
