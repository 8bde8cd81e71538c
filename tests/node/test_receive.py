"""Real senders to a real receiver: what they send is on disk when they hear success."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from pydicom import dcmread
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    MRImageStorage,
)
from pynetdicom import AE

from app.node.part10 import read_file_meta
from app.node.receive.receiver import Receiver
from app.node.receive.settings import AllowedSender, ReceiveSettings, TlsSettings
from app.node.spool import Spool
from tests.node.certificates import Certificates, made
from tests.node.receiving import (
    RawSender,
    Running,
    encoded,
    in_threads,
    mr_image,
    running,
    storescu,
    wait_until,
    written,
)

Tool = Callable[[str], str]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One receiver for the tests that change nothing about it."""
    with running(tmp_path_factory.mktemp("node") / "spool") as run:
        yield run


def data_set_in(path: Path) -> bytes:
    with path.open("rb") as file:
        _, length = read_file_meta(file)
        file.seek(length)
        return file.read()


def test_dcmtk_is_answered(node: Running, tool: Tool) -> None:
    assert node.echoes(tool)


def test_real_objects_of_dcmtk_arrive_bit_by_bit(
    node: Running, tool: Tool, shared_data: Callable[[str], Path]
) -> None:
    paths = [
        *sorted(shared_data("dwi_philips_classic").rglob("*.dcm"))[:20],
        *sorted(shared_data("dwi_siemens_xa30_enhanced").rglob("*.dcm"))[:2],
        *sorted(shared_data("dicom_results_by_dcmqi").rglob("*.dcm")),
    ]
    paths = [path for path in paths if "labelmap" not in path.name]  # unknown to DCMTK
    sent = storescu(tool, node.port, paths, "-aet", "SCANNER")
    assert sent.returncode == 0, sent.stderr
    for original in map(dcmread, paths):
        arrival = node.arrival_of(original.SOPInstanceUID)
        assert (arrival.calling_ae, arrival.called_ae) == ("SCANNER", "QUANTMAP")
        assert dcmread(arrival.path) == original


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        JPEG2000Lossless,
        UID("1.2.840.10008.1.2.4.999"),
    ],
)
def test_data_sets_stay_in_their_transfer_syntax(node: Running, syntax: UID) -> None:
    from tests.node.test_encoded_header import encoded as encoded_in

    image = mr_image()
    data = encoded_in(image, syntax)
    with RawSender(node.port, [(MRImageStorage, syntax)]) as sender:
        assert sender.store(MRImageStorage, image.SOPInstanceUID, data) == 0x0000
        assert sender.release()
    arrival = node.arrival_of(image.SOPInstanceUID)
    assert data_set_in(arrival.path) == data
    with arrival.path.open("rb") as file:
        assert read_file_meta(file)[0].transfer_syntax_uid == syntax


@pytest.mark.parametrize("sop_class", ["1.3.12.2.1107.5.9.1", "1.2.840.10008.5.1.4.1.1.99999"])
def test_private_and_unknown_classes_are_taken(node: Running, sop_class: str) -> None:
    image = mr_image(SOPClassUID=sop_class)
    with RawSender(node.port, [(sop_class, ExplicitVRLittleEndian)]) as sender:
        assert sender.store(sop_class, image.SOPInstanceUID, encoded(image)) == 0x0000
    assert node.arrival_of(image.SOPInstanceUID).sop_class_uid == sop_class


def test_unknown_classes_can_be_refused(tmp_path: Path) -> None:
    contexts = [("1.3.12.2.1107.5.9.1", ExplicitVRLittleEndian)]
    with running(tmp_path, unknown_classes=False) as node, RawSender(node.port, contexts) as sender:
        assert sender.is_accepted
        status = sender.store(contexts[0][0], "1.2.3", encoded(mr_image()))
        assert status is None, "a context that was not accepted must not be used"


def test_query_and_retrieve_are_not_offered(node: Running) -> None:
    entity = AE()
    for syntax in ("1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.2"):
        entity.add_requested_context(syntax)
    entity.add_requested_context(MRImageStorage)
    association = entity.associate("127.0.0.1", node.port, ae_title="QUANTMAP")
    assert [cx.abstract_syntax for cx in association.accepted_contexts] == [MRImageStorage]
    association.release()


