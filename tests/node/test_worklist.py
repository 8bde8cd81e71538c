"""Unified Procedure Steps over real associations: order, claim, follow, complete, cancel."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from app.node.receive.settings import AllowedSender
from app.node.records import JobState, Priority
from app.node.worklist.matching import matches
from app.node.worklist.order import WorkOrder
from tests.node.receiving import SECONDS, wait_until
from tests.node.worklist_service import GLOBAL, STUDY, Follower, Service, item_of, workitem


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with Service(tmp_path / "worklist") as running:
        yield running


@pytest.fixture
def uid() -> str:
    return str(generate_uid())


def test_an_order_is_claimed_run_and_completed(service: Service, uid: str) -> None:
    storage = item_of(DestinationAE="PACS")
    destination = Dataset()
    destination.DICOMStorageSequence = [storage]
    attributes = workitem(
        ScheduledProcedureStepPriority="HIGH", OutputDestinationSequence=[destination]
    )
    with service.manager() as manager:
        assert manager.create(uid, attributes) == 0x0000
        assert manager.get(uid).ProcedureStepState == "SCHEDULED"
        service.performer.look()
        assert manager.get(uid).ProcedureStepState == "IN PROGRESS"
        ((job, order),) = service.jobs.orders.items()
        assert order == WorkOrder(STUDY, ("diffusion",), ("pacs",), Priority.URGENT)
        service.jobs.states[job] = JobState.RUNNING
        service.performer.look()
        (progress,) = manager.get(uid).ProcedureStepProgressInformationSequence
        assert progress.ProcedureStepProgressDescription == "running"
        service.jobs.states[job] = JobState.DONE
        service.performer.look()
        found = manager.get(uid)
    assert found.ProcedureStepState == "COMPLETED"
    (performed,) = found.UnifiedProcedureStepPerformedProcedureSequence
    (output,) = performed.OutputInformationSequence
    assert output.StudyInstanceUID == STUDY
    assert [one.ReferencedSOPInstanceUID for one in output.ReferencedSOPSequence] == [
        "1.9.1.0",
        "1.9.1.1",
        "1.9.1.2",
    ]
    assert performed.PerformedStationNameCodeSequence[0].CodeValue == "node-1"
    assert "TransactionUID" not in found


def test_an_order_waits_for_its_study(service: Service, uid: str) -> None:
    service.jobs.received = False
    with service.manager() as manager:
        assert manager.create(uid, workitem()) == 0x0000
        service.performer.look()
        assert manager.get(uid).ProcedureStepState == "SCHEDULED"
        service.jobs.received = True
        service.performer.look()
        assert manager.get(uid).ProcedureStepState == "IN PROGRESS"


def test_a_failed_run_is_cancelled_with_its_reason(service: Service, uid: str) -> None:
    with service.manager() as manager:
        manager.create(uid, workitem())
        service.performer.look()
        service.jobs.failure = "the worker ran out of memory"
        service.jobs.states = dict.fromkeys(service.jobs.states, JobState.FAILED)
        service.performer.look()
        found = manager.get(uid)
    assert found.ProcedureStepState == "CANCELED"
    (progress,) = found.ProcedureStepProgressInformationSequence
    assert progress.ReasonForCancellation == "the worker ran out of memory"
    assert progress.ProcedureStepCancellationDateTime


def test_a_work_item_survives_a_restart(tmp_path: Path, uid: str) -> None:
    with Service(tmp_path) as first, first.manager() as manager:
        manager.create(uid, workitem())
        first.performer.look()
    with Service(tmp_path) as second, second.manager() as manager:
        second.jobs.states = dict(first.jobs.states)
        assert manager.get(uid).ProcedureStepState == "IN PROGRESS"
        second.jobs.states = dict.fromkeys(second.jobs.states, JobState.DONE)
        second.performer.look()
        assert manager.get(uid).ProcedureStepState == "COMPLETED"


@pytest.mark.parametrize("when", ["scheduled", "running"])
def test_an_order_can_be_cancelled(service: Service, uid: str, when: str) -> None:
    with service.manager() as manager:
        manager.create(uid, workitem())
        if when == "running":
            service.performer.look()
        assert manager.act(uid, 2, ReasonForCancellation="wrong patient") == 0x0000
        service.performer.look()
        found = manager.get(uid)
        assert found.ProcedureStepState == "CANCELED"
        assert manager.act(uid, 2) == 0xB304
    (progress,) = found.ProcedureStepProgressInformationSequence
    assert progress.ReasonForCancellation == "wrong patient"


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"ProcedureStepState": "IN PROGRESS"}, 0xC309),
        ({"ProcedureStepState": "COMPLETED"}, 0xC309),
        ({"TransactionUID": "1.2"}, 0x0106),
        ({"ScheduledProcedureStepPriority": "SOON"}, 0x0106),
        ({"InputInformationSequence": []}, 0x0106),
        (
            {
                "InputInformationSequence": [
                    item_of(StudyInstanceUID="1.2"),
                    item_of(StudyInstanceUID="1.3"),
                ]
            },
            0x0106,
        ),
        (
            {"ScheduledWorkitemCodeSequence": [item_of(CodeValue="x", CodingSchemeDesignator="Y")]},
            0x0106,
        ),
    ],
)
def test_orders_that_cannot_be_performed_are_refused(
    service: Service, uid: str, changes: dict[str, Any], status: int
) -> None:
    with service.manager() as manager:
        assert manager.create(uid, workitem(**changes)) == status
        assert manager.find(ProcedureStepState="") == []


def test_an_order_without_what_it_needs_is_refused(service: Service, uid: str) -> None:
    for keyword in ("InputInformationSequence", "ProcedureStepLabel"):
        attributes = workitem()
        delattr(attributes, keyword)
        with service.manager() as manager:
            assert manager.create(uid, attributes) == 0x0120


def test_a_second_order_of_the_same_uid_is_refused(service: Service, uid: str) -> None:
    with service.manager() as manager:
        assert manager.create(uid, workitem()) == 0x0000
        assert manager.create(uid, workitem()) == 0x0111


def test_codes_of_others_mean_what_the_settings_say(tmp_path: Path, uid: str) -> None:
    code = item_of(CodeValue="MRDWI", CodingSchemeDesignator="99SITE", CodeMeaning="x")
    settings = {"workitems": {"99SITE:MRDWI": ("diffusion",)}}
    with Service(tmp_path, **settings) as service, service.manager() as manager:
        assert manager.create(uid, workitem(ScheduledWorkitemCodeSequence=[code])) == 0x0000
        service.performer.look()
    assert [order.pipelines for order in service.jobs.orders.values()] == [("diffusion",)]


# Others may claim from the list.


@pytest.fixture
def list_for_others(tmp_path: Path) -> Iterator[Service]:
    with Service(tmp_path / "others", perform=False) as running:
        yield running


def performed() -> Dataset:
    code = item_of(CodeValue="a", CodingSchemeDesignator="b", CodeMeaning="c")
    done = item_of(
        PerformedProcedureStepStartDateTime="20260102030405",
        PerformedProcedureStepEndDateTime="20260102030505",
    )
    done.PerformedStationNameCodeSequence = [code]
    done.PerformedWorkitemCodeSequence = [code]
    done.OutputInformationSequence = []
    return done


def test_one_performer_claims_and_no_other(list_for_others: Service, uid: str) -> None:
    with list_for_others.manager() as manager:
        manager.create(uid, workitem())
        assert manager.change_state(uid, "COMPLETED") == 0xC310
        assert manager.change_state(uid, "SCHEDULED") == 0xC303
        assert manager.change_state(uid, "IN PROGRESS", "") == 0xC301
        assert manager.change_state(uid, "IN PROGRESS", "1.5") == 0x0000
        assert manager.change_state(uid, "IN PROGRESS", "1.5") == 0xC302
        assert manager.change_state(uid, "IN PROGRESS", "1.6") == 0xC301
        assert manager.set(uid, item_of(ProcedureStepLabel="x")) == 0xC301
        assert manager.change_state(uid, "COMPLETED", "1.5") == 0xC304
        changes = item_of(TransactionUID="1.5")
        changes.UnifiedProcedureStepPerformedProcedureSequence = [performed()]
        assert manager.set(uid, changes) == 0x0000
        assert manager.change_state(uid, "COMPLETED", "1.6") == 0xC301
        assert manager.change_state(uid, "COMPLETED", "1.5") == 0x0000
        assert manager.change_state(uid, "COMPLETED", "1.5") == 0xB306
        assert manager.change_state(uid, "CANCELED", "1.5") == 0xC300
        assert manager.set(uid, changes) == 0xC300
        assert manager.act(uid, 2) == 0xC311
        assert manager.change_state("1.2.3.999", "IN PROGRESS") == 0xC307


def test_two_performers_at_once_and_one_wins(list_for_others: Service, uid: str) -> None:
    statuses = []
    with list_for_others.manager() as manager:
        manager.create(uid, workitem())

    def claim(number: int) -> None:
        with list_for_others.manager(f"P{number}") as manager:
            statuses.append(manager.change_state(uid, "IN PROGRESS", f"1.5.{number}"))

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert sorted(statuses) == [0x0000] + [0xC301] * 5


def test_performers_find_their_work(list_for_others: Service) -> None:
    uids = [str(generate_uid()) for _ in range(3)]
    with list_for_others.manager() as manager:
        for number, one in enumerate(uids):
            label, day = ("maps", "other")[number == 2], f"2026010{number + 1}120000"
            manager.create(
                one, workitem(WorklistLabel=label, ScheduledProcedureStepStartDateTime=day)
            )
        manager.change_state(uids[0], "IN PROGRESS")

        def found(**keys: Any) -> set[str]:
            return {answer.SOPInstanceUID for answer in manager.find(**keys)}

        assert found(ProcedureStepState="") == set(uids)
        assert found(ProcedureStepState="SCHEDULED") == set(uids[1:])
        assert found(ProcedureStepState="SCHEDULED", WorklistLabel="maps") == {uids[1]}
        assert found(WorklistLabel="ot*") == {uids[2]}
        assert found(SOPInstanceUID=uids[0]) == {uids[0]}
        assert found(ScheduledProcedureStepStartDateTime="20260102-20260103") == set(uids[1:])
        code = item_of(CodeValue="diffusion", CodingSchemeDesignator="")
        assert found(ScheduledWorkitemCodeSequence=[code]) == set(uids)
        code = item_of(CodeValue="other", CodingSchemeDesignator="")
        assert found(ScheduledWorkitemCodeSequence=[code]) == set()
        (answer,) = manager.find(
            SOPInstanceUID=uids[0], ScheduledWorkitemCodeSequence=[item_of(CodeValue="")]
        )
        assert answer.ScheduledWorkitemCodeSequence[0].CodeValue == "diffusion"
        assert "CodeMeaning" not in answer.ScheduledWorkitemCodeSequence[0]
        assert "TransactionUID" not in answer


def test_wildcards_are_those_of_dicom() -> None:
    item = item_of(WorklistLabel="a[b]c")
    assert matches(item, item_of(WorklistLabel="a[b]?"))
    assert not matches(item_of(WorklistLabel="abc"), item_of(WorklistLabel="a[b]*"))
    assert matches(item, Dataset())


# Those who follow.


@pytest.mark.parametrize("followed", ["one", "all"])
def test_followers_are_told_of_every_state(tmp_path: Path, uid: str, followed: str) -> None:
    follower = Follower()
    known = AllowedSender(ae_title="FOLLOWER", addresses=("127.0.0.1",), report_to=follower.address)
    try:
        with Service(tmp_path, allow=(known,)) as service, service.manager("FOLLOWER") as manager:
            if followed == "all":
                assert manager.act(GLOBAL, 3, ReceivingAE="FOLLOWER", DeletionLock="FALSE") == 0
            manager.create(uid, workitem())
            if followed == "one":
                assert manager.act(uid, 3, ReceivingAE="FOLLOWER", DeletionLock="FALSE") == 0
            assert manager.act(uid, 3, ReceivingAE="NOBODY", DeletionLock="FALSE") == 0xC308
            service.performer.look()
            service.jobs.states = dict.fromkeys(service.jobs.states, JobState.DONE)
            service.performer.look()
            wait_until(lambda: (1, "COMPLETED") in follower.events)
            assert [state for kind, state in follower.events if kind == 1] == [
                "SCHEDULED",
                "IN PROGRESS",
                "COMPLETED",
            ]
            assert manager.act(uid, 4, ReceivingAE="FOLLOWER") == 0x0000
    finally:
        follower.server.shutdown()


def test_strangers_are_kept_out(tmp_path: Path, tool: Callable[[str], str]) -> None:
    known = AllowedSender(ae_title="MANAGER", addresses=("127.0.0.1",))
    with Service(tmp_path, allow=(known,)) as service:
        echo = [tool("echoscu"), "-aec", "WORKLIST", "127.0.0.1", str(service.worklist.port)]
        assert subprocess.run([*echo, "-aet", "STRANGER"], capture_output=True).returncode != 0
        assert subprocess.run([*echo, "-aet", "MANAGER"], capture_output=True).returncode == 0
