"""Strangers and broken devices: no crash, no hang, bounded memory, honest senders still served."""

from __future__ import annotations

import os
import random
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from tests.node.receiving import (
    SECONDS,
    RawSender,
    Running,
    association_request,
    encoded,
    in_threads,
    mr_image,
    running,
    store_request,
    storescu,
    wait_until,
    written,
)

Tool = Callable[[str], str]
CT = "1.2.840.10008.5.1.4.1.1.2"
CONTEXTS = [(CT, ExplicitVRLittleEndian)]
MEMORY_BYTES = 400 * 2**20


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("hostile") / "spool"
    with running(folder, processes=2, stalled_seconds=2.0, greeting_seconds=2.0) as run:
        yield run


@pytest.fixture(autouse=True)
def the_same_processes_still_serve(node: Running, tool: Tool) -> Iterator[None]:
    """After each test the processes are those of before, small, and answer."""
    assert node.echoes(tool)
    before = {process.pid for process in processes(node)}
    yield
    assert node.echoes(tool)
    assert {process.pid for process in processes(node)} == before
    assert sum(process.memory_full_info().pss for process in processes(node)) < MEMORY_BYTES


def processes(node: Running) -> list[psutil.Process]:
    process = node.receiver._process
    assert process is not None
    parent = psutil.Process(process.pid)
    return [parent, *parent.children()]


def malformed(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def test_every_malformed_file_as_a_data_set(
    node: Running, shared_data: Callable[[str], Path]
) -> None:
    """The bytes of each file, and what follows its header where it has one, over C-STORE."""
    answers = []
    with RawSender(node.port, CONTEXTS) as sender:
        for path in malformed(shared_data("malformed_dicom")):
            data = path.read_bytes()[:4_000_000]
            headless = data[data.find(b"DICM") + 4 :] if b"DICM" in data else data
            for data_set in {data, headless} - {b""}:
                answers.append(sender.store(CT, "1.2.3.4", data_set))
        assert sender.release(), "the association outlives them all"
    assert len(answers) > 200
    assert set(answers) <= {0x0000, 0xA900, 0xC000}


def test_every_malformed_file_instead_of_an_association(
    node: Running, shared_data: Callable[[str], Path]
) -> None:
    for path in malformed(shared_data("malformed_dicom")):
        with socket.create_connection(("127.0.0.1", node.port), timeout=SECONDS) as channel:
            try:
                channel.sendall(path.read_bytes()[:100_000])
                channel.shutdown(socket.SHUT_WR)
                assert len(channel.recv(100)) in (0, 10), "at most an A-ABORT"
            except ConnectionError:
                continue


def test_damaged_association_requests(node: Running) -> None:
    chance = random.Random(5)
    request = association_request(CONTEXTS)
    for _ in range(150):
        damaged = bytearray(request)
        for _ in range(chance.randint(1, 8)):
            damaged[chance.randrange(6, len(damaged))] = chance.randrange(256)
        if chance.random() < 0.3:
            del damaged[chance.randrange(7, len(damaged)) :]
            damaged[2:6] = struct.pack(">L", len(damaged) - 6)
        with socket.create_connection(("127.0.0.1", node.port), timeout=SECONDS) as channel:
            channel.sendall(damaged)
            assert channel.recv(1) in (b"\2", b"\3", b"\7"), "accepted, rejected or aborted"


@pytest.mark.parametrize(
    "uid",
    ["../../../../tmp/evil", "/etc/passwd", "..", "1.2.3\0/../x", "1.2.3/4", "%2e%2e%2f", "é"],
)
def test_paths_instead_of_uids(node: Running, uid: str) -> None:
    files = list(node.spool.files())
    image = mr_image()
    data = encoded(image)
    with RawSender(node.port) as sender:
        assert sender.store(MRImageStorage, uid, data) == 0xC000
        assert sender.release()
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        original = getattr(image, keyword).encode()
        harmful = uid.encode()[: len(original)].ljust(len(original), b" ")
        with RawSender(node.port) as sender:
            status = sender.store(
                MRImageStorage, image.SOPInstanceUID, data.replace(original, harmful)
            )
            assert status == 0xC000
    assert list(node.spool.files()) == files


@pytest.mark.parametrize("length", [200_000, 2**31, 2**32 - 1])
def test_oversized_announcements_end_the_association_at_once(node: Running, length: int) -> None:
    with RawSender(node.port) as sender:
        sender.channel.sendall(struct.pack(">BxL", 4, length) + bytes(1000))
        assert sender.pdu()[0] == 7
    with socket.create_connection(("127.0.0.1", node.port), timeout=SECONDS) as channel:
        channel.sendall(struct.pack(">BxL", 1, max(length, 600_000)) + bytes(1000))
        assert channel.recv(1) == b"\7"


def test_fragments_that_lie_about_their_length(node: Running) -> None:
    for length, rest in ((0, 100), (1, 100), (2**32 - 1, 100), (500, 100), (102, 3)):
        with RawSender(node.port) as sender:
            fragment = struct.pack(">LBB", length, 1, 3) + bytes(rest)
            sender.channel.sendall(struct.pack(">BxL", 4, len(fragment)) + fragment)
            assert sender.pdu()[0] == 7


def test_an_object_in_memory_sized_pieces_stays_out_of_memory(node: Running) -> None:
    image = mr_image(PixelData=os.urandom(120_000_000))
    with RawSender(node.port) as sender:
        status = sender.store(MRImageStorage, image.SOPInstanceUID, encoded(image))
        assert status == 0x0000
        assert sum(process.memory_full_info().pss for process in processes(node)) < MEMORY_BYTES
    assert dcmread(node.arrival_of(image.SOPInstanceUID).path) == image


def test_messages_out_of_order(node: Running) -> None:
    image = mr_image()
    request = store_request(MRImageStorage, image.SOPInstanceUID)
    for stream in (
        request + request,
        store_request(MRImageStorage, image.SOPInstanceUID, context_id=99),
        struct.pack(">BxLLBB", 4, 106, 102, 1, 0) + bytes(100),
        association_request(CONTEXTS),
        struct.pack(">BxL", 6, 4) + bytes(4),
        struct.pack(">BxL", 99, 4) + bytes(4),
    ):
        with RawSender(node.port) as sender:
            sender.channel.sendall(stream)
            assert sender.pdu()[0] == 7


def test_slow_senders_are_given_up(node: Running, tool: Tool, tmp_path: Path) -> None:
    """One waits with its request, one within a PDU, one within an object."""
    with ExitStack() as stack:
        mute = stack.enter_context(socket.create_connection(("127.0.0.1", node.port)))
        within = stack.enter_context(RawSender(node.port))
        within.channel.sendall(struct.pack(">BxL", 4, 1000))
        between = stack.enter_context(RawSender(node.port))
        between.channel.sendall(store_request(MRImageStorage, "1.2.3"))
        paths = written(tmp_path, [mr_image()])
        assert storescu(tool, node.port, paths).returncode == 0
        for channel in (mute, within.channel, between.channel):
            channel.settimeout(SECONDS)
            assert channel.recv(100) == b""


def test_a_byte_at_a_time_does_not_last_for_ever(node: Running) -> None:
    begun = time.monotonic()
    with RawSender(node.port) as sender:
        sender.channel.sendall(struct.pack(">BxL", 4, 1000))
        try:
            while time.monotonic() < begun + SECONDS:
                sender.channel.sendall(b"\0")
                time.sleep(0.1)
        except ConnectionError:
            pass
    assert time.monotonic() < begun + SECONDS / 2


def test_half_sent_associations_leave_nothing(node: Running) -> None:
    image = mr_image()
    data = encoded(image)

    def half(number: int) -> None:
        with RawSender(node.port) as sender:
            sender.channel.sendall(store_request(MRImageStorage, image.SOPInstanceUID))
            fragment = struct.pack(">LBB", len(data[: 20 * number]) + 2, 1, 0) + data[: 20 * number]
            sender.channel.sendall(struct.pack(">BxL", 4, len(fragment)) + fragment)
            if number % 2:
                option = struct.pack("ii", 1, 0)
                sender.channel.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)

    in_threads(half, 20)
    incoming = node.spool.folder / "incoming"
    wait_until(lambda: not list(incoming.iterdir()))
    assert not any(one.sop_instance_uid == image.SOPInstanceUID for one in node.arrivals)


