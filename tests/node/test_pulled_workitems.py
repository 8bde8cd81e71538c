"""Steps of a workflow manager's own list: found, claimed, run, reported (IHE AI Workflow, pull)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from app.node.records import JobState
from app.node.worklist import puller as pulling
from app.node.worklist.manager import ManagersList, ManagerUnavailableError
from app.node.worklist.order import WorkOrder
from app.node.worklist.puller import Puller
from app.node.worklist.settings import ManagerSettings, WorklistSettings
from app.node.worklist.workitem import StepState
from app.node.worklist.workitem_store import WorkitemStore
from tests.node.node_process import free_port
from tests.node.worklist_service import TARGETS, MadeJobs, Service, code_item, workitem


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Service]:
    """A workflow manager with a list of its own: ours, which performs nothing here."""
    with Service(tmp_path / "manager", perform=False) as running:
        yield running


class Node:
    """The performing node, restarted as often as a test likes."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.jobs = MadeJobs()
        there = ManagerSettings(ae_title="WORKLIST", host="127.0.0.1", port=port, seconds=5)
        self.settings = WorklistSettings(managers={"ris": there})
        self.start()

    def start(self) -> None:
        self.store = WorkitemStore(self.folder)
        self.puller = Puller(self.settings, self.store, self.jobs, TARGETS, "node-1")

    def look(self) -> None:
        self.puller.look("ris")

    @property
    def states(self) -> list[StepState]:
        return [item.state for item in self.store.all()]

    def set_jobs(self, state: JobState) -> None:
        self.jobs.states = dict.fromkeys(self.jobs.states, state)


@pytest.fixture
def node(manager: Service, tmp_path: Path) -> Node:
    return Node(tmp_path / "pulled", manager.worklist.port)


def scheduled(manager: Service, attributes: Dataset | None = None) -> str:
    uid = str(generate_uid())
    with manager.manager() as who:
        assert who.create(uid, attributes or workitem()) == 0
    return uid


def test_a_step_is_claimed_run_and_completed(manager: Service, node: Node) -> None:
    uid = scheduled(manager)
    node.look()
    assert manager.store.get(uid).state is StepState.IN_PROGRESS
    ((_, order),) = node.jobs.orders.items()
    assert (order.study_instance_uid, order.pipelines) == ("1.2.3.4", ("diffusion",))
    node.set_jobs(JobState.RUNNING)
    node.look()
    progress = manager.store.get(uid).progress()
    assert progress.ProcedureStepProgressDescription == "running"
    node.set_jobs(JobState.DONE)
    node.look()
    found = manager.store.get(uid)
    assert found.state is StepState.COMPLETED
    (performed,) = found.data_set.UnifiedProcedureStepPerformedProcedureSequence
    (output,) = performed.OutputInformationSequence
    assert len(output.ReferencedSOPSequence) == 3
    assert performed.PerformedStationNameCodeSequence[0].CodeValue == "node-1"
    node.look()
    assert len(node.jobs.orders) == 1, "what has ended is left alone"
    assert node.states == [StepState.COMPLETED]


def test_a_failed_run_cancels_it_with_the_reason(manager: Service, node: Node) -> None:
    uid = scheduled(manager)
    node.look()
    node.jobs.failure = "the gradient table has five directions"
    node.set_jobs(JobState.FAILED)
    node.look()
    found = manager.store.get(uid)
    assert found.state is StepState.CANCELED
    assert found.progress().ReasonForCancellation == node.jobs.failure


@pytest.mark.parametrize(
    "changes",
    [
        {"ScheduledWorkitemCodeSequence": []},
        {"ScheduledWorkitemCodeSequence": [code_item("110005", "DCM")]},
        {"InputReadinessState": "INCOMPLETE"},
        {"InputInformationSequence": [Dataset()]},
    ],
    ids=["no code", "a reading", "input incomplete", "no study"],
)
def test_what_is_not_for_this_node_is_left(
    manager: Service, node: Node, changes: dict[str, object]
) -> None:
    attributes = workitem(**changes)
    uid = scheduled(manager, attributes)
    node.look()
    assert manager.store.get(uid).state is StepState.SCHEDULED
    assert not node.jobs.orders
    assert not node.states


def test_a_step_waits_until_its_study_is_here(manager: Service, node: Node) -> None:
    uid = scheduled(manager)
    node.jobs.received = False
    node.look()
    assert manager.store.get(uid).state is StepState.SCHEDULED
    node.jobs.received = True
    node.look()
    assert manager.store.get(uid).state is StepState.IN_PROGRESS


