"""Brings results to targets, and says when to try again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from app.node import deliveries, history
from app.node.audit import AuditTrail
from app.node.deliver.outcome import Outcome, OutcomeState
from app.node.deliver.settings import TargetSettings
from app.node.ledger import Ledger, now
from app.node.records import Delivery, DeliveryState

_LOG = logging.getLogger(__name__)


Deliver = Callable[[TargetSettings, Sequence[Path]], Sequence[Outcome]]
"""Offers files to a target: one outcome for each, in their order."""


class Courier:
    """Tries deliveries; each try is noted.

    Args:
        ledger: where.
        results: folder of the results of every job.
        targets: settings of each target, by name.
        deliver: offers files to a target.
        audit: is told of each try.
    """

    def __init__(
        self,
        ledger: Ledger,
        results: Path,
        targets: Mapping[str, TargetSettings],
        deliver: Deliver,
        audit: AuditTrail,
    ) -> None:
        self._ledger = ledger
        self._results = results
        self._targets = targets
        self._deliver = deliver
        self._audit = audit

    def bring(self, job: str, target: str) -> float | None:
        """Offer a target what it has not got of a job.

        Returns:
            seconds after which to try again; None where there is nothing left to try.
        """
        waiting = deliveries.waiting(self._ledger, job, target)
        if not waiting:
            return None
        settings = self._targets.get(target)
        if settings is None:
            self._give_up(waiting, "there is no such target any more (node.targets)")
            return None
        present = [entry for entry in waiting if (self._results / entry.path).is_file()]
        self._give_up(
            [entry for entry in waiting if entry not in present],
            "the file is gone (node.retention); run the job again",
        )
        outcomes = self._deliver(settings, [self._results / entry.path for entry in present])
        found = history.job(self._ledger, job)
        study = "" if found is None else found.study_instance_uid
        self._audit.delivered(target, outcomes, job, study)
        delays = [
            self._note(settings, entry, outcome)
            for entry, outcome in zip(present, outcomes, strict=True)
        ]
        return min((delay for delay in delays if delay is not None), default=None)

    def _note(self, settings: TargetSettings, entry: Delivery, outcome: Outcome) -> float | None:
        """Note one outcome; seconds until the next try, or None."""
        if outcome.arrived:
            state = DeliveryState(outcome.state.value)
            deliveries.note_try(self._ledger, entry, state, outcome.reason)
            return None
        if outcome.state is OutcomeState.PERMANENT:
            self._give_up([entry], outcome.reason)
            return None
        elapsed = now() - entry.first_try if entry.first_try else 0.0
        delay = settings.back_off.delay(entry.attempts + 1, elapsed)
        if delay is None:
            self._give_up([entry], f"gave up after {entry.attempts + 1} tries: {outcome.reason}")
            return None
        deliveries.note_try(
            self._ledger, entry, DeliveryState.WAITING, outcome.reason, now() + delay
        )
        return delay

    def _give_up(self, entries: Sequence[Delivery], reason: str) -> None:
        for entry in entries:
            deliveries.note_try(self._ledger, entry, DeliveryState.FAILED, reason)
