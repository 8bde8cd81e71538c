"""Super-resolution of a DICOM study of a phantom: the right values in the right place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from models.superres.held_out import FLAIR, Phantom, procedural_phantom
from models.superres.metrics import hfen
from models.superres.study import signals
from operators.inference.bundle import Bundle
from operators.inference.settings import SuperresSettings
from operators.inference.superres import superres_outcome
from operators.inference.superres_study import upsampled
from operators.ingest.acquire import acquire
from operators.ingest.settings import IngestSettings
from operators.vocabulary.result import PipelineResult
from tests.superres_phantom_study import (
    MPRAGE_SETTINGS,
    PhantomStudy,
    simulated,
    write_guide,
    write_maps,
    write_phantom_study,
)

SHAPE = (10, 80, 80)
LESION = (6, 30, 52)
"""Left of the midline, in front of the middle, towards the head."""
RADIUS = 3.5


def analysed(
    folder: Path, bundles: Mapping[str, Bundle], settings: Mapping[str, Any] | None = None
) -> PipelineResult:
    chosen = SuperresSettings.model_validate({"t1w": MPRAGE_SETTINGS} | dict(settings or {}))
    outcome = superres_outcome(acquire(folder, IngestSettings()), bundles, chosen, "cpu")
    assert outcome.refusals == ()
    (result,) = outcome.results
    return result


def array_of(result: PipelineResult, name: str) -> np.ndarray:
    (found,) = [one for one in result.maps if one.quantity.name == name]
    return found.volume.array


def codes(result: PipelineResult) -> set[str]:
    return {finding.code for finding in result.findings}


def lesion_mask() -> np.ndarray:
    z, y, x = np.indices(SHAPE)
    distance = np.sqrt((2 * (z - LESION[0])) ** 2 + (y - LESION[1]) ** 2 + (x - LESION[2]) ** 2)
    return distance < RADIUS


def with_lesion(phantom: Phantom) -> Phantom:
    maps = phantom.maps.clone()
    inside = torch.from_numpy(lesion_mask())
    maps[0, :, inside] = torch.tensor([0.85, 1900.0, 160.0])[:, None]
    return replace(phantom, maps=maps * phantom.mask)


@pytest.fixture(scope="module")
def healthy() -> Phantom:
    return procedural_phantom(SHAPE, 7)


@pytest.fixture(scope="module")
def study(healthy: Phantom) -> PhantomStudy:
    return simulated(SHAPE, phantom=with_lesion(healthy))


@pytest.fixture(scope="module")
def result(
    study: PhantomStudy,
    superres_bundles: Mapping[str, Bundle],
    tmp_path_factory: pytest.TempPathFactory,
) -> PipelineResult:
    folder = write_phantom_study(tmp_path_factory.mktemp("study"), study)
    return analysed(folder, superres_bundles, {"relaxation_rates": True})


def inside(study: PhantomStudy) -> np.ndarray:
    return study.phantom.mask[0, 0].numpy() > 0


def test_the_result_lies_on_the_grid_of_the_guides(
    study: PhantomStudy, result: PipelineResult
) -> None:
    for one in result.maps:
        assert one.volume.spatial_shape == SHAPE
        np.testing.assert_allclose(one.volume.affine, study.affine, atol=1e-6)


def test_the_measured_maps_stay_as_they_were(study: PhantomStudy, result: PipelineResult) -> None:
    for one, values in zip(result.measured_maps, study.low, strict=True):
        np.testing.assert_allclose(one.volume.affine, study.low_affine, atol=1e-6)
        np.testing.assert_allclose(one.volume.array, values, atol=0.11)


def test_maps_become_sharper_and_keep_their_values(
    study: PhantomStudy, result: PipelineResult
) -> None:
    where = inside(study)
    truth = study.phantom.maps[0].numpy()
    for index, name in ((1, "t1"), (2, "t2")):
        coarse = upsampled(study.low[index], SHAPE)
        ours = array_of(result, name)
        assert hfen(ours, truth[index], where) < 0.4 * hfen(coarse, truth[index], where)
        for tissue, limit in (("white matter", 0.03), ("grey matter", 0.05)):
            pure = (study.phantom.fractions[tissue] > 0.95) & where & ~lesion_mask()
            assert np.median(ours[pure]) == pytest.approx(np.median(truth[index][pure]), rel=limit)


def test_a_lesion_lands_where_it_is_and_nowhere_else(
    study: PhantomStudy, result: PipelineResult
) -> None:
    t1 = array_of(result, "t1")
    z, y, x = LESION
    assert t1[z, y, x] == pytest.approx(1900, rel=0.08)
    (volume,) = [one.volume for one in result.maps if one.quantity.name == "t1"]
    place = volume.affine @ [z, y, x, 1]
    np.testing.assert_allclose(place, study.affine @ [z, y, x, 1], atol=1e-6)
    mirrored = study.phantom.maps[0, 1, z, y, SHAPE[2] - 1 - x]
    assert t1[z, y, SHAPE[2] - 1 - x] == pytest.approx(float(mirrored), rel=0.25)


def test_rates_are_the_inverse_of_times(result: PipelineResult) -> None:
    head = array_of(result, "t1") > 0
    np.testing.assert_allclose(
        array_of(result, "r1")[head] * array_of(result, "t1")[head], 1000, rtol=1e-5
    )
    assert (array_of(result, "r2")[~head] == 0).all()


def test_an_unseen_contrast_is_that_of_the_truth(
    study: PhantomStudy, result: PipelineResult
) -> None:
    (flair,) = [one for one in result.synthetic_images if one.kind == "FLAIR"]
    truth = signals((FLAIR,), study.phantom.maps)[0, 0].numpy()
    where = inside(study)
    assert np.corrcoef(flair.volume.array[where], truth[where])[0, 1] > 0.9


def test_partial_volumes_add_up_to_the_tissues_of_the_phantom(
    study: PhantomStudy, result: PipelineResult
) -> None:
    voxel = 16 / 1000
    shares = study.phantom.fractions
    for one, tissue in zip(result.fractions, ("white matter", "grey matter", "csf"), strict=True):
        assert one.millilitres == pytest.approx(shares[tissue].sum() * voxel, rel=0.15)
    total = sum(one.volume.array for one in result.fractions)
    (brain,) = [one for one in result.segments if one.name == "Brain"]
    np.testing.assert_allclose(total[brain.volume.array > 0], 1, atol=1e-5)
    (bpf,) = [one for one in result.region_values if one.name.value == "BPF"]
    truth = 1 - shares["csf"].sum() / sum(one.sum() for one in shares.values())
    assert bpf.value == pytest.approx(100 * truth, abs=3)


def test_what_was_done_is_told(result: PipelineResult) -> None:
    assert {
        "guide-registered", "guide-resampled", "guide-scale", "guide-residual", "map-consistency",
        "values-at-bounds", "guides-and-maps-disagree", "tissue-values", "tissue-volumes",
    } <= codes(result)  # fmt: skip
    assert not any("PHANTOM" in finding.message for finding in result.findings)


def test_sources_are_all_named(result: PipelineResult) -> None:
    numbers = [result.source.series_number, *(one.series_number for one in result.further_sources)]
    assert numbers == [2, 1, 3, 4, 5]


def test_fluid_attenuated_images_guide_nothing(result: PipelineResult) -> None:
    assert 6 not in {one.series_number for one in result.further_sources}


def test_oblique_studies_give_the_same_values(
    study: PhantomStudy, result: PipelineResult, superres_bundles: Mapping[str, Bundle],
    tmp_path: Path,
) -> None:  # fmt: skip
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", [17, -24, 11], degrees=True).as_matrix()
    turned = replace(study, affine=turn @ study.affine, low_affine=turn @ study.low_affine)
    oblique = analysed(write_phantom_study(tmp_path, turned), superres_bundles)
    where = inside(study)
    np.testing.assert_allclose(oblique.maps[0].volume.affine, turned.affine, atol=1e-5)
    difference = np.abs(array_of(oblique, "t1") - array_of(result, "t1"))[where]
    assert difference.mean() < 0.01 * array_of(result, "t1")[where].mean()


def test_a_lesion_that_only_the_guides_show_is_flagged(
    healthy: Phantom, study: PhantomStudy, superres_bundles: Mapping[str, Bundle], tmp_path: Path
) -> None:
    write_maps(tmp_path, simulated(SHAPE, phantom=healthy))
    write_guide(tmp_path, study, "t1w")
    write_guide(tmp_path, study, "t2w")
    found = analysed(tmp_path, superres_bundles)
    (flagged,) = [one for one in found.segments if one.name == "Guides and maps disagree"]
    where = flagged.volume.array > 0
    assert where[lesion_mask()].mean() > 0.5
    assert where[~lesion_mask()].mean() < 0.03
    # Both sources count: the lesion is in the result, and not at its full strength.
    t1 = array_of(found, "t1")[lesion_mask()].mean()
    before = float(healthy.maps[0, 1][torch.from_numpy(lesion_mask())].mean())
    assert before * 1.05 < t1 < 1900


def test_a_guide_that_moved_a_little_is_brought_back(
    study: PhantomStudy, superres_bundles: Mapping[str, Bundle], tmp_path: Path
) -> None:
    write_maps(tmp_path, study)
    moved = study.affine.copy()
    moved[:3, 3] += (2.0, -1.0, 0.5)
    write_guide(tmp_path, study, "t2w", affine=moved)
    write_guide(tmp_path, study, "t1w")
    found = analysed(tmp_path, superres_bundles)
    (told,) = [one for one in found.findings if "T2w guide (series 5) was moved" in one.message]
    assert told.severity == "warning"
    truth = study.phantom.maps[0, 2].numpy()
    coarse = upsampled(study.low[2], SHAPE)
    where = inside(study)
    assert hfen(array_of(found, "t2"), truth, where) < 0.5 * hfen(coarse, truth, where)


def test_fitted_sequence_parameters_do_no_harm_and_are_told(
    study: PhantomStudy, superres_bundles: Mapping[str, Bundle], tmp_path: Path
) -> None:
    write_phantom_study(tmp_path, study)
    found = analysed(tmp_path, superres_bundles, {"t1w": {}, "refine": True, "contrasts": []})
    assert "sequence-parameters-fitted" in codes(found)
    assert found.synthetic_images == ()
    pure = (study.phantom.fractions["white matter"] > 0.95) & inside(study)
    truth = study.phantom.maps[0, 1].numpy()
    assert np.median(array_of(found, "t1")[pure]) == pytest.approx(np.median(truth[pure]), rel=0.03)


def test_fat_suppression_that_differs_is_flagged(
    study: PhantomStudy, superres_bundles: Mapping[str, Bundle], tmp_path: Path
) -> None:
    write_maps(tmp_path, study)
    write_guide(tmp_path, study, "t2w", {"ScanOptions": "FS", "BodyPartExamined": ""})
    found = analysed(tmp_path, superres_bundles)
    assert "fat-suppression-differs" in codes(found)
    assert [one.quantity.name for one in found.maps if "residual" in one.quantity.name] == [
        "t2w_residual"
    ]
