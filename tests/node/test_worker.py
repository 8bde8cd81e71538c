"""The warm worker: one process for job after job, and what becomes of it when one goes wrong."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.batch import run_batch
from app.config import DEFAULT_MODELS, Settings
from app.job import Job, now
from app.node.warm_worker import WarmWorker, Watch
from app.node.worker_pool import WorkerPool
from app.result_file import ResultFile, RunStatus
from app.result_folder import ResultFolder
from tests.node.node_process import FEW_OBJECTS, wait_for
from tests.node.studies import write_study

SETTINGS = Settings.model_validate({"device": "cpu", "results": FEW_OBJECTS})


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    pool = WorkerPool([{}], keep_warm_seconds=600, most_jobs=3)
    yield pool
    pool.use(WarmWorker.end)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    write_study(folder, 1)
    return folder


class _Watched:
    def __init__(self, worker: WarmWorker, watch: Watch) -> None:
        self._worker, self._watch = worker, watch

    def work(self, job: bytes) -> int:
        return self._worker.work(job, self._watch)


@pytest.fixture
def run(pool: WorkerPool, study: Path, tmp_path: Path) -> Callable[..., ResultFile]:
    """Run the study; gives what was published."""

    def run(
        *,
        seconds: float = 120,
        memory: int | None = None,
        why_stop: Callable[[], str] = lambda: "",
        steps: list[tuple[str, float | None]] | None = None,
    ) -> ResultFile:
        told = [] if steps is None else steps

        def order(folder: ResultFolder) -> Job:
            return Job(
                input=study,
                objects=folder.staged_objects.resolve(),
                result=folder.staged_result.resolve(),
                models=DEFAULT_MODELS,
                workdir=folder.staging.resolve(),
                pipelines=("diffusion",),
                settings=SETTINGS,
                started=now(),
                name="job",
            )

        watch = Watch(lambda *step: told.append(step), why_stop, seconds, memory)
        out = tmp_path / "out"
        return pool.use(lambda worker: run_batch(out, _Watched(worker, watch), order))

    return run


class TestWhenSomethingGoesWrong:
    def test_a_job_that_takes_too_long_fails_with_that_reason(self, run, pool) -> None:
        result = run(seconds=0.5)
        assert (result.status, result.outputs) == (RunStatus.FAILED, ())
        assert "longer than 0.5 s" in result.failure
        assert pool.pids == []

    def test_a_job_that_needs_too_much_memory_fails_with_that_reason(self, run, pool) -> None:
        result = run(memory=20 * 2**20)
        assert result.status is RunStatus.FAILED
        assert "memory_limit" in result.failure
        assert pool.pids == []

    def test_a_job_that_is_to_stop_fails_with_the_reason_given(self, run) -> None:
        assert run(why_stop=lambda: "cancelled").failure == "cancelled"

    def test_a_kill_fails_the_job_and_says_so(self, run, pool) -> None:
        def kill() -> None:
            wait_for(lambda: bool(pool.pids), 20, lambda: "no worker")
            os.kill(pool.pids[0], signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        result = run()
        killer.join()
        assert result.status is RunStatus.FAILED
        assert "SIGKILL" in result.failure

    def test_a_fault_of_who_watches_does_not_reach_the_next_job(self, run, pool) -> None:
        def fault() -> str:
            raise LookupError

        with pytest.raises(LookupError):
            run(why_stop=fault)
        assert pool.pids == []
        assert run().status is RunStatus.SUCCESS
        pool.use(WarmWorker.end)


def test_one_process_takes_job_after_job_and_is_replaced_after_some(run, pool) -> None:
    steps: list[tuple[str, float | None]] = []
    pids, results = [], []
    for _ in range(4):
        results.append(run(steps=steps))
        pids += pool.pids
    assert [result.status for result in results] == [RunStatus.SUCCESS] * 4
    # The fixture asks for a new one after three.
    assert [pid == pids[0] for pid in pids] == [True, True, True, False]
    assert len({result.outputs for result in results}) == 1
    begun = [name for name, seconds in steps if seconds is None]
    ended = [name for name, seconds in steps if seconds is not None]
    assert begun == ended
    assert begun.count("diffusion") == 4


def test_an_idle_worker_is_ended_and_its_memory_freed() -> None:
    pool = WorkerPool([{}], keep_warm_seconds=0.3, most_jobs=9)
    pool.use(WarmWorker.start)
    wait_for(lambda: pool.pids == [], 20, lambda: "it is kept for ever")
