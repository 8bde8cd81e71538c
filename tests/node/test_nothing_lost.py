"""Whatever is killed or cut off: what was acknowledged is run and delivered, or says why not."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from app.node import history
from app.node.ledger import Ledger
from app.node.records import ENDED, DeliveryState, JobState, NodeJob
from tests.node.node_process import NodeProcess, free_port, wait_for
from tests.node.peers import Archive, send, send_half
from tests.node.studies import OBJECTS, study_uid, write_study

_SEED = 7
_STUDIES_UNDER_WAY = 3


@dataclass
class Sender:
    """A scanner that keeps the node busy, and sends again what was not acknowledged.

    Attributes:
        acknowledged: SOP Instances of each study that were.
        cut: associations that were broken off on purpose.
    """

    node: NodeProcess
    folder: Path
    chance: random.Random
    acknowledged: dict[int, int] = field(default_factory=dict)
    cut: int = 0
    failure: BaseException | None = None

    def __post_init__(self) -> None:
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._guarded)

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        """Complete the study that is under way, then end."""
        self._closing.set()
        self._thread.join(180)
        assert self.failure is None, self.failure
        assert not self._thread.is_alive(), "the sender was not served"

    def _guarded(self) -> None:
        try:
            self._send_studies()
        # It is the test's to tell.
        except BaseException as error:  # noqa: BLE001
            self.failure = error

    def _send_studies(self) -> None:
        number = 0
        while not self._closing.is_set():
            number += 1
            rest = set(write_study(self.folder / str(number), number))
            self.acknowledged[number] = 0
            while rest:
                if self.chance.random() < 0.3:
                    self.cut += 1
                    with contextlib.suppress(OSError, RuntimeError):
                        send_half(self.node.port, min(rest))
                taken = send(self.node.port, sorted(rest), timeout=10)
                self.acknowledged[number] += len(taken)
                rest -= taken
                if rest:
                    time.sleep(0.2)
            while not self._closing.is_set() and self._under_way(number) >= _STUDIES_UNDER_WAY:
                time.sleep(0.2)

    def _under_way(self, sent: int) -> int:
        ledger = self.node.ledger()
        try:
            return sent - sum(job.state in ENDED for job in history.jobs(ledger, limit=1000))
        except OperationalError:
            return sent
        finally:
            ledger.close()


def settings_for(archive: Archive) -> dict:
    return {
        # Nothing but the whole study is complete, however long the node is down.
        "completeness": [{"objects": OBJECTS, "quiet_seconds": 3600}],
        "targets": {"archive": archive.target(seconds=10, back_off={"initial": 0.5, "longest": 3})},
        "routes": [{"name": "all", "pipelines": ["diffusion"], "targets": ["archive"]}],
    }


def kill_at_random_instants(folder: Path, kills: int, longest: float) -> None:
    chance = random.Random(_SEED)
    archive = Archive(free_port())
    archive.up()
    node = NodeProcess(folder / "site", settings_for(archive))
    node.start()
    sender = Sender(node, folder / "studies", random.Random(_SEED))
    sender.start()
    killed: Counter[str] = Counter()
    try:
        for number in range(kills):
            if number == kills // 4:
                archive.down()
            if number == kills // 2:
                archive.up()
            killed[kill_once(node, chance, longest)] += 1
        node.start()
        sender.finish()
        ledger = node.ledger()
        wait_for(lambda: all_ended(ledger, len(sender.acknowledged)), 300, lambda: summary(ledger))
        tell(sender, killed, archive, ledger)
        check(sender, archive, ledger)
        assert node.terminate() == 0
    finally:
        sender._closing.set()
        archive.down()
        if node.running:
            node.kill()


def kill_once(node: NodeProcess, chance: random.Random, longest: float) -> str:
    """Kill the node, or its worker, at a random instant; the node runs again afterwards."""
    if not node.running:
        node.launch()
    if chance.random() < 0.3:
        worker = wait_for_worker(node)
        if worker is not None:
            time.sleep(chance.uniform(0, longest))
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
            return "worker"
    # Short lives strike where it starts; long ones let work be done.
    if chance.random() < 0.3:
        time.sleep(chance.uniform(0, 5))
    else:
        node.start()
        time.sleep(chance.uniform(0, longest))
    node.kill()
    node.launch()
    return "node"


def wait_for_worker(node: NodeProcess, seconds: float = 20) -> int | None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and node.running:
        worker = node.worker()
        if worker is not None:
            return worker
        time.sleep(0.05)
    return None


def all_ended(ledger: Ledger, studies: int) -> bool:
    jobs = history.jobs(ledger, limit=1000)
    return len(jobs) >= studies and all(job.state in ENDED for job in jobs)


def summary(ledger: Ledger) -> list[tuple[str, str]]:
    return [(job.state, job.failure) for job in history.jobs(ledger, limit=1000)]


def check(sender: Sender, archive: Archive, ledger: Ledger) -> None:
    jobs = {job.study_instance_uid: job for job in history.jobs(ledger, limit=1000)}
    of_study: dict[str, set[str]] = {}
    for uid, study in archive.study_of.items():
        of_study.setdefault(study, set()).add(uid)
    numbers = set()
    for number, acknowledged in sender.acknowledged.items():
        job = jobs.pop(study_uid(number))
        assert acknowledged == OBJECTS == job.objects
        stored = history.objects(ledger, job.collection, job.generation)
        assert len({one.sop_instance_uid for one in stored}) == OBJECTS
        found = of_study.pop(study_uid(number), set())
        if job.state is JobState.DONE:
            sent = history.deliveries(ledger, job.id)
            assert {one.state for one in sent} == {DeliveryState.DELIVERED}
            assert {one.sop_instance_uid for one in sent} == found
            numbers.add(len(found))
        else:
            assert (job.state, bool(job.failure)) == (JobState.FAILED, True)
            assert found == set()
    # One set of UIDs for each study, and nothing that nobody sent.
    assert len(numbers) == 1
    assert (jobs, of_study) == ({}, {})


def tell(sender: Sender, killed: Counter[str], archive: Archive, ledger: Ledger) -> None:
    """Shown by pytest -s, and in failures."""
    jobs: list[NodeJob] = history.jobs(ledger, limit=1000)
    done = [job for job in jobs if job.state is JobState.DONE]
    reasons = Counter(job.failure for job in jobs if job.state is JobState.FAILED)
    objects = sum(sender.acknowledged.values())
    repeated = sum(count - 1 for count in archive.received.values())
    sys.stdout.write(
        f"killed: {dict(killed)}; associations cut off: {sender.cut}\n"
        f"{len(sender.acknowledged)} studies, {objects} objects acknowledged: "
        f"{len(done)} done, {sum(reasons.values())} failed, "
        f"{objects - OBJECTS * len(jobs)} objects lost\n"
        f"{len(archive.received)} results in the archive under as many SOP Instance UIDs, "
        f"{repeated} of them sent again after a kill\n"
        f"failed: {dict(reasons)}\n"
    )


def test_kills_at_a_few_random_instants(tmp_path: Path) -> None:
    kill_at_random_instants(tmp_path, kills=4, longest=6)


@pytest.mark.slow
def test_kills_at_fifty_random_instants(tmp_path: Path) -> None:
    kill_at_random_instants(tmp_path, kills=50, longest=20)
