"""Two machines share the work through one PostgreSQL and one folder; one of them dies."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.node import history
from app.node.ledger import Ledger
from app.node.records import DeliveryState, JobState
from tests.node.database import PROGRAMS, cluster, new_database
from tests.node.node_process import NodeProcess, ended_jobs, free_port, states, wait_for
from tests.node.peers import Archive, send
from tests.node.studies import OBJECTS, study_uid, write_study

_STUDIES = 8


@dataclass(frozen=True)
class Machine:
    """A network namespace: its name, our address on the wire to it, and its own."""

    name: str
    here: str
    there: str


def ip(*command: str, check: bool = True) -> None:
    subprocess.run(["ip", *command], check=check, capture_output=True)


@pytest.fixture
def machines(tool: Callable[[str], str]) -> Iterator[list[Machine]]:
    tool("ip")
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    made = [Machine(f"quantmap{n}", f"10.177.{n}.1", f"10.177.{n}.2") for n in (1, 2)]
    try:
        for machine in made:
            remove(machine)
            ours, theirs = f"{machine.name}h", f"{machine.name}c"
            ip("netns", "add", machine.name)
            ip("link", "add", ours, "type", "veth", "peer", "name", theirs)
            ip("link", "set", theirs, "netns", machine.name)
            ip("addr", "add", f"{machine.here}/24", "dev", ours)
            ip("link", "set", ours, "up")
            inside = ("netns", "exec", machine.name, "ip")
            ip(*inside, "addr", "add", f"{machine.there}/24", "dev", theirs)
            ip(*inside, "link", "set", theirs, "up")
            ip(*inside, "link", "set", "lo", "up")
            # Both reach the database and the archive by the first machine's wire or their own.
            ip(*inside, "route", "add", "default", "via", machine.here)
        yield made
    finally:
        for machine in made:
            remove(machine)


def remove(machine: Machine) -> None:
    ip("link", "del", f"{machine.name}h", check=False)
    ip("netns", "del", machine.name, check=False)


def node_on(machine: Machine, folder: Path, archive: Archive, database: str) -> NodeProcess:
    host = machine.here
    return NodeProcess(
        folder / machine.name,
        {
            "folder": str(folder / "shared"),
            "name": machine.name,
            "receive": {
                "host": machine.there,
                "allow": [{"ae_title": "SCANNER", "addresses": [f"{host}/32"]}],
            },
            "completeness": [{"objects": OBJECTS, "quiet_seconds": 3600}],
            "targets": {"archive": archive.target(host, back_off={"initial": 0.5, "longest": 2})},
            "routes": [{"name": "all", "pipelines": ["diffusion"], "targets": ["archive"]}],
        },
        environment={"QUANTMAP_DATABASE": database},
        before=["ip", "netns", "exec", machine.name],
    )


def started(ledger: Ledger) -> Counter[str]:
    """Jobs that each machine has started."""
    return Counter(job.machine for job in history.jobs(ledger, limit=1000) if job.machine)


def test_the_work_is_spread_and_survives_the_death_of_a_machine(
    machines: list[Machine], tmp_path: Path, tool: Callable[[str], str]
) -> None:
    if not (PROGRAMS / "initdb").exists():
        tool("initdb")
    archive = Archive(free_port(), host="0.0.0.0")
    addresses = ",".join(["127.0.0.1", *(machine.here for machine in machines)])
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(cluster(addresses, trusted="10.177.0.0/16")).port
        here = new_database(port, "shared")
        stack.callback(archive.down)
        archive.up()
        nodes = [
            node_on(
                machine,
                tmp_path,
                archive,
                f"postgresql://quantmap@{machine.here}:{port}/shared",
            )
            for machine in machines
        ]
        for node in nodes:
            stack.callback(lambda node=node: node.running and node.kill())
            node.start()
        first, second = nodes
        # Everything is sent to the first, which is killed while jobs run and others wait.
        for number in range(1, _STUDIES + 1):
            files = write_study(tmp_path / "studies" / str(number), number)
            taken = send(first.port, files, host=machines[0].there)
            assert len(taken) == OBJECTS
        ledger = Ledger(here)
        wait_for(
            lambda: set(started(ledger)) == {"quantmap1", "quantmap2"},
            120,
            lambda: states(ledger),
        )
        wait_for(lambda: runs_on(ledger, "quantmap1"), 120, lambda: states(ledger))
        time.sleep(0.5)
        before = started(ledger)
        first.kill()
        jobs = ended_jobs(ledger, _STUDIES, seconds=240)
        sys.stdout.write(
            f"started before the kill: {dict(before)}; ended on: "
            f"{dict(Counter(job.machine for job in jobs))}\n"
        )
        assert {job.state for job in jobs} == {JobState.DONE}, states(ledger)
        assert {job.study_instance_uid for job in jobs} == {
            study_uid(number) for number in range(1, _STUDIES + 1)
        }
        expected = {
            delivery.sop_instance_uid
            for job in jobs
            for delivery in history.deliveries(ledger, job.id)
            if delivery.state is DeliveryState.DELIVERED
        }
        assert set(archive.received) == expected
        assert second.terminate() == 0
        ledger.close()


def runs_on(ledger: Ledger, machine: str) -> bool:
    return any(
        job.machine == machine and job.state is JobState.RUNNING for job in history.queue(ledger)
    )
