"""A worklist of our own that runs, and those who talk to it: managers and followers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, evt

from app.node.answers import keep_answers
from app.node.deliver.settings import CStoreTarget, FolderTarget
from app.node.receive.settings import AllowedSender
from app.node.records import JobState
from app.node.worklist.notifier import Notifier
from app.node.worklist.order import WorkOrder
from app.node.worklist.performer import NotHereYet, Output, Performer
from app.node.worklist.settings import WorklistSettings
from app.node.worklist.workitem_store import WorkitemStore
from app.node.worklist.worklist import Worklist

PUSH, WATCH, PULL, EVENT, QUERY = (UID(f"1.2.840.10008.5.1.4.34.6.{n}") for n in range(1, 6))
GLOBAL = "1.2.840.10008.5.1.4.34.5"
STUDY = "1.2.3.4"
TARGETS = {
    "pacs": CStoreTarget(ae_title="PACS", host="127.0.0.1", port=104),
    "share": FolderTarget(folder=Path("/share")),
}


class MadeJobs:
    """Jobs of which the test says how they stand."""

    def __init__(self) -> None:
        self.orders: dict[str, WorkOrder] = {}
        self.states: dict[str, JobState] = {}
        self.received = True
        self.failure = ""

    def has(self, study_instance_uid: str) -> bool:
        return self.received

    def order(self, order: WorkOrder, workitem_uid: str) -> str:
        if not self.received:
            raise NotHereYet("not here")
        identifier = f"job of {workitem_uid}"
        self.orders[identifier] = order
        self.states.setdefault(identifier, JobState.QUEUED)
        return identifier

    def cancel(self, job: str) -> None:
        self.states[job] = JobState.CANCELLED

    def job(self, identifier: str) -> Any:
        now = time.time()
        return SimpleNamespace(
            state=self.states[identifier],
            study_instance_uid=STUDY,
            failure=self.failure,
            why="",
            created=now,
            started=now,
            finished=now,
        )

    def outputs(self, job: Any) -> list[Output]:
        return [Output("1.9.1", "1.2.840.10008.5.1.4.1.1.30", f"1.9.1.{n}") for n in range(3)]


class Service:
    """A worklist that runs."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        anyone = AllowedSender(ae_title="*", addresses=("127.0.0.0/8",))
        defaults = {"port": 0, "allow": (anyone,), "ae_title": "WORKLIST"}
        self.settings = WorklistSettings(**(defaults | settings))
        self.jobs = MadeJobs()
        self.store = WorkitemStore(folder)
        notifier = Notifier(self.settings)
        self.performer = Performer(
            self.settings, self.store, notifier, self.jobs, TARGETS, "node-1"
        )
        self.worklist = Worklist(
            self.settings,
            self.store,
            notifier,
            self.performer.check,
            self.performer.cancel,
            lambda: None,
        )
        self._notifier = notifier

    def __enter__(self) -> Service:
        self._notifier.start()
        self.worklist.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.worklist.stop()
        self._notifier.stop()

    def manager(self, title: str = "MANAGER") -> AbstractContextManager[Manager]:
        return manager_of(self.worklist.port, title)


@contextmanager
def manager_of(port: int, title: str = "MANAGER") -> Iterator[Manager]:
    """A workflow manager at a worklist."""
    entity = AE(ae_title=title)
    for sop_class in (PUSH, WATCH, PULL, QUERY):
        entity.add_requested_context(sop_class)
    association = entity.associate("127.0.0.1", port, ae_title="WORKLIST")
    assert association.is_established
    yield Manager(keep_answers(association))
    association.release()


class Manager:
    """A workflow manager."""

    def __init__(self, association: Any) -> None:
        self.association = association

    def create(self, uid: str, attributes: Dataset) -> int:
        return int(self.association.send_n_create(attributes, PUSH, uid)[0].Status)

    def get(self, uid: str) -> Dataset:
        status, data_set = self.association.send_n_get([], PUSH, uid, meta_uid=PULL)
        assert status.Status == 0
        return data_set

    def act(self, uid: str, action: int, **information: str) -> int:
        data_set = Dataset()
        for keyword, value in information.items():
            setattr(data_set, keyword, value)
        meta = {1: PULL, 2: PUSH}.get(action, WATCH)
        status, _ = self.association.send_n_action(
            data_set if information else None, action, PUSH, uid, meta_uid=meta
        )
        return int(status.Status)

    def change_state(self, uid: str, state: str, transaction: str = "1.5") -> int:
        return self.act(uid, 1, ProcedureStepState=state, TransactionUID=transaction)

    def set(self, uid: str, changes: Dataset) -> int:
        return int(self.association.send_n_set(changes, PUSH, uid, meta_uid=PULL)[0].Status)

    def find(self, **keys: Any) -> list[Dataset]:
        identifier = Dataset()
        for keyword, value in keys.items():
            setattr(identifier, keyword, value)
        answers = self.association.send_c_find(identifier, PULL)
        return [data_set for status, data_set in answers if status.Status == 0xFF00]


def item_of(**values: str) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def study_item(uid: str) -> Dataset:
    return item_of(StudyInstanceUID=uid)


def code_item(value: str, scheme: str) -> Dataset:
    return item_of(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning="meaning")


def workitem(**changes: Any) -> Dataset:
    """What a workflow manager sends to create a work item."""
    data_set = Dataset()
    data_set.ProcedureStepState = "SCHEDULED"
    data_set.ScheduledProcedureStepPriority = "MEDIUM"
    data_set.ProcedureStepLabel = "Diffusion maps"
    data_set.WorklistLabel = "maps"
    data_set.InputReadinessState = "READY"
    data_set.ScheduledProcedureStepStartDateTime = "20260102030405"
    data_set.InputInformationSequence = [item_of(StudyInstanceUID=STUDY)]
    data_set.ScheduledWorkitemCodeSequence = [
        item_of(CodeValue="diffusion", CodingSchemeDesignator="99QUANTMAP", CodeMeaning="Diffusion")
    ]
    for keyword, value in changes.items():
        setattr(data_set, keyword, value)
    return data_set


class Follower:
    """Takes events."""

    def __init__(self) -> None:
        self.events: list[tuple[int, str]] = []
        entity = AE(ae_title="FOLLOWER")
        entity.add_supported_context(EVENT, scu_role=True, scp_role=True)
        self.server = entity.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._take)]
        )
        self.address = f"127.0.0.1:{self.server.server_address[1]}"

    def _take(self, event: evt.Event) -> tuple[int, None]:
        state = event.event_information.get("ProcedureStepState", "")
        self.events.append((event.event_type, str(state)))
        return 0x0000, None
