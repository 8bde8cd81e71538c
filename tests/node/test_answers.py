"""An answer that the reactor of pynetdicom took still reaches who waits for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread
from pynetdicom import AE
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import MRImageStorage

from app.node.answers import keep_answers
from tests.node.node_process import free_port
from tests.node.peers import Archive
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
