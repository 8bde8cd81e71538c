"""Who waits for an answer over an association of pynetdicom gets it, and can end afterwards."""

from __future__ import annotations

import threading
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE, N_EVENT_REPORT
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import (
    MRImageStorage,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from app.node.answers import keep_answers
from tests.node.node_process import free_port
from tests.node.peers import Archive
from tests.node.receiving import running, wait_until
from tests.node.studies import write_study


@pytest.mark.parametrize("stolen", [0, 1, 3])
def test_an_answer_that_the_reactor_took_is_put_back(stolen: int, tmp_path: Path) -> None:
    archive = Archive(free_port())
    archive.up()
    scu = AE(ae_title="SCANNER")
    scu.dimse_timeout = 10
    scu.add_requested_context(MRImageStorage)
    try:
        association = keep_answers(scu.associate("127.0.0.1", archive.port))
        take = association.dimse.get_msg
        left = stolen

        def take_after_the_reactor(block: bool = False):  # type: ignore[no-untyped-def]
            nonlocal left
            item = take(block)
            while isinstance(item[1], C_STORE) and left:
                left -= 1
                association._serve_request(item[1], item[0])
                item = take(block)
            return item

        association.dimse.get_msg = take_after_the_reactor  # type: ignore[method-assign]
        for file in write_study(tmp_path, 1)[:2]:
            assert association.send_c_store(dcmread(file)).Status == 0
        association.release()
        assert left == 0
    finally:
        archive.down()


def test_a_report_that_comes_while_the_reactor_is_paused_does_not_hold_up_the_release(
    tmp_path: Path,
) -> None:
    scu = AE(ae_title="MODALITY")
    scu.acse_timeout = 10
    scu.add_requested_context(StorageCommitmentPushModel)
    report = N_EVENT_REPORT()
    report.MessageID, report.EventTypeID = 1, 1
    report.AffectedSOPClassUID = StorageCommitmentPushModel
    report.AffectedSOPInstanceUID = StorageCommitmentPushModelInstance
    report.EventInformation = BytesIO(encode(Dataset(), True, True) or b"")
    with running(tmp_path / "spool") as node:
        association = keep_answers(
            scu.associate(
                "127.0.0.1",
                node.port,
                ae_title="QUANTMAP",
                evt_handlers=[(evt.EVT_N_EVENT_REPORT, lambda _: (0x0000, None))],
            )
        )
        assert association.is_established
        association._reactor_checkpoint.clear()
        wait_until(lambda: association._is_paused)
        # As pynetdicom does it when the report comes in.
        served = threading.Thread(target=association._serve_request, args=(report, 1))
        served.start()
        served.join(10)
        releasing = threading.Thread(target=association.release, daemon=True)
        releasing.start()
        releasing.join(30)
        assert not releasing.is_alive()