def test_only_one_of_two_nodes_gets_a_step(manager: Service, node: Node, tmp_path: Path) -> None:
    other = Node(tmp_path / "other", manager.worklist.port)
    uid = scheduled(manager)
    node.look()
    # As it happens where both have asked for the list before either claims.
    with pulling.managers_list(other.settings.managers["ris"]) as remote:
        data_set = Dataset.from_json(manager.store.get(uid).data_set.to_json())
        other.puller._consider(remote, "ris", data_set)
    assert (len(node.jobs.orders), len(other.jobs.orders)) == (1, 0)
    assert not other.states


@contextmanager
def answers_lost(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The manager does what it is asked for, and the line goes down before its answer."""
    change_state = ManagersList.change_state

    def without_answer(self: ManagersList, *arguments: object) -> None:
        change_state(self, *arguments)  # type: ignore[arg-type]
        raise ManagerUnavailableError("the line went down")

    with monkeypatch.context() as changed:
        changed.setattr(ManagersList, "change_state", without_answer)
        yield


def test_a_claim_whose_answer_was_lost_is_still_its_own(
    manager: Service, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = scheduled(manager)
    with answers_lost(monkeypatch):
        node.look()
    assert manager.store.get(uid).state is StepState.IN_PROGRESS
    assert node.states == [StepState.SCHEDULED]
    node.start()
    node.look()
    assert node.states == [StepState.IN_PROGRESS]
    assert len(node.jobs.orders) == 1


def test_an_end_whose_answer_was_lost_is_no_fault(
    manager: Service,
    node: Node,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    uid = scheduled(manager)
    node.look()
    node.set_jobs(JobState.DONE)
    with answers_lost(monkeypatch):
        node.look()
    assert node.states == [StepState.IN_PROGRESS]
    node.look()
    assert node.states == [StepState.COMPLETED]
    assert manager.store.get(uid).state is StepState.COMPLETED
    assert "cannot be ended" not in caplog.text


def test_a_manager_that_is_away_is_told_later(
    manager: Service, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    uid = scheduled(manager)
    node.look()
    node.set_jobs(JobState.DONE)
    away = node.settings.managers["ris"].model_copy(update={"port": free_port()})
    node.puller._settings = WorklistSettings(managers={"ris": away})
    node.look()
    assert "is not available" in caplog.text
    assert node.states == [StepState.IN_PROGRESS]
    node.start()
    node.look()
    assert manager.store.get(uid).state is StepState.COMPLETED


def test_a_step_that_the_manager_ends_itself_cancels_the_job(manager: Service, node: Node) -> None:
    uid = scheduled(manager)
    node.look()
    with manager.manager() as who:
        transaction = manager.store.get(uid).transaction_uid
        assert who.change_state(uid, "CANCELED", transaction) == 0
    node.look()
    assert list(node.jobs.states.values()) == [JobState.CANCELLED]
    assert node.states == [StepState.CANCELED]


def test_a_step_that_can_no_longer_be_performed_is_given_back(
    manager: Service, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = scheduled(manager)
    with monkeypatch.context() as killed:
        killed.setattr(Puller, "_order", lambda *_: None)
        node.look()
    assert manager.store.get(uid).state is StepState.IN_PROGRESS
    data_set = node.store.get(uid).data_set
    data_set.ScheduledWorkitemCodeSequence = [code_item("GONE", "SITE")]
    node.look()
    found = manager.store.get(uid)
    assert found.state is StepState.CANCELED
    assert "not known here" in found.progress().ReasonForCancellation


def test_one_step_that_goes_wrong_holds_up_no_other(
    manager: Service, node: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = scheduled(manager), scheduled(manager)
    order = node.jobs.order
    with monkeypatch.context() as broken:

        def only_second(wanted: WorkOrder, uid: str) -> str:
            if uid == first:
                raise OSError("no room")
            return order(wanted, uid)

        broken.setattr(node.jobs, "order", only_second)
        node.look()
    assert list(node.jobs.orders) == [f"job of {second}"]
    assert "worklist ris" in caplog.text
    node.look()
    assert len(node.jobs.orders) == 2


def test_a_manager_that_is_no_longer_named_is_missed(
    manager: Service, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    scheduled(manager)
    node.look()
    node.settings = WorklistSettings()
    node.start()
    node.puller._stopping.set()
    node.puller.run()
    assert "names no more" in caplog.text


def test_no_uid_is_logged(manager: Service, node: Node, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "app.node")
    uid = scheduled(manager)
    node.look()
    assert "claimed work item" in caplog.text
    assert uid not in caplog.text