def test_success_is_said_after_the_file_is_there(node: Running) -> None:
    image = mr_image()
    before = set(node.spool.files())
    with RawSender(node.port) as sender:
        sender.store(MRImageStorage, image.SOPInstanceUID, encoded(image))
        assert len(set(node.spool.files()) - before) == 1


def test_four_associations_lose_nothing(tmp_path: Path, tool: Tool) -> None:
    paths = written(tmp_path / "images", [mr_image() for _ in range(80)])
    with running(tmp_path / "spool", processes=2) as node:
        results = []
        in_threads(lambda n: results.append(storescu(tool, node.port, paths[n::4])), 4)
        assert [result.returncode for result in results] == [0] * 4
        arrivals = node.arrived(80)
    assert {one.sop_instance_uid for one in arrivals} == {
        dcmread(path).SOPInstanceUID for path in paths
    }


# Who may send.


def test_nobody_is_accepted_by_default(tmp_path: Path, tool: Tool) -> None:
    with running(tmp_path, allow=()) as node:
        assert not node.echoes(tool)
        assert node.happened("rejected").reason == "sender not on the allow-list"


def test_title_and_address_must_both_be_allowed(tmp_path: Path, tool: Tool) -> None:
    senders = (
        AllowedSender(ae_title="SCANNER", addresses=("127.0.0.1", "10.0.0.0/8")),
        AllowedSender(ae_title="ELSEWHERE", addresses=("10.0.0.0/8",)),
    )
    with running(tmp_path, allow=senders) as node:
        assert node.echoes(tool, "-aet", "SCANNER")
        assert not node.echoes(tool, "-aet", "ELSEWHERE")
        assert not node.echoes(tool, "-aet", "OTHER")


def test_an_ipv4_sender_on_an_ipv6_socket_is_known_by_its_ipv4_address() -> None:
    sender = AllowedSender(ae_title="*", addresses=("10.1.0.0/16",))
    assert sender.matches("ANY", "::ffff:10.1.2.3")
    assert not sender.matches("ANY", "::ffff:10.2.2.3")


def test_only_its_own_titles_are_served(node: Running) -> None:
    with RawSender(node.port, called="OTHER") as sender:
        assert (sender.answer_type, sender.answer[1:]) == (3, bytes((1, 1, 7)))
    assert node.happened("rejected").reason == "called AE title not served"


# TLS.


