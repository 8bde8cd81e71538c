"""The scanner's and the archive's side of the wire."""

from __future__ import annotations

import socket
import struct
import subprocess
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pynetdicom import AE, StoragePresentationContexts, evt
from pynetdicom.sop_class import MRImageStorage, ParametricMapStorage

from app.node.answers import keep_answers


def storescu(tool: str, port: int, files: Sequence[Path], calling_ae: str = "SCANNER") -> int:
    """Send with DCMTK; returns its exit status."""
    command = [tool, "-aet", calling_ae, "-aec", "QUANTMAP", "127.0.0.1", str(port)]
    return subprocess.run(
        [*command, *map(str, files)], capture_output=True, timeout=300, check=False
    ).returncode


def send(
    port: int, files: Sequence[Path], timeout: float = 20, host: str = "127.0.0.1"
) -> set[Path]:
    """Send over one association; returns the files that were acknowledged."""
    scu = AE(ae_title="SCANNER")
    scu.acse_timeout = scu.dimse_timeout = scu.network_timeout = scu.connection_timeout = timeout
    scu.add_requested_context(MRImageStorage)
    association = scu.associate(host, port, ae_title="QUANTMAP")
    acknowledged: set[Path] = set()
    if not association.is_established:
        return acknowledged
    keep_answers(association)
    for file in files:
        if not association.is_established:
            return acknowledged
        try:
            status = association.send_c_store(dcmread(file))
        except (RuntimeError, ValueError):
            return acknowledged
        if getattr(status, "Status", None) == 0x0000:
            acknowledged.add(file)
    association.release()
    return acknowledged


def send_half(port: int, file: Path) -> None:
    """Ask for an association, begin to send an object, and reset the connection."""
    scu = AE(ae_title="SCANNER")
    scu.add_requested_context(MRImageStorage)
    scu.acse_timeout = scu.network_timeout = scu.connection_timeout = 5
    association = scu.associate("127.0.0.1", port, ae_title="QUANTMAP")
    if not association.is_established:
        return
    raw = association.dul.socket.socket
    # A P-DATA-TF PDU that announces more than comes (PS3.8 9.3.5).
    raw.sendall(b"\x04\x00" + struct.pack(">I", 50_000) + file.read_bytes()[:900])
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raw.close()
    association.kill()


class Archive:
    """Takes what is sent to it and counts; can be down for a while.

    Args:
        port: of its associations.
        host: address that it listens on.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.port = port
        self._host = host
        self.received: Counter[str] = Counter()
        self.study_of: dict[str, str] = {}
        self._lock = threading.Lock()
        self._server: Any = None

    def up(self) -> None:
        """Take associations."""
        ae = AE(ae_title="ARCHIVE")
        ae.supported_contexts = StoragePresentationContexts
        ae.add_supported_context(ParametricMapStorage)
        self._server = ae.start_server(
            (self._host, self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )

    def down(self) -> None:
        """Take none, and end those that there are."""
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def target(self, host: str = "127.0.0.1", **more: Any) -> dict[str, Any]:
        """Section of ``node.targets`` that names it; ``more`` is added."""
        place = {"kind": "c-store", "ae_title": "ARCHIVE", "host": host, "port": self.port}
        return place | more

    def instances(self, study: str) -> set[str]:
        """SOP Instance UIDs that it has of a study."""
        with self._lock:
            return {uid for uid, known in self.study_of.items() if known == study}

    def _store(self, event: Any) -> int:
        data_set = event.dataset
        with self._lock:
            self.received[str(data_set.SOPInstanceUID)] += 1
            self.study_of[str(data_set.SOPInstanceUID)] = str(data_set.StudyInstanceUID)
        return 0x0000
