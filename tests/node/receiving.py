"""A receiver on loopback, and senders that say exactly what a test wants them to say."""

from __future__ import annotations

import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import build_context

from app.node.arrival import Arrival
from app.node.receive.channel import AssociationEvent, CommitmentReport
from app.node.receive.command import data_pdus, encoded_command
from app.node.receive.receiver import Receiver
from app.node.receive.settings import AllowedSender, ReceiveSettings
from app.node.spool import Spool

SECONDS = 60.0
ANYONE = AllowedSender(ae_title="*", addresses=("127.0.0.0/8",))


class Running:
    """A receiver that runs, and what it told."""

    def __init__(self, receiver: Receiver, spool: Spool) -> None:
        self.receiver = receiver
        self.spool = spool
        self.arrivals: list[Arrival] = []
        self.events: list[AssociationEvent] = []
        self.reports: list[CommitmentReport] = []

    @property
    def port(self) -> int:
        return self.receiver.port

    def arrived(self, count: int) -> list[Arrival]:
        """Wait until so many objects were told of."""
        wait_until(lambda: len(self.arrivals) >= count)
        return self.arrivals

    def arrival_of(self, sop_instance_uid: str) -> Arrival:
        """Wait until this object was told of."""
        found: list[Arrival] = []

        def is_there() -> bool:
            found[:] = [one for one in self.arrivals if one.sop_instance_uid == sop_instance_uid]
            return bool(found)

        wait_until(is_there)
        return found[0]

    def happened(self, what: str) -> AssociationEvent:
        """Wait until such an event was told of."""
        wait_until(lambda: any(event.what == what for event in self.events))
        return next(event for event in self.events if event.what == what)

    def echoes(self, tool: Callable[[str], str], *options: str) -> bool:
        """Whether DCMTK's echoscu is answered."""
        command = [tool("echoscu"), "-aec", "QUANTMAP", *options, "127.0.0.1", str(self.port)]
        return subprocess.run(command, capture_output=True, timeout=SECONDS).returncode == 0


@contextmanager
def running(folder: Path, **settings: Any) -> Iterator[Running]:
    """A receiver with these settings, by default one process that takes anyone on loopback."""
    defaults = {"port": 0, "allow": (ANYONE,), "processes": 1, "smallest_free_bytes": 0}
    defaults |= {"smallest_free_fraction": 0.0}
    spool = Spool(folder)
    arrivals: list[Arrival] = []
    events: list[AssociationEvent] = []
    reports: list[CommitmentReport] = []
    receiver = Receiver(
        ReceiveSettings(**(defaults | settings)),
        spool,
        arrivals.extend,
        events.append,
        reports.append,
    )
    receiver.start()
    try:
        run = Running(receiver, spool)
        run.arrivals, run.events, run.reports = arrivals, events, reports
        yield run
    finally:
        receiver.stop()


