"""The database goes away and comes back: nothing that was acknowledged is lost."""

from __future__ import annotations

import contextlib
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.node import history
from app.node.ledger import Ledger
from app.node.records import DeliveryState, JobState
from tests.node.database import PROGRAMS, Cluster, cluster, new_database
from tests.node.node_process import NodeProcess, ended_jobs, free_port, states, wait_for
from tests.node.peers import Archive, send
from tests.node.studies import OBJECTS, study_uid, write_study


@dataclass(frozen=True)
class Site:
    """A node with its archive and its database."""

    node: NodeProcess
    archive: Archive
    database: Cluster
    ledger: Ledger
    page: int

    def readiness(self) -> int:
        """Status that says whether anything keeps the node from working."""
        try:
            address = f"http://127.0.0.1:{self.page}/readyz"
            with urllib.request.urlopen(address, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def assert_all_arrived(self, studies: int) -> None:
        """Every study was analysed, once, and its results are in the archive."""
        jobs = ended_jobs(self.ledger, studies, seconds=180)
        assert {job.state for job in jobs} == {JobState.DONE}, states(self.ledger)
        assert sorted(job.study_instance_uid for job in jobs) == [
            study_uid(number) for number in range(1, studies + 1)
        ]
        delivered = [
            delivery
            for job in jobs
            for delivery in history.deliveries(self.ledger, job.id)
            if delivery.state is DeliveryState.DELIVERED
        ]
        assert delivered
        assert {one.sop_instance_uid for one in delivered} == set(self.archive.received)


@pytest.fixture
def site(tmp_path: Path, tool: Callable[[str], str]) -> Iterator[Site]:
    if not (PROGRAMS / "initdb").exists():
        tool("initdb")
    archive, page = Archive(free_port()), free_port()
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(cluster())
        url = new_database(database.port, "node")
        stack.callback(archive.down)
        archive.up()
        node = NodeProcess(
            tmp_path / "site",
            {
                "page": {"enabled": True, "port": page},
                "completeness": [{"objects": OBJECTS, "quiet_seconds": 3600}],
                "targets": {"archive": archive.target(back_off={"initial": 0.5, "longest": 2})},
                "routes": [{"name": "all", "pipelines": ["diffusion"], "targets": ["archive"]}],
            },
            environment={"QUANTMAP_DATABASE": url},
        )
        stack.callback(lambda: node.running and node.kill())
        node.start()
        ledger = Ledger(url)
        stack.callback(ledger.close)
        yield Site(node, archive, database, ledger, page)


def test_what_was_acknowledged_while_the_database_was_away_is_analysed(
    site: Site, tmp_path: Path
) -> None:
    assert len(send(site.node.port, write_study(tmp_path / "1", 1))) == OBJECTS
    ended_jobs(site.ledger, 1)
    assert site.readiness() == 200

    site.database.stop()
    # The spool is on the node's own disk: what lies there is acknowledged.
    assert len(send(site.node.port, write_study(tmp_path / "2", 2), timeout=60)) == OBJECTS
    assert site.readiness() == 503
    assert site.node.running
    site.database.start()
    wait_for(lambda: site.readiness() == 200, 60, lambda: site.node.lines()[-5:])
    site.assert_all_arrived(2)
    assert site.node.terminate() == 0


@pytest.mark.parametrize("away", [0.0, 15.0])
def test_a_job_that_ran_when_the_database_went_away_ends(
    site: Site, tmp_path: Path, away: float
) -> None:
    for number in (1, 2, 3):
        files = write_study(tmp_path / str(number), number)
        assert len(send(site.node.port, files)) == OBJECTS

    def is_running() -> bool:
        return any(job.state is JobState.RUNNING for job in history.queue(site.ledger))

    wait_for(is_running, 60, lambda: states(site.ledger))
    site.database.stop()
    # Long enough for the job to end meanwhile.
    time.sleep(away)
    site.database.start()
    site.assert_all_arrived(3)
    assert site.node.running
    assert site.node.terminate() == 0
