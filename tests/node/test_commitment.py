"""Storage commitment (PS3.4 annex J), with pynetdicom as the device that asks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage, generate_uid
from pynetdicom import AE, evt
from pynetdicom.presentation import build_role
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from app.node.answers import keep_answers
from app.node.receive.settings import AllowedSender
from tests.node.receiving import (
    SECONDS,
    RawSender,
    Running,
    encoded,
    mr_image,
    running,
)

NO_SUCH_OBJECT, CLASS_CONFLICT = 0x0112, 0x0119


class Reports:
    """Reports that came, over whichever association."""

    def __init__(self) -> None:
        self.came = threading.Event()
        self.event_type = 0
        self.committed: list[str] = []
        self.failed: dict[str, int] = {}

    def take(self, event: evt.Event) -> tuple[int, None]:
        information = event.event_information
        self.event_type = event.event_type
        self.committed = [
            i.ReferencedSOPInstanceUID for i in information.get("ReferencedSOPSequence", [])
        ]
        self.failed = {
            item.ReferencedSOPInstanceUID: item.FailureReason
            for item in information.get("FailedSOPSequence", [])
        }
        self.came.set()
        return 0x0000, None


def request(references: list[tuple[str, str]]) -> Dataset:
    data_set = Dataset()
    data_set.TransactionUID = generate_uid()
    data_set.ReferencedSOPSequence = []
    for sop_class, instance in references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance
        data_set.ReferencedSOPSequence.append(item)
    return data_set


def asked(
    port: int, data_set: Dataset, reports: Reports, *, wait: bool = True, **changes: Any
) -> int:
    """The status of an N-ACTION request; the association stays until the report came."""
    entity = AE(ae_title="MODALITY")
    entity.add_requested_context(StorageCommitmentPushModel)
    association = keep_answers(
        entity.associate(
            "127.0.0.1",
            port,
            ae_title="QUANTMAP",
            evt_handlers=[(evt.EVT_N_EVENT_REPORT, reports.take)],
        )
    )
    assert association.is_established
    values: dict[str, Any] = {
        "action_type": 1,
        "class_uid": StorageCommitmentPushModel,
        "instance_uid": StorageCommitmentPushModelInstance,
    }
    status, _ = association.send_n_action(data_set, **(values | changes))
    if wait and status.Status == 0:
        assert reports.came.wait(SECONDS)
    association.release()
    return int(status.Status)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("commitment") / "spool") as run:
        yield run


@pytest.fixture
def kept(node: Running) -> str:
    """SOP Instance UID of an object that the node has."""
    image = mr_image()
    with RawSender(node.port) as sender:
        assert sender.store(MRImageStorage, image.SOPInstanceUID, encoded(image)) == 0x0000
    return str(image.SOPInstanceUID)


def test_what_is_kept_is_committed_over_the_same_association(node: Running, kept: str) -> None:
    reports = Reports()
    assert asked(node.port, request([(MRImageStorage, kept)]), reports) == 0x0000
    assert (reports.event_type, reports.committed, reports.failed) == (1, [kept], {})


def test_what_is_not_kept_is_told_with_the_reason(node: Running, kept: str) -> None:
    reports, unknown = Reports(), str(generate_uid())
    references = [(MRImageStorage, kept), (MRImageStorage, unknown)]
    assert asked(node.port, request(references), reports) == 0x0000
    assert (reports.event_type, reports.committed) == (2, [kept])
    assert reports.failed == {unknown: NO_SUCH_OBJECT}
    reports = Reports()
    asked(node.port, request([("1.2.840.10008.5.1.4.1.1.2", kept)]), reports)
    assert reports.failed == {kept: CLASS_CONFLICT}


def test_an_object_that_was_removed_is_not_committed(node: Running) -> None:
    image = mr_image()
    with RawSender(node.port) as sender:
        sender.store(MRImageStorage, image.SOPInstanceUID, encoded(image))
    node.spool.remove_study(image.StudyInstanceUID)
    reports = Reports()
    asked(node.port, request([(MRImageStorage, image.SOPInstanceUID)]), reports)
    assert reports.failed == {image.SOPInstanceUID: NO_SUCH_OBJECT}


def test_requests_that_make_no_sense_are_refused(node: Running, kept: str) -> None:
    good = request([(MRImageStorage, kept)])
    assert asked(node.port, mr_image(), Reports()) == 0x0115
    assert asked(node.port, request([]), Reports()) == 0x0115
    assert asked(node.port, request([(MRImageStorage, "../../x")]), Reports()) == 0x0115
    assert asked(node.port, good, Reports(), action_type=7) == 0x0123
    assert asked(node.port, good, Reports(), instance_uid="1.2.3") == 0x0112


def test_many_objects_in_one_request(node: Running, kept: str) -> None:
    unknown = [str(generate_uid()) for _ in range(3000)]
    reports = Reports()
    asked(node.port, request([(MRImageStorage, uid) for uid in [kept, *unknown]]), reports)
    assert reports.committed == [kept]
    assert set(reports.failed) == set(unknown)


def test_a_report_goes_over_a_new_association_where_an_address_is_known(tmp_path: Path) -> None:
    reports, unknown = Reports(), str(generate_uid())
    entity = AE(ae_title="MODALITY")
    entity.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, reports.take)]
    )
    try:
        address = f"127.0.0.1:{server.server_address[1]}"
        sender = AllowedSender(ae_title="MODALITY", addresses=("127.0.0.1",), report_to=address)
        with running(tmp_path / "spool", allow=(sender,)) as node:
            data_set = request([(MRImageStorage, unknown)])
            assert asked(node.port, data_set, Reports(), wait=False) == 0x0000
            assert reports.came.wait(SECONDS)
    finally:
        server.shutdown()
    assert reports.failed == {unknown: NO_SUCH_OBJECT}


def test_reports_of_an_archive_are_taken(node: Running) -> None:
    """As an archive sends them: over an association of its own, with the roles turned round."""
    entity = AE(ae_title="ARCHIVE")
    entity.add_requested_context(StorageCommitmentPushModel)
    association = entity.associate(
        "127.0.0.1",
        node.port,
        ae_title="QUANTMAP",
        ext_neg=[build_role(StorageCommitmentPushModel, scp_role=True)],
    )
    report = request([(MRImageStorage, "1.2.3")])
    failed = Dataset()
    failed.ReferencedSOPClassUID, failed.ReferencedSOPInstanceUID = MRImageStorage, "1.2.4"
    failed.FailureReason = 0x0110
    report.FailedSOPSequence = [failed]
    status, _ = association.send_n_event_report(
        report, 2, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
    )
    association.release()
    assert status.Status == 0x0000
    (taken,) = node.reports
    assert taken.transaction_uid == report.TransactionUID
    assert (taken.committed, taken.failed) == (("1.2.3",), (("1.2.4", 0x0110),))
    assert taken.complete
