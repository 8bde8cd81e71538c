from __future__ import annotations

import io

import highdicom as hd
import pytest
from made_results import made_geometry, made_source
from pydicom import config, dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID

from operators.results.source import (
    character_set,
    template_image,
)
from operators.vocabulary.acquisition import SourceSeries


def read_back(header: Dataset) -> Dataset:
    """The header as it comes from a file: encoded, elements not yet decoded."""
    buffer = io.BytesIO()
    header.save_as(buffer, implicit_vr=False, little_endian=True)
    buffer.seek(0)
    return dcmread(buffer, force=True)


def encoded(template: Dataset) -> bytes:
    buffer = io.BytesIO()
    template.save_as(buffer, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


@pytest.mark.parametrize("from_file", [False, True])
@pytest.mark.parametrize(
    ("declared", "written", "encoding"),
    [("ISO_IR 100", "ISO_IR 100", "latin-1"), (["", "ISO 2022 IR 100"], "ISO_IR 192", "utf-8")],
)
def test_text_keeps_a_single_character_set_and_else_becomes_utf_8(
    declared: str | list[str], written: str, encoding: str, from_file: bool
) -> None:
    source = made_source(made_geometry("axial"))
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "1", "99X", "Schädel"
    source.header.SpecificCharacterSet = declared
    source.header.ProcedureCodeSequence = [code]
    source.header.StudyDescription = "Schädel-MRT"
    header = read_back(source.header) if from_file else source.header
    template = template_image(SourceSeries(header, source.images), made_geometry("axial"))
    assert template.SpecificCharacterSet == written
    assert template.StudyDescription == "Schädel-MRT"
    assert encoded(template).count("Schädel".encode(encoding)) == 2


def test_text_that_the_character_set_of_the_source_lacks_is_written_in_utf_8() -> None:
    header = made_source(made_geometry("axial")).header
    assert character_set(header, "10⁻³ mm²/s") == "ISO_IR 192"
    assert character_set(header, "mm²/s") == "ISO_IR 100"


def test_what_the_source_lacks_is_present_but_empty() -> None:
    source = made_source(made_geometry("axial"))
    for keyword in ("PatientName", "PatientID", "StudyID", "StudyDate", "AccessionNumber"):
        delattr(source.header, keyword)
    source.header.PatientSex = "W"
    template = template_image(source, made_geometry("axial"))
    assert not template.PatientID
    assert not template.StudyDate
    assert not template.PatientSex


def test_values_that_their_type_forbids_are_left_empty() -> None:
    source = made_source(made_geometry("axial"))
    element = source.header["StudyDate"]
    element.validation_mode = config.IGNORE
    element.value = "***"
    source.header.ReferencedStudySequence = []
    template = template_image(source, made_geometry("axial"))
    assert not template.StudyDate
    assert template.StudyTime == "101112"
    assert "ReferencedStudySequence" not in template


def test_valid_values_of_every_type_are_kept() -> None:
    source = made_source(made_geometry("axial"))
    template = template_image(source, made_geometry("axial"))
    dropped = {e.keyword for e in source.header if e.value and not template.get(e.keyword)}
    assert dropped == {"PatientName"}
    assert template.PatientWeight == 62
    assert template.EchoTrainLength == 60


def test_a_source_without_frame_of_reference_gets_the_same_one_every_time() -> None:
    grid = made_geometry("axial")
    bare = hd.VolumeGeometry(grid.affine, grid.spatial_shape, "PATIENT")
    source = made_source(grid)
    del source.header.FrameOfReferenceUID
    first, second = (template_image(source, bare).FrameOfReferenceUID for _ in range(2))
    assert first == second
    assert UID(first).is_valid
    assert template_image(source, grid).FrameOfReferenceUID == grid.frame_of_reference_uid


def test_private_attributes_pixels_and_frames_stay_behind() -> None:
    source = made_source(made_geometry("axial"))
    source.header.add_new(0x00191001, "LO", "Grün^Anna")
    source.header.NumberOfFrames = 4
    source.header.PerFrameFunctionalGroupsSequence = [Dataset()]
    template = template_image(source, made_geometry("axial"))
    assert not any(element.tag.is_private for element in template)
    assert "PerFrameFunctionalGroupsSequence" not in template
    assert "NumberOfFrames" not in template
    assert "NumberOfFrames" in source.header  # the source itself is untouched


def test_the_plane_is_that_of_the_result_not_of_the_source() -> None:
    fine = made_geometry("oblique", (3, 24, 20))
    template = template_image(made_source(made_geometry("axial")), fine)
    assert (template.Rows, template.Columns) == (24, 20)
    assert template.ImageOrientationPatient == (
        fine.get_plane_orientation()[0].ImageOrientationPatient
    )
