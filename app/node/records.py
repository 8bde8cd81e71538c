"""What the ledger knows, as small values. Times are seconds since 1970 (UTC); 0 where not yet."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CollectionState(StrEnum):
    """Whether more is awaited. ``REMOVED``: the files are gone by the rules of retention."""

    OPEN = "open"
    COMPLETE = "complete"
    REMOVED = "removed"


class JobState(StrEnum):
    """Where a job stands. ``SKIPPED``: no rule wanted the study; ``why`` says so."""

    QUEUED = "queued"
    RUNNING = "running"
    DELIVERING = "delivering"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


ENDED = (JobState.DONE, JobState.FAILED, JobState.SKIPPED, JobState.CANCELLED)
"""States that a job does not leave, but for a re-sent delivery."""


class DeliveryState(StrEnum):
    """Where one object stands with one target.

    ``COMMITTED``: the target has also committed itself to keep it (storage commitment).
    """

    WAITING = "waiting"
    DELIVERED = "delivered"
    COMMITTED = "committed"
    FAILED = "failed"


class Priority(StrEnum):
    """In which order jobs run; ``OFF_PEAK`` also waits for the configured hours."""

    URGENT = "urgent"
    NORMAL = "normal"
    OFF_PEAK = "off-peak"


@dataclass(frozen=True)
class Collection:
    """Objects that are waited for together: a study, or one series of it.

    Attributes:
        key: Study Instance UID, with "/" and Series Instance UID for a single series.
        generation: counts the completions; late arrivals start the next.
        forced: somebody asked to take it as complete.
        because: why it was taken as complete.
    """

    key: str
    study_instance_uid: str
    series_instance_uid: str
    accession_number: str
    state: CollectionState
    generation: int
    objects: int
    first_received: float
    last_received: float
    forced: bool
    because: str


@dataclass(frozen=True)
class Series:
    """One series of a collection; ``first_path`` is relative to the spool."""

    series_instance_uid: str
    study_instance_uid: str
    collection: str
    number: int | None
    modality: str
    description: str
    first_path: str


@dataclass(frozen=True)
class StoredObject:
    """One received object.

    Attributes:
        path: relative to the spool.
        transport: "dimse", "stow" or "folder".
        conflicting: another object came before it under the same SOP Instance UID.
    """

    path: str
    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    study_instance_uid: str
    collection: str
    generation: int
    bytes: int
    calling_ae: str
    called_ae: str
    address: str
    transport: str
    conflicting: bool
    received: float


@dataclass(frozen=True)
class NodeJob:
    """One run over one collection.

    Attributes:
        generation: takes what arrived up to this generation of the collection.
        rule: name of the routing rule.
        why: how the rule came to match, or why none did.
        pipelines: names; empty for all.
        targets: names of those that get the results.
        not_before: of an off-peak job.
        changed: when ``state`` changed last.
        rerun_of: job that this one repeats, or "".
        ordered_by: who asked for it, where no arrival did (a user, a UPS).
        result_folder: relative to the folder of results.
        result_status: ``RunStatus`` of its ``result.json``, or "".
        failure: why it failed.
        models: SHA-256 of each network, by file.
        cancel: somebody asked to cancel it.
    """

    id: str
    collection: str
    generation: int
    study_instance_uid: str
    series_instance_uid: str
    accession_number: str
    state: JobState
    priority: Priority
    rule: str
    why: str
    pipelines: tuple[str, ...]
    targets: tuple[str, ...]
    objects: int
    created: float
    not_before: float
    started: float
    finished: float
    changed: float
    attempt: int
    rerun_of: str
    ordered_by: str
    machine: str
    result_folder: str
    result_status: str
    failure: str
    models: dict[str, str]
    cancel: bool


@dataclass(frozen=True)
class Step:
    """One step of one attempt of a job."""

    job: str
    attempt: int
    name: str
    started: float
    finished: float
    detail: str


@dataclass(frozen=True)
class Delivery:
    """One result object of a job on its way to one target.

    Attributes:
        path: relative to the folder of results.
        kind: as in ``result.json``.
        reason: of the last failed try, or a warning of the target.
    """

    job: str
    target: str
    sop_instance_uid: str
    sop_class_uid: str
    kind: str
    path: str
    state: DeliveryState
    attempts: int
    first_try: float
    last_try: float
    next_try: float
    reason: str


@dataclass(frozen=True)
class Machine:
    """A node process that shares the ledger."""

    name: str
    started: float
    seen: float
    workers: int
    version: str
