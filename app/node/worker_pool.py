"""One warm worker per GPU, or one for the CPU; jobs wait until one is free."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from app.node.warm_worker import WarmWorker

Answer = TypeVar("Answer")


class WorkerPool:
    """The workers of this machine.

    Args:
        environments: of each worker, in addition to that of this process.
        keep_warm_seconds: an idle worker is ended after this time.
        most_jobs: a worker is replaced after as many jobs.
    """

    def __init__(
        self,
        environments: list[Mapping[str, str]],
        keep_warm_seconds: float,
        most_jobs: int,
    ) -> None:
        self._free: queue.LifoQueue[_Keeper] = queue.LifoQueue()
        self._keepers = [
            _Keeper(WarmWorker(environment, most_jobs), keep_warm_seconds)
            for environment in environments
        ]
        for keeper in self._keepers:
            keeper.start()
            self._free.put(keeper)

    def __len__(self) -> int:
        return len(self._keepers)

    @property
    def pids(self) -> list[int]:
        """Of the worker processes that there are now."""
        return [pid for keeper in self._keepers if (pid := keeper.worker.pid) is not None]

    def use(self, task: Callable[[WarmWorker], Answer]) -> Answer:
        """Call ``task`` with a worker that is free, in the thread of that worker; waits for it."""
        keeper = self._free.get()
        try:
            return keeper.call(task)
        finally:
            self._free.put(keeper)


class _Keeper(threading.Thread):
    """The thread of one worker: the kernel ends a worker with the thread that started it."""

    def __init__(self, worker: WarmWorker, keep_warm_seconds: float) -> None:
        super().__init__(name="worker-keeper", daemon=True)
        self.worker = worker
        self._keep_warm_seconds = keep_warm_seconds
        self._tasks: queue.Queue[tuple[Callable[[WarmWorker], Any], Future[Any]]] = queue.Queue()

    def call(self, task: Callable[[WarmWorker], Answer]) -> Answer:
        answer: Future[Answer] = Future()
        self._tasks.put((task, answer))
        return answer.result()

    def run(self) -> None:
        while True:
            idle = None if self.worker.pid is None else self._keep_warm_seconds
            try:
                task, answer = self._tasks.get(timeout=idle)
            except queue.Empty:
                self.worker.end()
                continue
            try:
                answer.set_result(task(self.worker))
            # It is the caller's, whatever it is.
            except BaseException as error:  # noqa: BLE001
                answer.set_exception(error)
