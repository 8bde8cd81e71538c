"""Results brought to other people's archives, and what is said when that fails."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from pydicom import dcmread
from pydicom.dataset import Dataset

from app.node.deliver.commitments import Commitments
from app.node.deliver.delivery import deliver
from app.node.deliver.outcome import OutcomeState
from app.node.deliver.settings import (
    BackOff,
    ClientTls,
    CStoreTarget,
    FolderTarget,
    StowTarget,
    TargetSettings,
)
from app.node.receive.receiver import Receiver
from app.node.receive.settings import ReceiveSettings, TlsSettings
from app.node.spool import Spool
from tests.node.certificates import made
from tests.node.node_process import free_port
from tests.node.receiving import ANYONE, mr_image, running, wait_until, written
from tests.orthanc import Orthanc, orthanc

Tool = Callable[[str], str]
DELIVERED, COMMITTED = OutcomeState.DELIVERED, OutcomeState.COMMITTED
TRANSIENT, PERMANENT = OutcomeState.TRANSIENT, OutcomeState.PERMANENT


@dataclass(frozen=True)
class Archive:
    """A running Orthanc, which reports storage commitment to ``report_port``."""

    orthanc: Orthanc
    report_port: int

    def instances(self) -> list[str]:
        found = json.loads(self.orthanc.get("/instances?expand"))
        return [item["MainDicomTags"]["SOPInstanceUID"] for item in found]


@pytest.fixture(scope="module")
def archive(tool: Tool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    report_port = free_port()
    modalities = {"node": ["QUANTMAP", "127.0.0.1", report_port]}
    folder = tmp_path_factory.mktemp("orthanc")
    with orthanc(folder, tool, DicomModalities=modalities) as running_one:
        yield Archive(running_one, report_port)


@pytest.fixture
def images() -> list[Dataset]:
    return [mr_image() for _ in range(3)]


@pytest.fixture
def paths(images: list[Dataset], tmp_path: Path) -> list[Path]:
    return written(tmp_path / "images", images)


def c_store(port: int, **changes: Any) -> CStoreTarget:
    values: dict[str, Any] = {"ae_title": "ANY", "host": "127.0.0.1", "port": port, "seconds": 10}
    return CStoreTarget(**(values | changes))


def states(target: TargetSettings, paths: list[Path], **more: Any) -> list[OutcomeState]:
    return [outcome.state for outcome in deliver(target, paths, **more)]


# Archives.


@pytest.mark.parametrize("service", ["c-store", "stow-rs"])
def test_orthanc_has_what_was_delivered_and_has_it_once(
    service: str, archive: Archive, paths: list[Path], images: list[Dataset]
) -> None:
    target = c_store(archive.orthanc.dicom_port, ae_title="ORTHANC")
    if service == "stow-rs":
        target = StowTarget(url=f"{archive.orthanc.http}/dicom-web")
    for _ in range(2):
        assert states(target, paths) == [DELIVERED] * 3
    found = archive.instances()
    assert [found.count(image.SOPInstanceUID) for image in images] == [1, 1, 1]


def test_orthanc_commits_itself(archive: Archive, paths: list[Path], tmp_path: Path) -> None:
    """It reports over an association of its own, to the receiver of the node."""
    commitments = Commitments()
    settings = ReceiveSettings(port=archive.report_port, allow=(ANYONE,), processes=1)
    receiver = Receiver(settings, Spool(tmp_path / "spool"), lambda _: None, None, commitments.take)
    receiver.start()
    try:
        target = c_store(archive.orthanc.dicom_port, ae_title="ORTHANC", commitment=True)
        assert states(target, paths, commitments=commitments) == [COMMITTED] * 3
    finally:
        receiver.stop()


def test_dcmtk_takes_them_as_they_are(tool: Tool, paths: list[Path], tmp_path: Path) -> None:
    with storescp(tool, tmp_path / "scp") as port:
        wait_until(lambda: states(c_store(port), paths) == [DELIVERED] * 3)
    assert {dcmread(path).SOPInstanceUID for path in (tmp_path / "scp").iterdir()} == {
        dcmread(path).SOPInstanceUID for path in paths
    }


@contextmanager
def storescp(tool: Tool, folder: Path) -> Iterator[int]:
    folder.mkdir()
    port = free_port()
    process = subprocess.Popen([tool("storescp"), "-od", str(folder), "+B", str(port)])
    try:
        yield port
    finally:
        process.terminate()
        process.wait()


def test_another_node_commits_itself_over_the_same_association(
    paths: list[Path], tmp_path: Path
) -> None:
    with running(tmp_path / "spool") as node:
        target = c_store(node.port, ae_title="QUANTMAP", commitment=True, commitment_seconds=20)
        assert states(target, paths) == [COMMITTED] * 3


def test_tls_both_ways(paths: list[Path], tmp_path: Path, tool: Tool) -> None:
    own, stranger = made(tmp_path / "own", tool), made(tmp_path / "stranger", tool)
    server = TlsSettings(
        certificate=own.certificate,
        key=own.key,
        trusted=own.authority,
        require_client_certificate=True,
    )
    right = ClientTls(trusted=own.authority, certificate=own.certificate, key=own.key)
    wrong = ClientTls(trusted=stranger.authority, certificate=own.certificate, key=own.key)
    unsigned = ClientTls(trusted=own.authority, certificate=stranger.certificate, key=stranger.key)
    with running(tmp_path / "spool", tls=server) as node:
        for tls, expected in ((right, DELIVERED), (wrong, TRANSIENT), (unsigned, TRANSIENT)):
            target = c_store(node.port, ae_title="QUANTMAP", tls=tls)
            assert states(target, paths) == [expected] * 3
        assert states(c_store(node.port, ae_title="QUANTMAP"), paths) == [TRANSIENT] * 3


# What goes wrong.


@pytest.mark.parametrize(
    "target",
    [
        c_store(1),
        StowTarget(url="http://127.0.0.1:1/dicom-web"),
        StowTarget(url="http://no-such-host.invalid/dicom-web"),
        FolderTarget(folder=Path("/no/such/folder")),
        c_store(1, tls=ClientTls(trusted=Path("/no/such/file"))),
    ],
)
def test_a_target_that_is_not_there_may_be_there_later(
    target: TargetSettings, paths: list[Path]
) -> None:
    outcomes = deliver(target, paths)
    assert [outcome.state for outcome in outcomes] == [TRANSIENT] * 3
    assert all(outcome.reason for outcome in outcomes)


def test_a_target_that_rejects_this_node_may_know_it_later(
    paths: list[Path], tmp_path: Path
) -> None:
    with running(tmp_path / "spool") as node:
        outcomes = deliver(c_store(node.port, ae_title="WRONG"), paths)
    assert [outcome.state for outcome in outcomes] == [TRANSIENT] * 3
    assert "called ae title not recognised" in outcomes[0].reason


def test_each_object_has_its_own_outcome(paths: list[Path], tmp_path: Path) -> None:
    """One is no DICOM file, one is gone, one lies about itself; the others arrive."""
    note = tmp_path / "note.txt"
    note.write_text("not DICOM")
    gone = tmp_path / "gone.dcm"
    lying = mr_image()
    (liar,) = written(tmp_path / "liar", [lying])
    data = liar.read_bytes()
    first = data.index(lying.SOPInstanceUID.encode())
    second = data.index(lying.SOPInstanceUID.encode(), first + 1)
    liar.write_bytes(data[: second + 5] + b"9" + data[second + 6 :])
    with running(tmp_path / "spool") as node:
        target = c_store(node.port, ae_title="QUANTMAP")
        files = [paths[0], note, liar, gone, paths[1]]
        outcomes = deliver(target, files)
    assert [outcome.path for outcome in outcomes] == files
    found = [outcome.state for outcome in outcomes]
    assert found == [DELIVERED, PERMANENT, PERMANENT, PERMANENT, DELIVERED]


def test_a_class_that_a_target_does_not_take_is_final_for_that_object_alone(
    paths: list[Path], tmp_path: Path
) -> None:
    private = mr_image(SOPClassUID="1.3.12.2.1107.5.9.1")
    files = [*paths, *written(tmp_path / "private", [private])]
    with running(tmp_path / "spool", unknown_classes=False) as node:
        assert states(c_store(node.port, ae_title="QUANTMAP"), files) == [DELIVERED] * 3 + [
            PERMANENT
        ]


def test_a_full_disk_at_the_target_may_be_emptied(paths: list[Path], tmp_path: Path) -> None:
    with running(tmp_path / "spool", smallest_free_bytes=1 << 60) as node:
        assert states(c_store(node.port, ae_title="QUANTMAP"), paths) == [TRANSIENT] * 3


def test_no_commitment_in_time_is_tried_again(
    paths: list[Path], tmp_path: Path, tool: Tool
) -> None:
    with storescp(tool, tmp_path / "scp") as port:
        wait_until(lambda: states(c_store(port), paths) == [DELIVERED] * 3)
        target = c_store(port, commitment=True, commitment_seconds=1)
        outcomes = deliver(target, paths)
    assert [outcome.state for outcome in outcomes] == [TRANSIENT] * 3
    assert "storage commitment" in outcomes[0].reason


# Folders.


def test_a_folder_has_complete_objects_by_their_uids(
    paths: list[Path], images: list[Dataset], tmp_path: Path
) -> None:
    folder = tmp_path / "share"
    folder.mkdir()
    for _ in range(2):
        assert states(FolderTarget(folder=folder), paths) == [DELIVERED] * 3
    for path, image in zip(paths, images, strict=True):
        place = folder / image.StudyInstanceUID / image.SeriesInstanceUID
        assert (place / f"{image.SOPInstanceUID}.dcm").read_bytes() == path.read_bytes()
    assert len([path for path in folder.rglob("*") if path.is_file()]) == 3


# Settings.


@given(
    st.floats(0.1, 100),
    st.floats(1, 10),
    st.floats(0.1, 1000),
    st.integers(1, 100_000),
)
def test_waits_grow_up_to_the_longest(
    initial: float, factor: float, longest: float, attempt: int
) -> None:
    back_off = BackOff(initial=initial, factor=factor, longest=longest, give_up_after=1e9)
    wait, next_wait = back_off.delay(attempt, 0), back_off.delay(attempt + 1, 0)
    assert wait is not None
    assert next_wait is not None
    assert 0 < wait <= next_wait <= longest


def test_it_is_given_up_after_the_time_that_was_set() -> None:
    back_off = BackOff(initial=10, factor=2, longest=60, give_up_after=100)
    assert back_off.delay(1, 90) == 10
    assert back_off.delay(1, 91) is None
    elapsed, attempts = 0.0, 1
    while (wait := back_off.delay(attempts, elapsed)) is not None:
        elapsed, attempts = elapsed + wait, attempts + 1
    assert elapsed <= 100
    with pytest.raises(ValueError, match="from 1"):
        back_off.delay(0, 0)


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "c-store", "ae_title": "A\\B", "host": "h", "port": 104},
        {"kind": "c-store", "ae_title": "SEVENTEEN-LETTERS", "host": "h", "port": 104},
        {"kind": "c-store", "ae_title": "A", "host": "h", "port": 0},
        {"kind": "stow-rs", "url": "ftp://x"},
        {"kind": "stow-rs", "url": "http://x", "user": "a"},
        {"kind": "stow-rs", "url": "http://x", "token": "t", "user": "a", "password": "b"},
        {"kind": "fax", "number": 1},
        {"kind": "folder", "folder": "/x", "host": "h"},
    ],
)
def test_targets_that_make_no_sense_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(TargetSettings).validate_python(values)
