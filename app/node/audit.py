"""The audit trail: one JSON line for each object received, run, sent or removed, and by whom."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from app.node.arrival import Arrival
from app.node.audit_message import (
    APPLICATION_ACTIVITY,
    APPLICATION_START,
    APPLICATION_STOP,
    INSTANCES_ACCESSED,
    INSTANCES_TRANSFERRED,
    NODE_AUTHENTICATION,
    SECURITY_ALERT,
    STUDY_DELETED,
    AuditOutcome,
    Message,
    Participant,
    application,
    audit_message,
    destination,
    job_object,
    source,
    study_object,
)
from app.node.deliver.outcome import Outcome
from app.node.receive.channel import AssociationEvent

_LOG = logging.getLogger(__name__)
_CURRENT = "audit.jsonl"


class AuditTrail:
    """Appends to ``audit.jsonl``; full files get the time in their name and are kept.

    Several threads may write. Lines are handed to the operating system at once, so that a crash
    of the node loses none. An object may be told of twice, after a crash.

    Args:
        folder: made where it is missing; readable for this user only.
        name: of this node, as audit source.
        longest_bytes: after which a new file is begun.
        most_files: full files that are kept; None keeps all.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        longest_bytes: int = 64 * 1024 * 1024,
        most_files: int | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._name = name
        self._longest = longest_bytes
        self._most_files = most_files
        self._lock = threading.Lock()

    def started(self) -> None:
        """The node runs."""
        self._activity(APPLICATION_START)

    def stopped(self) -> None:
        """The node ends."""
        self._activity(APPLICATION_STOP)

    def _activity(self, event_type: dict[str, str]) -> None:
        self.write(
            [
                audit_message(
                    APPLICATION_ACTIVITY,
                    "E",
                    AuditOutcome.SUCCESS,
                    [application(self._name)],
                    self._name,
                    event_type=event_type,
                )
            ]
        )

    def received(self, arrivals: Iterable[Arrival]) -> None:
        """Objects are safely on disk."""
        self.write([self._receipt(arrival) for arrival in arrivals])

    def _receipt(self, arrival: Arrival) -> Message:
        description = ""
        if arrival.conflicting:
            description = "another object with this SOP Instance UID is kept beside it"
        elif arrival.repeated:
            description = "the same object had been received before"
        return audit_message(
            INSTANCES_TRANSFERRED,
            "U" if arrival.repeated or arrival.conflicting else "C",
            AuditOutcome.MINOR_FAILURE if arrival.conflicting else AuditOutcome.SUCCESS,
            [
                source(
                    arrival.calling_ae or arrival.transport,
                    arrival.peer_address,
                    is_requestor=True,
                ),
                destination(arrival.called_ae),
            ],
            self._name,
            [
                study_object(
                    arrival.study_instance_uid, [arrival.sop_instance_uid], arrival.sop_class_uid
                )
            ],
            description=description,
        )

    def association(self, event: AssociationEvent) -> None:
        """A sender was rejected, or one of its objects was refused; all else is left out."""
        if event.what not in ("rejected", "refused"):
            return
        rejected = event.what == "rejected"
        self.write(
            [
                audit_message(
                    SECURITY_ALERT if rejected else INSTANCES_TRANSFERRED,
                    "E" if rejected else "C",
                    AuditOutcome.SERIOUS_FAILURE,
                    [
                        source(event.calling_ae, event.peer_address, is_requestor=True),
                        destination(event.called_ae),
                    ],
                    self._name,
                    event_type=NODE_AUTHENTICATION if rejected else None,
                    description=event.reason,
                )
            ]
        )

    def delivered(
        self, target: str, outcomes: Iterable[Outcome], job_id: str, study_instance_uid: str
    ) -> None:
        """One attempt to deliver results of a job to a target, one message per object."""
        self.write(
            [
                audit_message(
                    INSTANCES_TRANSFERRED,
                    "R",
                    AuditOutcome.SUCCESS if outcome.arrived else AuditOutcome.SERIOUS_FAILURE,
                    [source(self._name, is_requestor=True), destination(target)],
                    self._name,
                    [
                        study_object(study_instance_uid, [outcome.sop_instance_uid]),
                        job_object(job_id),
                    ],
                    description=outcome.reason,
                )
                for outcome in outcomes
            ]
        )

    def ran(
        self,
        job_id: str,
        study_instance_uid: str,
        sop_instance_uids: Sequence[str],
        by: str,
        failure: str = "",
    ) -> None:
        """A job read objects.

        Args:
            job_id: of the job.
            study_instance_uid: of the study.
            sop_instance_uids: of the objects that it was given.
            by: rule, user or worklist that wanted it.
            failure: why it failed; empty where it did not.
        """
        self.write(
            [
                audit_message(
                    INSTANCES_ACCESSED,
                    "R",
                    AuditOutcome.SERIOUS_FAILURE if failure else AuditOutcome.SUCCESS,
                    [application(self._name), Participant(by, is_requestor=True)],
                    self._name,
                    [study_object(study_instance_uid, sop_instance_uids), job_object(job_id)],
                    description=failure,
                )
            ]
        )

    def asked(self, what: str, job_id: str, by: str, address: str = "") -> None:
        """A person asked for something: to cancel, run again or send again."""
        self.write(
            [
                audit_message(
                    APPLICATION_ACTIVITY,
                    "E",
                    AuditOutcome.SUCCESS,
                    [application(self._name), Participant(by, address, is_requestor=True)],
                    self._name,
                    [job_object(job_id)],
                    description=what,
                )
            ]
        )

    def removed(self, study_instance_uid: str, why: str) -> None:
        """The objects of a study were removed from this node."""
        self.write(
            [
                audit_message(
                    STUDY_DELETED,
                    "D",
                    AuditOutcome.SUCCESS,
                    [application(self._name)],
                    self._name,
                    [study_object(study_instance_uid)],
                    description=why,
                )
            ]
        )

    def write(self, messages: Sequence[Message]) -> None:
        """Append messages, one line each.

        A disk that refuses is told in the log: objects that are safe must not wait for it.
        """
        lines = "".join(json.dumps(message) + "\n" for message in messages).encode()
        try:
            with self._lock:
                self._append(lines)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            _LOG.error("%d messages are missing in the audit trail: %s", len(messages), reason)

    def _append(self, lines: bytes) -> None:
        if lines:
            current = self._folder / _CURRENT
            descriptor = os.open(current, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                rest = memoryview(lines)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
                is_full = os.fstat(descriptor).st_size >= self._longest
            finally:
                os.close(descriptor)
            if is_full:
                self._begin_another(current)

    def _begin_another(self, current: Path) -> None:
        time = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        current.rename(self._folder / f"audit-{time}.jsonl")
        if self._most_files is not None:
            full = sorted(self._folder.glob("audit-*.jsonl"))
            for old in full[: max(len(full) - self._most_files, 0)]:
                old.unlink()