def test_two_hundred_associations_at_once(node: Running) -> None:
    """All are served, each with an object of its own."""
    images = [mr_image() for _ in range(200)]
    statuses: list[int | None] = []
    with ExitStack() as stack:
        senders = [stack.enter_context(RawSender(node.port)) for _ in images]
        assert all(sender.is_accepted for sender in senders)

        def store(number: int) -> None:
            image = images[number]
            status = senders[number].store(MRImageStorage, image.SOPInstanceUID, encoded(image))
            statuses.append(status)

        in_threads(store, len(images))
    assert statuses == [0x0000] * 200
    for image in images:
        node.arrival_of(image.SOPInstanceUID)


def test_associations_that_do_nothing_give_way(tool: Tool, tmp_path: Path) -> None:
    """Where all places are taken by strangers that are silent, an honest sender still comes in."""
    paths = written(tmp_path / "images", [mr_image() for _ in range(3)])
    settings = {"most_associations": 4, "evictable_seconds": 0.5}
    with running(tmp_path / "spool", **settings) as node, ExitStack() as stack:
        idle = [stack.enter_context(RawSender(node.port)) for _ in range(4)]
        assert all(sender.is_accepted for sender in idle)
        # Within half a second they have a right to their place.
        with RawSender(node.port) as early:
            assert early.answer_type in (2, 3)
        time.sleep(0.6)
        assert storescu(tool, node.port, paths).returncode == 0


def test_unknown_titles_are_rejected_and_never_heard(node: Running) -> None:
    for number in range(50):
        with RawSender(node.port, called=f"GUESS{number}") as sender:
            assert sender.answer_type == 3
