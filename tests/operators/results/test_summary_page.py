from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from made_results import made_result
from PIL import Image
from pydicom import dcmread

from operators.results.series_plan import ResultPlan
from operators.results.summary import write_summary
from operators.results.summary_page import summary_page
from operators.vocabulary.finding import Finding, Severity

Planned = Callable[..., ResultPlan]
NAMES = ("t1", "t2", "proton_density", "b0_shift")


def pdf_streams(pdf: bytes) -> bytes:
    """The decompressed streams of a PDF, one after the other."""
    streams = []
    for part in pdf.split(b"stream\n")[1:]:
        try:
            streams.append(zlib.decompressobj().decompress(part))
        except zlib.error:
            continue
    return b"".join(streams)


def test_a_landscape_picture_and_the_same_page_as_pdf(planned: Planned) -> None:
    page = summary_page(planned(names=NAMES))
    picture = Image.open(BytesIO(page.png))
    assert picture.width / picture.height == pytest.approx(11.69 / 8.27, abs=0.01)
    assert picture.width >= 2000
    assert page.pdf.startswith(b"%PDF")
    assert page.pdf.count(b"/Type /Page ") + page.pdf.count(b"/Type /Page\n") == 1


def test_no_patient_is_named(planned: Planned) -> None:
    plan = planned(names=("t1",))
    page = summary_page(plan)
    header = plan.result.source.header
    text = page.pdf + pdf_streams(page.pdf) + page.png
    for secret in (header.PatientID, "Anna", header.SeriesDescription, header.StudyInstanceUID):
        assert str(secret).encode() not in text


def test_the_same_result_gives_the_same_page(planned: Planned) -> None:
    assert summary_page(planned(names=("t1",))) == summary_page(planned(names=("t1",)))


def test_values_and_only_analysed_voxels_are_coloured(planned: Planned) -> None:
    page = summary_page(planned(names=("t1",)))
    picture = np.asarray(Image.open(BytesIO(page.png)).convert("RGB")).astype(int)
    saturation = picture.max(axis=2) - picture.min(axis=2)
    assert (saturation > 60).mean() > 0.01
    assert (picture.max(axis=2) == 0).mean() > 0.01


def test_many_and_long_findings_fit(planned: Planned) -> None:
    findings = tuple(
        Finding(f"code-{k}", "A long sentence about the data. " * 9, Severity.ERROR)
        for k in range(9)
    )
    page = summary_page(planned(replace(made_result(names=NAMES), findings=findings)))
    assert len(page.png) > 10_000


def test_no_finding_no_segment_no_model_still_make_a_page(planned: Planned) -> None:
    result = made_result("single", names=("t1",))
    bare = replace(
        result,
        findings=(),
        segments=(),
        colour_maps=(),
        algorithm=replace(result.algorithm, model_sha256={}, configuration={}),
    )
    assert summary_page(planned(bare)).pdf.startswith(b"%PDF")


def test_the_object_holds_the_page(planned: Planned, tmp_path: Path) -> None:
    picture, document = write_summary(planned(names=("t1",)), tmp_path)
    assert (tmp_path / picture.path).read_bytes().startswith(b"\x89PNG")
    dataset = dcmread(tmp_path / document.path)
    pdf = dataset.EncapsulatedDocument[: dataset.EncapsulatedDocumentLength]
    assert pdf.startswith(b"%PDF")
    assert pdf.rstrip().endswith(b"%%EOF")
    assert dataset.MIMETypeOfEncapsulatedDocument == "application/pdf"
    assert dataset.SOPInstanceUID == document.sop_instance_uid