@pytest.fixture(scope="module")
def certificates(tool: Tool, tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return made(tmp_path_factory.mktemp("tls") / "node", tool)


def test_tls_needs_the_right_certificate(
    tmp_path: Path, tool: Tool, certificates: Certificates
) -> None:
    tls = TlsSettings(
        certificate=certificates.certificate,
        key=certificates.key,
        trusted=certificates.authority,
        require_client_certificate=True,
    )
    stranger = made(tmp_path / "stranger", tool)
    trusted = ["+cf", str(certificates.authority)]
    with running(tmp_path / "spool", tls=tls) as node:
        own = ["+tls", str(certificates.key), str(certificates.certificate)]
        assert node.echoes(tool, *own, *trusted)
        assert not node.echoes(tool, "+tls", str(stranger.key), str(stranger.certificate), *trusted)
        assert not node.echoes(tool, "+tla", *trusted)
        assert not node.echoes(tool)
        assert node.echoes(tool, *own, *trusted)


def test_tls_without_client_certificates(
    tmp_path: Path, tool: Tool, certificates: Certificates
) -> None:
    tls = TlsSettings(certificate=certificates.certificate, key=certificates.key)
    with running(tmp_path / "spool", tls=tls) as node:
        assert node.echoes(tool, "+tla", "+cf", str(certificates.authority))
        # One that begins a handshake and stops must not keep the others out.
        with socket.create_connection(("127.0.0.1", node.port)) as silent:
            silent.send(b"\x16\x03\x01")
            paths = written(tmp_path / "images", [mr_image()])
            options = ("+tla", "+cf", str(certificates.authority))
            assert storescu(tool, node.port, paths, *options).returncode == 0


def test_missing_tls_files_are_told_at_start(tmp_path: Path) -> None:
    tls = TlsSettings(certificate=tmp_path / "none.pem", key=tmp_path / "none.key")
    settings = ReceiveSettings(port=0, tls=tls)
    with pytest.raises(OSError, match=r"No such file|none"):
        Receiver(settings, Spool(tmp_path / "spool"), lambda _: None).start()


# Disk.


def test_a_full_disk_refuses_associations(tmp_path: Path) -> None:
    with running(tmp_path, smallest_free_bytes=1 << 60) as node, RawSender(node.port) as sender:
        assert (sender.answer_type, sender.answer[1:]) == (3, bytes((2, 3, 1)))
        assert node.happened("rejected").reason == "the disk is almost full"


def test_a_disk_that_fills_up_refuses_the_object_and_keeps_the_association(
    small_disk: Path,
) -> None:
    large = mr_image(PixelData=os.urandom(6_000_000))
    small = mr_image()
    with running(small_disk / "spool") as node, RawSender(node.port) as sender:
        status = sender.store(MRImageStorage, large.SOPInstanceUID, encoded(large))
        assert status == 0xA700
        assert sender.store(MRImageStorage, small.SOPInstanceUID, encoded(small)) == 0x0000
        assert [one.sop_instance_uid for one in node.arrived(1)] == [small.SOPInstanceUID]
        assert len(list(node.spool.files())) == 1
        assert not list((small_disk / "spool" / "incoming").iterdir())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small file system can only be mounted by root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


# Crashes.


def serving(node: Running) -> list[psutil.Process]:
    process = node.receiver._process
    assert process is not None
    return psutil.Process(process.pid).children()


def test_a_killed_process_is_replaced_and_what_it_acknowledged_is_kept(
    tmp_path: Path, tool: Tool
) -> None:
    images = [mr_image() for _ in range(4)]
    with running(tmp_path / "spool") as node:
        for number, image in enumerate(images):
            with RawSender(node.port) as sender:
                store = sender.store(MRImageStorage, image.SOPInstanceUID, encoded(image))
                assert store == 0x0000
                node.arrived(number + 1)
            wait_until(lambda: len(serving(node)) == 1)
            os.kill(serving(node)[0].pid, signal.SIGKILL)
        assert node.echoes(tool)
    assert {one.sop_instance_uid for one in Spool(tmp_path / "spool").recover()} == {
        image.SOPInstanceUID for image in images
    }


def test_all_processes_are_started_again_and_none_is_left_over(tmp_path: Path, tool: Tool) -> None:
    with running(tmp_path / "spool") as node:
        assert node.echoes(tool)
        (orphan,) = serving(node)
        assert node.receiver._process is not None
        os.kill(node.receiver._process.pid, signal.SIGKILL)
        wait_until(lambda: not orphan.is_running())
        assert node.echoes(tool)
        assert node.receiver.alive
        last = serving(node)
    assert not any(process.is_running() for process in last)


def test_arrivals_that_are_not_taken_over_are_told_again(tmp_path: Path) -> None:
    refused: list[int] = []
    told = []

    def unwilling(arrivals: object) -> None:
        if len(refused) < 3:
            refused.append(1)
            raise RuntimeError("the ledger is locked")
        told.extend(arrivals)

    with running(tmp_path / "spool") as node:
        node.receiver._on_arrivals = unwilling
        image = mr_image()
        with RawSender(node.port) as sender:
            sender.store(MRImageStorage, image.SOPInstanceUID, encoded(image))
        wait_until(lambda: bool(told))
    assert len(refused) == 3
    assert [one.sop_instance_uid for one in told] == [image.SOPInstanceUID]


def test_receiver_processes_are_small(node: Running, tool: Tool) -> None:
    assert node.echoes(tool)
    assert node.receiver._process is not None
    parent = psutil.Process(node.receiver._process.pid)
    private = [p.memory_full_info().pss for p in (parent, *parent.children())]
    assert sum(private) < 150 * 2**20
    for process in (parent, *parent.children()):
        loaded = {Path(mapped.path).name for mapped in process.memory_maps()}
        assert not any(name.startswith("libtorch") for name in loaded)
