"""Section ``node`` of ``app.yaml``: what is received, when it is complete, what is done with it."""

from __future__ import annotations

from datetime import time
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from app.node.deliver.settings import TargetSettings
from app.node.page.settings import PageSettings
from app.node.receive.settings import ReceiveSettings
from app.node.records import Priority
from app.node.worklist.settings import WorklistSettings
from app.pipelines import PIPELINES
from operators.ingest.settings import Conditions, Keyword
from operators.vocabulary.acquisition import SeriesKind


def _pipeline(name: str) -> str:
    if name not in PIPELINES:
        raise ValueError(f"is not a pipeline; give one of {', '.join(PIPELINES)}")
    return name


PipelineName = Annotated[str, AfterValidator(_pipeline)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class When(_Section):
    """What must hold of a study, or of a series where completeness is by series.

    Everything that is given must hold.

    Attributes:
        all: each of these holds.
        any: at least one of these holds.
        none: the negation: this does not hold (``not`` in the file).
        series: one series meets every condition; read from the first object of it.
        calling_ae: AE titles of which one sent objects of it.
        called_ae: AE titles of which one was called to receive objects of it.
        recognised: one series is recognised as this kind.
    """

    all: tuple[When, ...] = ()
    any: tuple[When, ...] = ()
    none: When | None = Field(default=None, alias="not")
    series: Conditions | None = None
    calling_ae: tuple[str, ...] = ()
    called_ae: tuple[str, ...] = ()
    recognised: SeriesKind | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("must give all, any, not, series, calling_ae, called_ae or recognised")
        return self


class CompletenessRule(_Section):
    """When what has arrived is taken as complete. Whatever comes first of what is given decides.

    Attributes:
        when: of which objects this rule speaks, by the first object of their series; all
            where it is left out. ``recognised`` cannot be asked here.
        of: whether the whole study is waited for, or each series for itself.
        quiet_seconds: after this time without a new object.
        after_series: once a series has arrived that meets each of these conditions, and
            ``settle_seconds`` have passed without a new object.
        settle_seconds: see ``after_series``.
        objects: once this many objects have arrived: a number, or the DICOM keyword that
            states it (such as NumberOfStudyRelatedInstances).
    """

    when: When | None = None
    of: Literal["study", "series"] = "study"
    quiet_seconds: float = Field(default=60, ge=0)
    after_series: tuple[Conditions, ...] = ()
    settle_seconds: float = Field(default=5, ge=0)
    objects: Annotated[int, Field(ge=1)] | Keyword | None = None

    @field_validator("when")
    @classmethod
    def _asks_no_kind(cls, when: When | None) -> When | None:
        if when is not None and _asks_kind(when):
            raise ValueError("recognised cannot be asked before the series is complete")
        return when


def _asks_kind(when: When) -> bool:
    below = (*when.all, *when.any, *((when.none,) if when.none else ()))
    return when.recognised is not None or any(map(_asks_kind, below))


class RouteRule(_Section):
    """What is done with a complete study or series. The first rule that matches decides.

    Attributes:
        name: shown in the history.
        when: what must hold; always matches where it is left out.
        pipelines: what runs; every pipeline where it is left out.
        priority: urgent jobs run first; off-peak ones wait for ``jobs.off_peak``.
        targets: where results go; they stay in the folder of results all the same.
    """

    name: str = Field(min_length=1)
    when: When | None = None
    pipelines: tuple[PipelineName, ...] = ()
    priority: Priority = Priority.NORMAL
    targets: tuple[str, ...] = ()


class OffPeak(_Section):
    """Local hours in which off-peak jobs may start; may reach over midnight."""

    begin: time = time(19)
    end: time = time(7)


class JobsSettings(_Section):
    """How jobs run.

    Attributes:
        workers: worker processes; null for one per GPU, or one where there is none.
        time_limit_seconds: a job that takes longer is ended and fails.
        memory_limit: bytes that a worker may hold (such as 8GiB); null for no limit.
        keep_warm_seconds: an idle worker is ended after this time, and its memory freed.
        jobs_per_worker: a worker is replaced after this many jobs.
        starts: a job that was interrupted this often, by ends of the node, fails.
        off_peak: when off-peak jobs may start.
    """

    workers: Annotated[int, Field(ge=1)] | None = None
    time_limit_seconds: float = Field(default=3600, gt=0)
    memory_limit: ByteSize | None = None
    keep_warm_seconds: float = Field(default=600, ge=0)
    jobs_per_worker: int = Field(default=50, ge=1)
    starts: int = Field(default=10, ge=1)
    off_peak: OffPeak = OffPeak()


class RetentionSettings(_Section):
    """What is removed, and when; never what still has to be run or delivered.

    Attributes:
        received_days: received objects, after the last job of their study has ended.
        results_days: results, after their job has ended.
        history_days: jobs that ended, with their steps and deliveries.
        free_fraction: below this share of free disk the oldest received objects, and then the
            oldest results, of finished jobs go earlier.
    """

    received_days: float = Field(default=7, ge=0)
    results_days: float = Field(default=30, ge=0)
    history_days: float = Field(default=365, ge=0)
    free_fraction: float = Field(default=0.15, ge=0, lt=1)


class NodeSettings(_Section):
    """The whole section.

    Attributes:
        folder: spool, results and, without ``database``, the ledger; several machines that
            share a database share this folder too.
        database: ``postgresql://USER:PASSWORD@HOST/DATABASE``; null for SQLite in ``folder``.
            The environment variable QUANTMAP_DATABASE goes before it.
        name: of this machine among those that share the database; its host name without.
        receive: who may send, over what, and how much.
        worklist: takes orders as Unified Procedure Steps; null for no worklist.
        completeness: the first rule that fits decides.
        targets: where results can go, by name.
        routes: the first rule that matches decides.
        jobs: how jobs run.
        page: the web page, and the interfaces over HTTP.
        retention: what is removed, and when.
        shutdown_seconds: running jobs may take this long to finish when the node is to end;
            then they are interrupted, and run again at the next start.
    """

    folder: Path = Path("node")
    database: str | None = None
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] | None = None
    receive: ReceiveSettings = ReceiveSettings()
    worklist: WorklistSettings | None = None
    completeness: tuple[CompletenessRule, ...] = ()
    targets: dict[str, TargetSettings] = {}
    routes: tuple[RouteRule, ...] = (RouteRule(name="everything"),)
    jobs: JobsSettings = JobsSettings()
    page: PageSettings = PageSettings()
    retention: RetentionSettings = RetentionSettings()
    shutdown_seconds: float = Field(default=30, ge=0)

    @field_validator("routes")
    @classmethod
    def _targets_exist(
        cls, routes: tuple[RouteRule, ...], info: ValidationInfo
    ) -> tuple[RouteRule, ...]:
        known = info.data.get("targets")
        if known is None:  # they were refused themselves
            return routes
        unknown = [
            InitErrorDetails(
                type=PydanticCustomError(
                    "unknown_target",
                    "is not a target; give one of {known}",
                    {"known": ", ".join(known) or "node.targets, which has none"},
                ),
                loc=(index, "targets", place),
                input=target,
            )
            for index, route in enumerate(routes)
            for place, target in enumerate(route.targets)
            if target not in known
        ]
        if unknown:
            # Raised with its place, so that the line of the rule can be said.
            raise ValidationError.from_exception_data("routes", unknown)
        names = [route.name for route in routes]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two rules are named {name!r}")
        return routes
