"""A workflow manager orders a run of a real node, or schedules one for it to find (IHE AIW-I)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.uid import generate_uid

from app.node import history
from app.node.records import JobState, NodeJob
from tests.node.node_process import NodeProcess, free_port
from tests.node.peers import send
from tests.node.studies import study_uid, write_study
from tests.node.worklist_service import Manager, Service, manager_of, study_item, workitem

SECONDS = 240


@pytest.fixture(scope="module")
def worklist_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, worklist_port: int) -> Iterator[NodeProcess]:
    everybody = [{"ae_title": "*", "addresses": ["127.0.0.1"]}]
    settings = {
        "worklist": {"ae_title": "WORKLIST", "port": worklist_port, "allow": everybody},
        "completeness": [{"quiet_seconds": 2}],
        "routes": [{"name": "nobody", "when": {"calling_ae": ["NOBODY"]}}],
    }
    node = NodeProcess(tmp_path_factory.mktemp("site"), settings)
    node.start()
    yield node
    if node.running:
        node.kill()


def ended(manager: Manager, uid: str) -> str:
    deadline = time.monotonic() + SECONDS
    while (state := manager.get(uid).ProcedureStepState) not in ("COMPLETED", "CANCELED"):
        assert time.monotonic() < deadline, state
        time.sleep(0.2)
    return str(state)


def ordered(node: NodeProcess, study: str) -> list[NodeJob]:
    jobs = history.jobs(node.ledger(), limit=10)
    return [job for job in jobs if job.study_instance_uid == study and job.ordered_by]


def test_an_order_is_run_and_its_results_are_named(
    node: NodeProcess, worklist_port: int, tmp_path: Path
) -> None:
    study, files = study_uid(1), write_study(tmp_path / "study", 1)
    uid = str(generate_uid())
    with manager_of(worklist_port) as manager:
        # Ordered before its study arrives: it waits for it.
        assert manager.create(uid, workitem(InputInformationSequence=[study_item(study)])) == 0
        assert send(node.port, files) == set(files)
        assert ended(manager, uid) == "COMPLETED"
        (performed,) = manager.get(uid).UnifiedProcedureStepPerformedProcedureSequence
    named = {
        one.ReferencedSOPInstanceUID
        for series in performed.OutputInformationSequence
        for one in series.ReferencedSOPSequence
    }
    assert named
    (job,) = ordered(node, study)
    assert (job.state, job.pipelines) == (JobState.DONE, ("diffusion",))
    assert job.ordered_by.startswith("work item ")
    assert uid not in node.log.read_text()


def test_a_step_in_the_list_of_a_manager_is_found_and_run(tmp_path: Path) -> None:
    study, files = study_uid(3), write_study(tmp_path / "study", 3)
    uid = str(generate_uid())
    with Service(tmp_path / "manager", perform=False) as elsewhere:
        manager = {
            "ae_title": "WORKLIST",
            "host": "127.0.0.1",
            "port": elsewhere.worklist.port,
            "seconds_between_looks": 0.5,
        }
        settings = {
            "worklist": {"port": free_port(), "managers": {"ris": manager}},
            "completeness": [{"quiet_seconds": 2}],
            "routes": [{"name": "nobody", "when": {"calling_ae": ["NOBODY"]}}],
        }
        node = NodeProcess(tmp_path / "site", settings)
        node.start()
        try:
            with elsewhere.manager() as who:
                item = workitem(InputInformationSequence=[study_item(study)])
                assert who.create(uid, item) == 0
                assert send(node.port, files) == set(files)
                assert ended(who, uid) == "COMPLETED"
        finally:
            node.kill()
    performed = elsewhere.store.get(uid).data_set.UnifiedProcedureStepPerformedProcedureSequence
    assert performed[0].OutputInformationSequence
    assert uid not in node.log.read_text()


@pytest.mark.slow
def test_an_order_survives_the_end_of_the_node(
    node: NodeProcess, worklist_port: int, tmp_path: Path
) -> None:
    study, files = study_uid(2), write_study(tmp_path / "study", 2)
    send(node.port, files)
    uid = str(generate_uid())
    with manager_of(worklist_port) as manager:
        assert manager.create(uid, workitem(InputInformationSequence=[study_item(study)])) == 0
    node.kill()
    node.start()
    with manager_of(worklist_port) as manager:
        assert ended(manager, uid) == "COMPLETED"
    assert [job.state for job in ordered(node, study)] == [JobState.DONE]
