"""What is on disk: the bytes that came, once, under a name of our own, complete or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from app.node.arrival import Arrival, Origin
from app.node.encoded_header import UnreadableObject
from app.node.part10 import FileMeta, encoded_file_meta, read_file_meta
from app.node.spool import Spool
from app.node.spool_file import MismatchedObject
from tests.node.receiving import encoded, in_threads, mr_image

ORIGIN = Origin("SCANNER", "QUANTMAP", "10.1.2.3", "dimse")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def meta_of(image: Dataset, origin: Origin = ORIGIN) -> FileMeta:
    syntax = "1.2.840.10008.1.2.1"
    return FileMeta(image.SOPClassUID, image.SOPInstanceUID, syntax, origin)


def stored(spool: Spool, image: Dataset, data: bytes | None = None, pieces: int = 3) -> Arrival:
    data = encoded(image) if data is None else data
    incoming = spool.begin(meta_of(image))
    step = max(len(data) // pieces, 1)
    for at in range(0, len(data), step):
        incoming.write(data[at : at + step])
    return incoming.commit()


def data_set_in(path: Path) -> bytes:
    with path.open("rb") as file:
        _, length = read_file_meta(file)
        file.seek(length)
        return file.read()


@pytest.mark.parametrize("rows", [16, 1024])
def test_an_object_is_on_disk_as_it_came(spool: Spool, rows: int) -> None:
    image = mr_image(Rows=rows, PixelData=os.urandom(2 * 16 * rows * (rows // 16)))
    arrival = stored(spool, image)
    assert data_set_in(arrival.path) == encoded(image)
    assert arrival.size == arrival.path.stat().st_size
    assert not list((spool.folder / "incoming").iterdir())


def test_pydicom_reads_the_file_and_finds_who_sent_it(spool: Spool) -> None:
    image = mr_image()
    back = dcmread(stored(spool, image).path)
    assert back == image
    assert back.file_meta.SendingApplicationEntityTitle == "SCANNER"
    assert back.file_meta.ReceivingApplicationEntityTitle == "QUANTMAP"
    assert back.file_meta.FileMetaInformationGroupLength == len(
        encoded_file_meta(meta_of(image))
    ) - (128 + 4 + 12)


def test_a_file_alone_says_what_arrived(spool: Spool) -> None:
    arrival = stored(spool, mr_image())
    assert list(Spool(spool.folder).recover()) == [arrival]
    assert (arrival.calling_ae, arrival.peer_address) == ("SCANNER", "10.1.2.3")
    assert (arrival.modality, arrival.accession_number) == ("MR", "A-17")
    assert Arrival.from_json(arrival.to_json()) == arrival


@pytest.mark.parametrize("transport", ["dimse", "stow", "folder"])
def test_the_way_that_an_object_came_is_known_again(spool: Spool, transport: str) -> None:
    image = mr_image()
    incoming = spool.begin(meta_of(image, Origin("A", "B", "fe80::1", transport)))
    incoming.write(encoded(image))
    incoming.commit()
    (found,) = spool.recover()
    assert (found.transport, found.peer_address) == (transport, "fe80::1")


def test_the_same_object_again_is_not_stored_twice(spool: Spool) -> None:
    image = mr_image()
    first, second = stored(spool, image), stored(spool, image, pieces=1)
    assert (first.repeated, second.repeated) == (False, True)
    assert second.path == first.path
    assert len(list(spool.files())) == 1


def test_another_object_under_the_same_uid_is_kept_beside(spool: Spool) -> None:
    image = mr_image()
    first = stored(spool, image)
    before = first.path.read_bytes()
    image.AccessionNumber = "other"
    second, third = stored(spool, image), stored(spool, image)
    assert (second.conflicting, second.repeated) == (True, False)
    assert (third.conflicting, third.repeated, third.path) == (True, True, second.path)
    assert first.path.read_bytes() == before
    assert sorted(one.conflicting for one in spool.recover()) == [False, True]


def test_many_writers_of_one_object_leave_one_file(spool: Spool) -> None:
    image = mr_image()
    arrivals: list[Arrival] = []
    in_threads(lambda _: arrivals.append(stored(spool, image)), 8)
    assert sorted(one.repeated for one in arrivals) == [False] + [True] * 7
    assert len(list(spool.files())) == 1


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
@pytest.mark.parametrize("uid", ["../../../etc/cron.d/x", "/etc/passwd", "1.2.3/../../x", "~root"])
def test_a_uid_that_is_a_path_is_refused(spool: Spool, keyword: str, uid: str) -> None:
    image = mr_image()
    data = encoded(image).replace(
        getattr(image, keyword).encode(), uid.encode().ljust(len(getattr(image, keyword)), b"\0")
    )
    with pytest.raises(UnreadableObject):
        stored(spool, image, data)
    assert not list(spool.files())
    assert not list((spool.folder / "incoming").iterdir())


def test_no_part_of_a_path_is_a_uid(spool: Spool) -> None:
    image = mr_image()
    path = str(stored(spool, image).path)
    for uid in (image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID):
        assert uid not in path


def test_an_object_other_than_announced_is_refused(spool: Spool) -> None:
    image, other = mr_image(), mr_image()
    with pytest.raises(MismatchedObject, match="SOP Instance UID"):
        stored(spool, image, encoded(other))
    other.SOPInstanceUID = image.SOPInstanceUID
    other.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    with pytest.raises(MismatchedObject, match="SOP Class UID"):
        stored(spool, image, encoded(other))
    assert not list(spool.files())


def test_what_a_loss_of_power_left_incomplete_is_cleared_away(spool: Spool) -> None:
    whole, cut, longer = (stored(spool, mr_image()) for _ in range(3))
    os.truncate(cut.path, cut.size - 100)
    with longer.path.open("ab") as file:
        file.write(bytes(10))
    (spool.folder / "incoming" / "half").write_bytes(b"half")
    assert [one.path for one in Spool(spool.folder).recover()] == [whole.path]
    assert list(spool.files()) == [whole.path]
    assert not list((spool.folder / "incoming").iterdir())


def test_a_foreign_file_in_the_spool_is_left_alone(spool: Spool) -> None:
    arrival = stored(spool, mr_image())
    foreign = arrival.path.with_name("foreign.dcm")
    foreign.write_bytes(b"not DICOM")
    assert [one.path for one in spool.recover()] == [arrival.path]
    assert foreign.exists()


def test_an_object_arrives_while_its_study_is_removed(spool: Spool) -> None:
    image = mr_image()
    stored(spool, image)
    spool.remove_study(image.StudyInstanceUID)
    assert not list(spool.files())
    image.SOPInstanceUID = generate_uid()
    assert stored(spool, image).path.exists()
    spool.remove_series(image.StudyInstanceUID, image.SeriesInstanceUID)
    spool.remove_series(image.StudyInstanceUID, image.SeriesInstanceUID)
    assert not list(spool.files())


def test_a_discarded_object_leaves_nothing(spool: Spool) -> None:
    incoming = spool.begin(meta_of(mr_image()))
    incoming.write(bytes(2_000_000))
    incoming.discard()
    assert not list(spool.files())
    assert not list((spool.folder / "incoming").iterdir())
