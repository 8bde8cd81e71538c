"""Super-resolution as a whole, with the shipped network through ONNX Runtime."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.superres.anatomy import AIR
from models.superres.bundle import FOLDER, TOLERANCE, load_network, open_session, session_step
from models.superres.consistency import AFTER_NETWORK, gauss_newton
from models.superres.disagreement import FLAGGED, disagreement
from models.superres.evaluate import anchor_only, human_similarities, with_lesion
from models.superres.held_out import (
    T1_WEIGHTED,
    T2_WEIGHTED,
    Phantom,
    figures,
    measured_study,
    phantom_of,
    procedural_phantom,
    published_labels,
    published_phantom,
    varied_phantom,
)
from models.superres.human import human_slices
from models.superres.network import LOWER, UPPER, Evidence
from models.superres.phantom import block_mean, reference_values
from models.superres.reconstruction import (
    Stage,
    Step,
    initial_maps,
    reconstruct,
    super_resolve,
)
from models.superres.refine import refine, voxelwise_lbfgs
from models.superres.signal import SpinEcho, SpoiledGradientEcho
from models.superres.study import Study, cropped, scale_guides, signals, uncropped


@pytest.fixture(scope="module")
def step() -> Step:
    return session_step(open_session(threads=1))


@pytest.fixture(scope="module")
def held_out(shared_data: Callable[[str], Path]) -> Phantom:
    return published_phantom(shared_data("phantom_pd_t1_t2").parent)


@pytest.fixture(scope="module")
def study(held_out: Phantom) -> Study:
    return measured_study(held_out, (3.0, 3.0))


@pytest.fixture(scope="module")
def result(study: Study, step: Step) -> Stage:
    with torch.no_grad():
        return reconstruct(study, step)[-1]


def test_the_golden_sample_and_the_digest() -> None:
    metadata = json.loads((FOLDER / "metadata.json").read_text())
    assert (
        metadata["model"]["sha256"]
        == hashlib.sha256((FOLDER / "model.onnx").read_bytes()).hexdigest()
    )
    golden = np.load(FOLDER / metadata["golden"]["file"])
    inputs = {n.removeprefix("input_"): golden[n] for n in golden.files if n.startswith("input_")}
    assert set(inputs) == set(metadata["network_data_format"]["inputs"])
    (answer,) = open_session(threads=1).run(["updated_maps"], inputs)
    for index, (low, high) in enumerate(zip(LOWER, UPPER, strict=True)):
        difference = np.abs(answer - golden["output_updated_maps"])[:, index].max()
        assert difference <= TOLERANCE["cpu"] * (high - low)


def test_the_shipped_file_can_be_trained_further() -> None:
    network = load_network()
    golden = np.load(FOLDER / "golden.npz")
    with torch.no_grad():
        answer = network(*[torch.from_numpy(golden[f"input_{n}"]) for n in Evidence._fields])
    expected = torch.from_numpy(golden["output_updated_maps"])
    torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-4)


def test_the_held_back_phantom_meets_its_bounds(
    held_out: Phantom, study: Study, result: Stage
) -> None:
    blurred = figures(scale_guides(study).interpolated, held_out, study)
    anchored = figures(anchor_only(study), held_out, study)
    ours = figures(result.maps, held_out, study)
    for name in ("t1 HFEN", "t2 HFEN"):
        assert ours[name] <= 0.4 * blurred[name]
        assert ours[name] < anchored[name]
    assert ours["proton_density HFEN"] <= min(
        blurred["proton_density HFEN"], anchored["proton_density HFEN"]
    )
    assert ours["GM T1 error (ms)"] <= 63
    assert ours["FLAIR SSIM"] >= blurred["FLAIR SSIM"] + 0.05
    for tissue in held_out.fractions:
        assert abs(ours[f"{tissue} T1 bias (%)"]) <= 3
        assert abs(ours[f"{tissue} T2 bias (%)"]) <= 5
    for name in ("proton_density", "t1", "t2"):
        assert ours[f"{name} residual (SD)"] <= 2


def test_guides_whose_mixed_voxels_add_up_signals_meet_the_bounds(
    shared_data: Callable[[str], Path], step: Step
) -> None:
    """As in a scan: no T1 and T2 of a mixed voxel explain such guides exactly."""
    labels = published_labels(shared_data("phantom_pd_t1_t2").parent)
    phantom = phantom_of(labels)
    fine = torch.from_numpy(np.moveaxis(reference_values()[labels], -1, 0))[None].float()
    signal = signals((T1_WEIGHTED, T2_WEIGHTED), fine)[0].numpy() * (labels != AIR)
    averaged = torch.from_numpy(block_mean(signal, 2))[None] * phantom.mask
    study = measured_study(phantom, (3.0, 3.0))
    of_maps = signals((T1_WEIGHTED, T2_WEIGHTED), phantom.maps) * phantom.mask
    assert float((averaged - of_maps).square().mean().sqrt() / of_maps.mean()) > 0.03
    guides = (study.guides + 300 * (averaged - of_maps)).abs()
    ours = figures(super_resolve(replace(study, guides=guides), step).maps, phantom, study)
    blurred = figures(scale_guides(study).interpolated, phantom, study)
    for name in ("t1 HFEN", "t2 HFEN"):
        assert ours[name] <= 0.4 * blurred[name]
    assert ours["proton_density HFEN"] <= blurred["proton_density HFEN"]
    assert ours["GM T1 error (ms)"] <= 63
    assert ours["FLAIR SSIM"] >= blurred["FLAIR SSIM"] + 0.05
    for tissue in phantom.fractions:
        assert abs(ours[f"{tissue} T1 bias (%)"]) <= 3
        assert abs(ours[f"{tissue} T2 bias (%)"]) <= 5


def test_a_subject_in_another_plane_with_other_guides(
    shared_data: Callable[[str], Path], step: Step
) -> None:
    labels = published_labels(shared_data("phantom_pd_t1_t2").parent, "sagittal")
    phantom = varied_phantom(labels, 7)
    sequences = (SpoiledGradientEcho(15, 25), SpinEcho(3000, 90))
    study = measured_study(phantom, (3.0, 3.0), seed=7, sequences=sequences)
    inside = cropped(study)
    ours = figures(uncropped(super_resolve(inside, step).maps, inside), phantom, study)
    blurred = figures(scale_guides(study).interpolated, phantom, study)
    for name in ("t1 HFEN", "t2 HFEN"):
        assert ours[name] <= 0.4 * blurred[name]
    assert ours["proton_density HFEN"] <= blurred["proton_density HFEN"]
    assert ours["GM T1 error (ms)"] <= 63
    for tissue in phantom.fractions:
        assert abs(ours[f"{tissue} T1 bias (%)"]) <= 3
        assert abs(ours[f"{tissue} T2 bias (%)"]) <= 5


Rows = tuple[dict[str, float], dict[str, float], dict[str, float]]


@pytest.fixture(scope="module")
def by_guide(held_out: Phantom, result: Stage, step: Step) -> Rows:
    """Figures with T1w alone, with T2w alone, and with both."""
    rows = []
    for guides in ((True, False), (False, True)):
        single = measured_study(held_out, (3.0, 3.0), guides=guides)
        with torch.no_grad():
            rows.append(figures(reconstruct(single, step)[-1].maps, held_out, single))
    t1w, t2w = rows
    return t1w, t2w, figures(result.maps, held_out, single)


def test_each_guide_helps_the_map_it_is_weighted_by(by_guide: Rows) -> None:
    t1w, t2w, both = by_guide
    assert both["t1 HFEN"] < t1w["t1 HFEN"] < 0.6 * t2w["t1 HFEN"]
    assert both["t2 HFEN"] < t2w["t2 HFEN"] < t1w["t2 HFEN"]
    assert both["t2 HFEN in tissue"] < t2w["t2 HFEN in tissue"] < 0.5 * t1w["t2 HFEN in tissue"]
    assert both["GM T2 error (ms)"] < t2w["GM T2 error (ms)"] < 0.7 * t1w["GM T2 error (ms)"]


def test_a_lesion_in_one_source_survives_and_is_flagged(
    held_out: Phantom, study: Study, step: Step
) -> None:
    lesioned, inside = with_lesion(held_out)
    changed = measured_study(lesioned, (3.0, 3.0))
    brain = study.mask[0, 0].numpy() > 0
    for mixed in (replace(study, maps=changed.maps), replace(study, guides=changed.guides)):
        with torch.no_grad():
            stage = reconstruct(mixed, step)[-1]
        for index in (1, 2):
            ratio = stage.maps[0, index] / held_out.maps[0, index].clamp_min(1)
            assert np.median(ratio.numpy()[inside]) > 1.4
        local = disagreement(stage.scaled, stage.maps)[0, 0].numpy()
        assert np.median(local[inside]) > FLAGGED
        assert (local[brain & ~inside] > FLAGGED).mean() < 0.05


def test_maps_that_cannot_hold_what_is_below_zero_lose_little(
    held_out: Phantom, study: Study, result: Stage, step: Step
) -> None:
    cut = replace(study, maps=study.maps.clamp_min(0))
    with torch.no_grad():
        stage = reconstruct(cut, step)[-1]
    ours, signed = figures(stage.maps, held_out, cut), figures(result.maps, held_out, study)
    assert ours["t1 HFEN"] < 1.2 * signed["t1 HFEN"]
    assert ours["t2 HFEN"] < 2 * signed["t2 HFEN"]
    assert ours["GM T1 error (ms)"] < 1.1 * signed["GM T1 error (ms)"]
    flagged = disagreement(stage.scaled, stage.maps) > FLAGGED
    assert float(flagged.float().sum() / study.mask.sum()) < 0.01


def test_sources_that_agree_are_not_flagged(study: Study, result: Stage) -> None:
    local = disagreement(result.scaled, result.maps)[0, 0]
    assert float((local > FLAGGED).float().sum() / study.mask.sum()) < 0.01


def test_guide_units_do_not_matter(held_out: Phantom, result: Stage, step: Step) -> None:
    with torch.no_grad():
        other = reconstruct(measured_study(held_out, (3.0, 3.0), scale=0.01), step)[-1].maps
    relative = (other - result.maps).abs().mean() / result.maps.abs().mean()
    assert float(relative) < 1e-3


def test_a_volume_and_unequal_factors(step: Step) -> None:
    phantom = procedural_phantom((16, 64, 56), 10)
    study = measured_study(phantom, (2.0, 3.0, 1.5))
    with torch.no_grad():
        maps = reconstruct(study, step)[-1].maps
    assert maps.shape == phantom.maps.shape
    ours = figures(maps, phantom, study)
    blurred = figures(scale_guides(study).interpolated, phantom, study)
    assert ours["t1 HFEN"] < 0.4 * blurred["t1 HFEN"]
    assert ours["t2 HFEN"] < 0.4 * blurred["t2 HFEN"]


def test_cropping_to_the_tissue_changes_nothing(step: Step) -> None:
    phantom = procedural_phantom((20, 64, 56), 15)
    study = measured_study(phantom, (2.0, 2.0, 2.0))
    small = cropped(study)
    assert small.mask.numel() < 0.8 * study.mask.numel()
    with torch.no_grad():
        complete = reconstruct(study, step, stages=1)[-1].maps
        part = uncropped(reconstruct(small, step, stages=1)[-1].maps, small)
    # The network sees zeros beyond the box either way; only the order of sums differs.
    assert float((part - complete).abs().max() / complete.max()) < 1e-2
    assert float((part - complete).abs().mean() / complete.mean()) < 1e-3


def test_consistency_lowers_both_residuals_and_keeps_a_solution() -> None:
    phantom = procedural_phantom((64, 64), 11)
    study = measured_study(phantom, (2.0, 2.0), noise=0.0)
    scaled = scale_guides(study)
    blurred = gauss_newton(scaled, initial_maps(scaled), AFTER_NETWORK)
    before, after = (figures(m, phantom, study) for m in (initial_maps(scaled), blurred))
    assert after["t1 HFEN"] < before["t1 HFEN"]
    exact = replace(scaled, guides=scaled.study.guides / 300.0)
    kept = gauss_newton(exact, phantom.maps, AFTER_NETWORK)
    torch.testing.assert_close(kept, phantom.maps, rtol=5e-3, atol=1e-3)


def test_refinement_and_the_voxelwise_peer_lower_the_residual() -> None:
    phantom = procedural_phantom((48, 48), 12)
    study = measured_study(phantom, (2.0, 2.0))
    scaled = scale_guides(study)
    start = initial_maps(scaled)
    first = figures(start, phantom, study)
    for maps in (refine(scaled, start, 3), voxelwise_lbfgs(scaled, start, 30)[0]):
        assert figures(maps, phantom, study)["t1 HFEN"] < first["t1 HFEN"]


def test_a_volunteers_guides_and_unseen_flair(
    shared_data: Callable[[str], Path], step: Step
) -> None:
    human = human_slices(shared_data("t1w_t2w_flair_human"), [112, 130])
    with torch.no_grad():
        stage = reconstruct(human.study, step)[-1]
    ours = human_similarities(human, stage.maps)
    blurred = human_similarities(human, stage.scaled.interpolated)
    assert ours["T1w"] >= 0.93
    assert ours["T2w"] >= 0.93
    assert ours["FLAIR"] > blurred["FLAIR"] + 0.05
