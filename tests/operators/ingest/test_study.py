"""Loading a folder: what is used, what is skipped and why, and within which memory."""

import gzip
import os
import tracemalloc

import numpy as np
import pydicom
import pytest
from pydicom.fileset import FileSet

from operators.ingest.study import load_study


def reasons(study):
    return {str(file.path): file.reason for file in study.skipped}


def test_every_file_is_either_in_a_series_or_skipped_with_a_reason(write, volumes):
    folder = write(volumes())
    (folder / "notes.txt").write_text("nothing")
    (folder / "empty.dcm").touch()
    (folder / "broken").symlink_to(folder / "nowhere")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    os.mkfifo(folder / "pipe")
    told = []
    study = load_study(folder, lambda done, total: told.append((done, total)))
    assert [len(series.images) for series in study.series] == [3]
    assert reasons(study) == {
        "notes.txt": "is not a DICOM file",
        "empty.dcm": "is empty",
        "broken": "cannot be opened: No such file or directory",
        "pipe": "is not a regular file",
    }
    assert told[-1] == (7, 7)


def test_a_dicomdir_and_objects_without_an_image_plane_are_skipped(write, volumes, tmp_path):
    folder = write(volumes())
    (tmp_path / "media").mkdir()
    FileSet().write(tmp_path / "media")
    report = pydicom.dcmread(next((folder / "series1").iterdir()))
    del report.PixelData
    report.SOPInstanceUID = report.file_meta.MediaStorageSOPInstanceUID = "1.9"
    report.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.33"
    report.save_as(folder / "report.dcm")
    report.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    report.save_as(folder / "without_pixels.dcm")
    found = reasons(load_study(folder))
    assert found["media/DICOMDIR"] == "is a DICOMDIR"
    assert found["report.dcm"] == "is no MR image (Comprehensive SR Storage)"
    assert found["without_pixels.dcm"] == "has no pixel data"


def test_a_second_copy_of_an_image_is_skipped(write, volumes):
    folder = write(volumes())
    first = sorted((folder / "series1").iterdir())[0]
    (folder / "series1" / "zcopy.dcm").write_bytes(first.read_bytes())
    study = load_study(folder)
    assert len(study.series[0].images) == 3
    assert "SOP Instance UID of series1" in reasons(study)["series1/zcopy.dcm"]


def test_gzip_is_transparent(write, volumes, only):
    values = volumes(volumes=2)
    folder = write(values, per_volume=[{"EchoTime": 10}, {"EchoTime": 20}])
    for path in list((folder / "series1").iterdir()):
        path.with_suffix(".dcm.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    np.testing.assert_array_equal(only(folder).volume().array, values)


def test_damaged_gzip_and_a_gzip_bomb_are_skipped_within_bounded_memory(tmp_path):
    (tmp_path / "damaged.gz").write_bytes(b"\x1f\x8b" + b"garbage" * 9)
    with gzip.open(tmp_path / "bomb.gz", "wb", compresslevel=1) as bomb:
        for _ in range(300):
            bomb.write(bytes(1024**2))
    found = reasons(load_study(tmp_path))
    assert found["damaged.gz"] == "is damaged gzip"
    assert "over 256 MiB" in found["bomb.gz"]


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize(
    ("keyword", "value", "reason"),
    [
        ("Rows", 60000, "announces"),
        ("Rows", 0, "Rows 0"),
        ("Rows", 1, "holds"),
        ("NumberOfFrames", 900000, "announces"),
        ("BitsAllocated", 128, "BitsAllocated 128"),
        ("BitsStored", 17, "BitsStored 17"),
        ("HighBit", 3, "High Bit 3"),
        ("SOPInstanceUID", "1.2.x", "SOPInstanceUID"),
        ("ImagePositionPatient", None, "image plane"),
        ("PixelSpacing", None, "image plane"),
    ],
)
def test_a_contradictory_image_is_skipped_before_its_pixels_are_believed(
    write, volumes, keyword, value, reason
):
    folder = write(
        volumes(), amend=lambda image, index, _: index == 1 and setattr(image, keyword, value)
    )
    tracemalloc.start()
    study = load_study(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(study.series[0].images) == 2
    assert reason in next(iter(reasons(study).values()))
    assert peak < 8 * 1024**2


def test_compressed_pixels_that_announce_gigabytes_are_skipped(write):
    folder = write(np.zeros((1, 8, 8)))
    path = next((folder / "series1").iterdir())
    image = pydicom.dcmread(path)
    image.compress("1.2.840.10008.1.2.5")
    image.Rows = image.Columns = 60000
    image.save_as(path)
    assert "compressed to" in next(iter(reasons(load_study(folder)).values()))


def test_files_of_a_truncated_copy_are_skipped(write, volumes):
    folder = write(volumes())
    path = sorted((folder / "series1").iterdir())[0]
    content = path.read_bytes()
    for number, length in enumerate(range(0, len(content), 97)):
        (folder / f"cut{number:03d}.dcm").write_bytes(content[:length])
    study = load_study(folder)
    assert len(study.series[0].images) == 3
    assert len(study.skipped) == number + 1


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_study(tmp_path / "nowhere")