def wait_until(condition: Callable[[], bool], seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def mr_image(**elements: Any) -> Dataset:
    """A small MR image that no other test uses."""
    image = Dataset()
    image.SOPClassUID = MRImageStorage
    image.SOPInstanceUID = generate_uid()
    image.StudyInstanceUID = generate_uid()
    image.SeriesInstanceUID = generate_uid()
    image.Modality = "MR"
    image.AccessionNumber = "A-17"
    image.PatientID = "phantom"
    image.Rows = image.Columns = 16
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation, image.SamplesPerPixel = 15, 0, 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.PixelData = np.arange(256, dtype="<u2").tobytes()
    for keyword, value in elements.items():
        setattr(image, keyword, value)
    return image


def written(folder: Path, images: Sequence[Dataset]) -> list[Path]:
    """The images as DICOM files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, image in enumerate(images):
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        paths.append(folder / f"{number:05d}.dcm")
        image.save_as(paths[-1], enforce_file_format=True)
    return paths


def encoded(image: Dataset) -> bytes:
    """The data set, explicit VR little endian."""
    from pynetdicom.dsutils import encode

    data = encode(image, False, True)
    assert data is not None
    return data


def storescu(
    tool: Callable[[str], str], port: int, paths: Sequence[Path], *options: str
) -> subprocess.CompletedProcess[str]:
    """Send with DCMTK; -R proposes only what is sent."""
    command = [tool("storescu"), "-R", "-aec", "QUANTMAP", *options, "127.0.0.1", str(port)]
    return subprocess.run(
        [*command, *map(str, paths)], capture_output=True, text=True, timeout=SECONDS
    )


class RawSender:
    """Speaks to a receiver byte by byte.

    Args:
        port: of the receiver.
        contexts: abstract and transfer syntax of each presentation context, IDs 1, 3, 5, ...
        calling: AE title of the sender.
        called: AE title that it calls.
    """

    def __init__(
        self,
        port: int,
        contexts: Sequence[tuple[str, str]] = ((MRImageStorage, ExplicitVRLittleEndian),),
        calling: str = "RAW",
        called: str = "QUANTMAP",
    ) -> None:
        self.channel = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
        self.channel.sendall(association_request(contexts, calling, called))
        self.answer_type, self.answer = self.pdu()

    def __enter__(self) -> RawSender:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    @property
    def is_accepted(self) -> bool:
        return self.answer_type == 2

    def pdu(self) -> tuple[int, bytes]:
        """The next PDU; type 0 where the connection ended."""
        header = self._exactly(6)
        if len(header) < 6:
            return 0, b""
        kind, length = struct.unpack(">BxL", header)
        return kind, self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        data = b""
        try:
            while len(data) < count and (more := self.channel.recv(count - len(data))):
                data += more
        except ConnectionResetError:
            return data
        return data

    def store(self, sop_class: str, sop_instance: str, data_set: bytes) -> int | None:
        """Send C-STORE; its status, or None where the receiver ended the association."""
        try:
            self.channel.sendall(store_request(sop_class, sop_instance))
            self.channel.sendall(data_pdus(1, data_set, is_command=False, longest_pdu=16384))
        except OSError:
            return None
        return self.status()

    def status(self) -> int | None:
        """The status of the next response."""
        kind, payload = self.pdu()
        if kind != 4:
            return None
        at = payload.index(struct.pack("<HHL", 0, 0x0900, 2))
        return int(struct.unpack_from("<H", payload, at + 8)[0])

    def release(self) -> bool:
        """Release; whether the receiver agreed."""
        self.channel.sendall(struct.pack(">BxLL", 5, 4, 0))
        return self.pdu()[0] == 6


def association_request(
    contexts: Sequence[tuple[str, str]], calling: str = "RAW", called: str = "QUANTMAP"
) -> bytes:
    """An A-ASSOCIATE-RQ PDU."""
    request = A_ASSOCIATE()
    request.application_context_name = "1.2.840.10008.3.1.1.1"
    request.calling_ae_title, request.called_ae_title = calling, called
    definitions = []
    for number, (abstract_syntax, transfer_syntax) in enumerate(contexts):
        context = build_context(abstract_syntax, transfer_syntax)
        context.context_id = 2 * number + 1
        definitions.append(context)
    request.presentation_context_definition_list = definitions
    length = MaximumLengthNotification()
    length.maximum_length_received = 16384
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = "1.2.3.4"
    request.user_information = [length, implementation]
    return bytes(A_ASSOCIATE_RQ(request).encode())


def store_request(sop_class: str, sop_instance: str, context_id: int = 1) -> bytes:
    """The P-DATA-TF PDU of a C-STORE-RQ command set; UIDs may be anything."""

    def value(text: str) -> bytes:
        return (text + "\0" * (len(text) % 2)).encode("latin-1")

    command = encoded_command(
        [
            (0x0002, value(sop_class)),
            (0x0100, struct.pack("<H", 1)),
            (0x0110, struct.pack("<H", 1)),
            (0x0700, struct.pack("<H", 0)),
            (0x0800, struct.pack("<H", 1)),
            (0x1000, value(sop_instance)),
        ]
    )
    return data_pdus(context_id, command, is_command=True, longest_pdu=16384)


def in_threads(work: Callable[[int], None], count: int) -> None:
    """Do ``work(0)`` ... ``work(count - 1)`` at the same time; the first exception is raised."""
    failures: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 - raised below, in the thread of the test
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * SECONDS)
    if failures:
        raise failures[0]
