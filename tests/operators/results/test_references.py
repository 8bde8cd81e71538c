from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import pytest
from made_results import made_geometry, made_result, made_source
from pydicom import dcmread
from pydicom.dataset import Dataset

from operators.results.references import SourceReferences, images_by_slice, slices_ascending
from operators.results.segmentation import segmentation
from operators.results.series_plan import ResultPlan
from operators.vocabulary.acquisition import SourceSeries
from operators.vocabulary.result import PipelineResult

Planned = Callable[..., ResultPlan]


def read_back(dataset: Dataset) -> Dataset:
    buffer = io.BytesIO()
    dataset.save_as(buffer, implicit_vr=False, little_endian=True)
    buffer.seek(0)
    return dcmread(buffer, force=True)


def with_further_source(result: PipelineResult) -> PipelineResult:
    other = made_source(result.maps[0].volume.get_geometry(), 9, volumes=1)
    return replace(result, further_sources=(other, other))


def all_uids(result: PipelineResult) -> list[str]:
    series = {s.series_instance_uid: s for s in (result.source, *result.further_sources)}
    return [image.sop_instance_uid for s in series.values() for image in s.images]


def test_every_image_is_named_once_in_every_form() -> None:
    result = with_further_source(made_result("axial"))
    references, dataset = SourceReferences(result), Dataset()
    references.name_images(dataset)
    references.name_images(dataset, "SourceInstanceSequence")
    references.name_series(dataset)
    references.name_evidence(dataset, "PertinentOtherEvidenceSequence")
    expected = all_uids(result)
    for read in (dataset, read_back(dataset)):
        flat = [i.ReferencedSOPInstanceUID for i in read.SourceImageSequence]
        again = [i.ReferencedSOPInstanceUID for i in read.SourceInstanceSequence]
        by_series = [
            i.ReferencedSOPInstanceUID
            for s in read.ReferencedSeriesSequence
            for i in s.ReferencedInstanceSequence
        ]
        (study,) = read.PertinentOtherEvidenceSequence
        evidence = [
            i.ReferencedSOPInstanceUID
            for s in study.ReferencedSeriesSequence
            for i in s.ReferencedSOPSequence
        ]
        assert flat == again == by_series == evidence == expected
        assert study.StudyInstanceUID == result.source.header.StudyInstanceUID


def test_frames_of_a_segmentation_name_the_images_of_their_slice(planned: Planned) -> None:
    plan = planned(orientation="descending")
    slice_of = {i.sop_instance_uid: i.slices[0] for i in plan.result.source.images}
    for frame in read_back(segmentation(plan)).PerFrameFunctionalGroupsSequence:
        z = float(frame.PlanePositionSequence[0].ImagePositionPatient[2])
        sources = frame.DerivationImageSequence[0].SourceImageSequence
        found = {slice_of[i.ReferencedSOPInstanceUID] for i in sources}
        assert found == {round((44.75 - z) / 3.0)}


def test_frames_share_all_images_where_slices_are_unknown(planned: Planned) -> None:
    result = made_result("axial")
    images = tuple(replace(image, slices=()) for image in result.source.images)
    source = SourceSeries(result.source.header, images)
    dataset = segmentation(planned(replace(result, source=source)))
    shared = dataset.SharedFunctionalGroupsSequence[0].DerivationImageSequence[0]
    assert len(shared.SourceImageSequence) == len(images)
    assert {i.SpatialLocationsPreserved for i in shared.SourceImageSequence} == {"NO"}
    assert not any(
        "DerivationImageSequence" in frame for frame in dataset.PerFrameFunctionalGroupsSequence
    )


@pytest.mark.parametrize(("orientation", "first"), [("axial", 0), ("descending", 6)])
def test_slices_ascend_along_row_cross_column(orientation: str, first: int) -> None:
    assert slices_ascending(made_geometry(orientation))[0] == first


def test_images_are_named_per_slice_only_where_that_is_certain() -> None:
    source = made_result("axial").source
    by_slice = images_by_slice(source, 7)
    assert sorted(by_slice) == list(range(7))
    assert all(image.slices == (k,) for k, images in by_slice.items() for image in images)
    assert images_by_slice(source, 14) == {}
    unknown = SourceSeries(
        source.header,
        tuple(
            type(i)(i.path, i.sop_class_uid, i.sop_instance_uid, i.frames) for i in source.images
        ),
    )
    assert images_by_slice(unknown, 7) == {}
