"""Results of two runs are compared by what they say, not by when they were made."""

import io
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian

from app.result_file import FILE_NAME, ResultFile, RunStatus
from operators.results.summary_page import STYLE
from package.comparison import differences

MORNING = "Version 0.1.0, made 2026-01-01 08:59"
EVENING = "Version 0.1.0, made 2026-01-02 21:30"


def page(text: str, size: float = 8, level: float = 0.5) -> bytes:
    with matplotlib.rc_context(STYLE):
        figure = Figure((4, 3))
        figure.text(0.1, 0.1, text, fontsize=size)
        figure.text(0.1, 0.3, "0123456789-:")
        figure.figimage(np.full((8, 8), level), vmin=0, vmax=1)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="pdf", metadata={"CreationDate": None, "Producer": None})
    return buffer.getvalue()


def results(
    folder: Path, pdf: bytes, status: RunStatus = RunStatus.SUCCESS, **values: object
) -> Path:
    data_set = Dataset()
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data_set.SOPClassUID, data_set.SOPInstanceUID = EncapsulatedPDFStorage, "2.25.1"
    data_set.ContentDate, data_set.SeriesNumber = "20260101", 5
    data_set.EncapsulatedDocumentLength = len(pdf)
    data_set.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    for keyword, value in values.items():
        setattr(data_set, keyword, value)
    folder.mkdir()
    data_set.save_as(folder / "summary.dcm", enforce_file_format=True)
    result = ResultFile(status=status, exit_status=0, started="", finished="")
    (folder / FILE_NAME).write_text(result.to_json())
    return folder


def test_dates_and_the_moment_on_the_page_may_differ(tmp_path):
    first = results(tmp_path / "a", page(MORNING))
    assert not differences(first, results(tmp_path / "b", page(EVENING), ContentDate="20260102"))


@pytest.mark.parametrize(
    "other",
    [
        page(MORNING.replace("0.1.0", "0.1.1")),
        page(MORNING.replace("made", "seen")),
        page(MORNING, size=9),
        page(MORNING, level=0.6),
        page(MORNING + " of 3"),
    ],
    ids=["number", "word", "size", "picture", "more text"],
)
def test_anything_else_on_the_page_may_not(tmp_path, other):
    found = differences(results(tmp_path / "a", page(MORNING)), results(tmp_path / "b", other))
    assert found == ["summary.dcm: the page differs"]


def test_values_status_and_missing_objects_are_differences(tmp_path):
    first = results(tmp_path / "a", page(MORNING))
    assert differences(first, results(tmp_path / "b", page(MORNING), SeriesNumber=6)) == [
        "summary.dcm: SeriesNumber differs"
    ]
    partial = results(tmp_path / "c", page(MORNING), RunStatus.PARTIAL)
    (partial / "summary.dcm").rename(partial / "other.dcm")
    found = differences(first, partial)
    assert len(found) == 3
    assert found[0].startswith("status")


def test_a_folder_without_result_is_an_error(tmp_path):
    first = results(tmp_path / "a", page(MORNING))
    (tmp_path / "b").mkdir()
    with pytest.raises(ValueError, match=r"holds no result\.json"):
        differences(first, tmp_path / "b")
