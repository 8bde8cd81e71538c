"""Runs one job on a worker: its input gathered from the spool, its results in a folder."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from app.batch import run_batch
from app.config import Settings
from app.job import Job
from app.job import now as iso_now
from app.logs import describe_fault
from app.node import history, jobs
from app.node.ledger import Ledger
from app.node.records import NodeJob
from app.node.settings import JobsSettings, NodeSettings
from app.node.warm_worker import WarmWorker, Watch
from app.node.worker_pool import WorkerPool
from app.pipelines import PIPELINES
from app.result_file import ResultFile
from app.result_folder import FolderInUseError, ResultFolder
from operators.inference.onnx_network import cuda_devices

_LOG = logging.getLogger(__name__)
_SECONDS_BETWEEN_QUESTIONS = 1.0
_SECONDS_TO_WAIT = 5.0
_LINKS_REFUSED = {errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK}


class MissingObjectsError(RuntimeError):
    """Objects of a job are not in the spool any more."""


class JobRunner:
    """Runs jobs in worker processes; see ``app.batch``, which does the same for one study.

    Args:
        ledger: where steps are noted.
        pool: of workers.
        folder: of the node.
        settings: of every run.
        models: folder of the networks.
        smallest_free_bytes: of disk, below which a job waits.
    """

    def __init__(
        self,
        ledger: Ledger,
        pool: WorkerPool,
        folder: Path,
        settings: Settings,
        models: Path,
        smallest_free_bytes: int = 0,
    ) -> None:
        self._ledger = ledger
        self._pool = pool
        self._folder = folder
        self._limits = settings.node.jobs
        # Addresses and secrets of the node are nothing for a worker or a result.
        self._settings = settings.model_copy(update={"node": NodeSettings()})
        self._models = models
        self._smallest_free_bytes = smallest_free_bytes

    @property
    def results(self) -> Path:
        """Folder of the results of every job."""
        return self._folder / "results"

    def stage(self, job: NodeJob) -> None:
        """Gather what the job takes, as hard links, so that nothing that arrives changes it.

        Raises:
            MissingObjectsError: not everything is there any more.
        """
        staging = self._staging(job)
        shutil.rmtree(staging, ignore_errors=True)
        objects = history.objects(self._ledger, job.collection, job.generation)
        missing = 0
        for stored in objects:
            source = self._folder / stored.path
            link = staging / source.parent.name / source.name
            link.parent.mkdir(parents=True, exist_ok=True)
            try:
                _link(source, link)
            except FileNotFoundError:
                missing += 1
        if missing or not objects:
            raise MissingObjectsError(
                f"{missing or 'all'} of {len(objects) or job.objects} received objects are not "
                "in the spool any more (node.retention); send the study again"
            )

    def run(self, job: NodeJob) -> ResultFile:
        """Run the staged job; returns what was published."""
        while True:
            self._await_disk()
            try:
                return self._run(job)
            except FolderInUseError:
                # A machine that was taken for dead is still at it.
                _LOG.warning("job waits for its result folder", extra={"job": job.id})
                time.sleep(_SECONDS_TO_WAIT)

    def clear(self, job: str) -> None:
        """Remove what ``stage`` gathered."""
        shutil.rmtree(self._folder / "jobs" / job, ignore_errors=True)

    def _run(self, job: NodeJob) -> ResultFile:
        def order(folder: ResultFolder) -> Job:
            return Job(
                input=self._staging(job).resolve(),
                objects=folder.staged_objects.resolve(),
                result=folder.staged_result.resolve(),
                models=self._models.resolve(),
                workdir=folder.staging.resolve(),
                pipelines=job.pipelines or tuple(PIPELINES),
                settings=self._settings,
                started=iso_now(),
                name=job.id,
            )

        def on_step(step: str, seconds: float | None) -> None:
            note = jobs.begin_step if seconds is None else jobs.end_step
            with _not_for_want_of_the_ledger(job.id):
                note(self._ledger, job.id, job.attempt, step)

        watch = Watch(
            on_step=on_step,
            why_stop=self._why_stop(job),
            seconds=self._limits.time_limit_seconds,
            memory=self._limits.memory_limit,
        )
        output = self.results / job.id
        return self._pool.use(
            lambda worker: run_batch(output, _Watched(worker, watch), order),
        )

    def _why_stop(self, job: NodeJob) -> Callable[[], str]:
        """Asks the ledger now and then whether the job was cancelled."""
        asked = 0.0

        def why() -> str:
            nonlocal asked
            if time.monotonic() - asked < _SECONDS_BETWEEN_QUESTIONS:
                return ""
            asked = time.monotonic()
            with _not_for_want_of_the_ledger(job.id):
                return "cancelled" if jobs.cancel_asked(self._ledger, job.id) else ""
            return ""

        return why

    def _await_disk(self) -> None:
        told = False
        while shutil.disk_usage(self._folder).free < self._smallest_free_bytes:
            if not told:
                _LOG.warning("jobs wait: the disk is nearly full")
                told = True
            time.sleep(_SECONDS_TO_WAIT)

    def _staging(self, job: NodeJob) -> Path:
        return self._folder / "jobs" / job.id


@contextmanager
def _not_for_want_of_the_ledger(job: str) -> Iterator[None]:
    """Let a job go on while the database is away: its result is what counts."""
    try:
        yield
    except SQLAlchemyError as error:
        _LOG.warning(
            "a job goes on without the ledger: %s", describe_fault(error), extra={"job": job}
        )


class _Watched:
    """A worker, with how this job is watched."""

    def __init__(self, worker: WarmWorker, watch: Watch) -> None:
        self._worker = worker
        self._watch = watch

    def work(self, job: bytes) -> int:
        return self._worker.work(job, self._watch)


def worker_environments(settings: JobsSettings) -> list[Mapping[str, str]]:
    """What tells each worker which device is its own."""
    devices = cuda_devices()
    workers = settings.workers or max(devices, 1)
    if devices < 2:
        return [{} for _ in range(workers)]
    return [{"CUDA_VISIBLE_DEVICES": str(number % devices)} for number in range(workers)]


def _link(source: Path, link: Path) -> None:
    try:
        os.link(source, link)
    except FileExistsError:
        # Two machines received the same object: both are kept, each by a name of its own.
        _link(source, link.with_stem(f"{link.stem}-again"))
    except OSError as error:
        if error.errno not in _LINKS_REFUSED:
            raise
        shutil.copyfile(source, link)
