"""The diffusion pipeline's least-squares maps of one acquisition."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from models.diffusion.signal import dti_signal
from operators.inference.diffusion import analyse_diffusion, diffusion_outcome
from operators.inference.prior_session import PriorNetwork
from operators.inference.settings import DiffusionSettings, PriorSettings
from operators.inference.volume_fit import MAPS, fit_volume
from operators.vocabulary.acquisition import Acquisition, GradientTable
from operators.vocabulary.finding import Severity
from operators.vocabulary.refusal import Refusal
from operators.vocabulary.result import PipelineResult
from operators.vocabulary.run import AcquiredStudy

SHAPE = (6, 40, 44)
TENSOR = torch.tensor([1.5e-3, 0.4e-3, 0.3e-3, 0.1e-3, 0, 0], dtype=torch.float64)


@pytest.fixture
def table() -> GradientTable:
    """2 b0 and 20 directions of b 1000 s/mm²."""
    vectors = np.random.default_rng(1).normal(size=(20, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return GradientTable(np.r_[0.0, 0.0, np.full(20, 1000.0)], np.r_[np.zeros((2, 3)), vectors])


@pytest.fixture
def head() -> np.ndarray:
    """Where there is tissue: an ellipsoid."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    return (z / 1.5) ** 2 + (y / 0.8) ** 2 + (x / 0.7) ** 2 < 1


@pytest.fixture
def pixels(table, head) -> np.ndarray:
    """Noisy signals of one tensor in the head, noise outside."""
    clean = dti_signal(
        torch.tensor(1000.0, dtype=torch.float64),
        TENSOR,
        torch.as_tensor(table.b_values),
        torch.as_tensor(table.directions),
    ).numpy()
    generator = np.random.default_rng(2)
    noise = generator.normal(0, 10, size=(*SHAPE, 22, 2))
    # Structure of 4 voxels, so that movement shows; its median is 1.
    structure = np.kron(generator.uniform(0.7, 1.3, size=(6, 10, 11)), np.ones((1, 4, 4)))
    signal = np.where(head[..., None], structure[..., None] * clean, 0.0)
    return np.hypot(signal + noise[..., 0], noise[..., 1]).astype(np.float32)


@pytest.fixture
def acquisition(acquisition_of: Callable[..., Acquisition], pixels, table) -> Acquisition:
    return acquisition_of(pixels, table)


def analyse(acquisition: Acquisition, settings: DiffusionSettings) -> PipelineResult:
    """Without the prior: no network is at hand."""
    plain = settings.model_copy(update={"prior": PriorSettings(weight=0)})
    return analyse_diffusion(acquisition, plain, PriorNetwork({})).result


def codes(result: PipelineResult) -> list[str]:
    return [finding.code for finding in result.findings]


def array_of(result: PipelineResult, name: str) -> np.ndarray:
    return next(one.volume.array for one in result.maps if one.quantity.name == name)


@pytest.mark.parametrize("fit", ["weighted", "ordinary"])
def test_the_maps_are_those_of_the_tensor(acquisition, head, fit):
    result = analyse(acquisition, DiffusionSettings(fit=fit))
    values = np.linalg.eigvalsh([[1.5e-3, 0.1e-3, 0], [0.1e-3, 0.4e-3, 0], [0, 0, 0.3e-3]])
    fa = np.sqrt(1.5 * ((values - values.mean()) ** 2).sum() / (values**2).sum())
    for name, expected in (
        ("b0", 1000),
        ("mean_diffusivity", values.mean()),
        ("axial_diffusivity", values[2]),
        ("radial_diffusivity", values[:2].mean()),
        ("fractional_anisotropy", fa),
    ):
        assert np.median(array_of(result, name)[head]) == pytest.approx(expected, rel=0.02)
    assert np.median(array_of(result, "diffusion_residual")[head]) == pytest.approx(0.8, abs=0.1)
    made = [one.quantity.name for one in result.maps]
    assert {name for name in made if not name.endswith("_sd")} == set(MAPS)
    assert made[-5:] == [f"{name}_sd" for name in made[:5]]
    assert all(np.isfinite(one.volume.array).all() for one in result.maps)
    assert all(one.volume.array.dtype == np.float32 for one in result.maps)
    assert all(one.volume.geometry_equal(acquisition.geometry) for one in result.maps)


def test_colours_follow_the_principal_axis_in_the_patient(acquisition, head):
    """Left-right fibres are red whatever the orientation of the grid."""
    colour = analyse(acquisition, DiffusionSettings()).colour_maps[0].volume
    assert colour.array.shape == (*SHAPE, 3)
    red, green, blue = np.median(colour.array[head].astype(float), axis=0)
    assert red > 5 * green > blue


def test_segments_are_the_brain_and_what_was_analysed(acquisition, head):
    segments = {one.name: one for one in analyse(acquisition, DiffusionSettings()).segments}
    brain, analysed = segments["Brain"], segments["Analysed voxels"]
    assert brain.type.value == "12738006"
    overlap = 2 * (brain.volume.array[head].sum()) / (brain.volume.array.sum() + head.sum())
    assert overlap > 0.9
    assert (brain.volume.array <= analysed.volume.array).all()
    assert analysed.volume.array[head].mean() > 0.99


def test_no_brain_is_claimed_of_another_body_part(acquisition_of, pixels, table):
    result = analyse(acquisition_of(pixels, table, body_part="PROSTATE"), DiffusionSettings())
    assert [one.name for one in result.segments if one.volume.array.any()] == ["Analysed voxels"]


def test_the_result_says_how_it_was_made(acquisition):
    result = analyse(acquisition, DiffusionSettings(fit="ordinary"))
    assert result.pipeline == "diffusion"
    assert result.source is acquisition.source
    assert result.protocol is acquisition.protocol
    assert result.algorithm.configuration["fit"] == "ordinary"
    assert result.algorithm.execution_provider == "torch cpu"
    assert "doi" in result.algorithm.source
    assert set(result.timings) == {
        "read",
        "mask",
        "fit",
        "prior",
        "several shells",
        "segments",
    }


def test_good_data_give_no_warning(acquisition_of, pixels, table):
    body = acquisition_of(pixels, table, body_part="LIVER")
    result = analyse(body, DiffusionSettings())
    assert not [one for one in result.findings if one.severity is not Severity.INFORMATION]


def test_chunks_do_not_change_values(pixels, table, head):
    whole = fit_volume(pixels, table, head, head)
    parts = fit_volume(pixels, table, head, head, chunk_voxels=37)
    for name in MAPS:
        assert np.allclose(whole.maps[name], parts.maps[name], rtol=1e-5, atol=1e-10)
    assert np.array_equal(whole.analysed, parts.analysed)
    assert np.allclose(whole.deviation, parts.deviation, rtol=1e-6)


def test_signals_without_logarithm_are_counted(acquisition_of, pixels, table, head):
    rows = np.argwhere(head)[:40]
    pixels[tuple(rows.T)] = np.where(np.arange(22) == 9, 0, pixels[tuple(rows.T)])
    raised, left_out = "signal-below-minimum", "signal-not-positive"
    for options, code, said in (
        ({"fit": "weighted"}, left_out, "left out"),
        ({"fit": "weighted", "minimum_signal": 1e-3}, raised, "fitted as 0.001"),
        ({"fit": "ordinary"}, raised, f"fitted as {pixels[pixels > 0].min():.4g}"),
    ):
        result = analyse(acquisition_of(pixels, table), DiffusionSettings(**options))
        (finding,) = [one for one in result.findings if one.code in (raised, left_out)]
        assert finding.code == code
        assert finding.message.startswith("40 of")
        assert said in finding.message


def test_impossible_values_are_left_in_the_map_and_out_of_the_segments(
    acquisition_of, pixels, table, head
):
    place = tuple(np.argwhere(head)[300])
    pixels[place] = np.r_[np.full(2, 60000.0), np.full(20, 1.0)]
    result = analyse(acquisition_of(pixels, table), DiffusionSettings())
    assert array_of(result, "mean_diffusivity")[place] > 5e-3
    assert all(segment.volume.array[place] == 0 for segment in result.segments)
    assert "value-impossible" in codes(result)


def test_negative_eigenvalues_are_counted(acquisition_of, pixels, table, head):
    place = tuple(np.argwhere(head)[300])
    pixels[place] = np.r_[np.full(2, 100.0), np.full(20, 300.0)]
    (finding,) = [
        one
        for one in analyse(
            acquisition_of(pixels, table, body_part="LIVER"), DiffusionSettings()
        ).findings
        if one.code == "negative-eigenvalue"
    ]
    assert finding.message.startswith("1 of")


def test_a_volume_of_a_moved_head_is_reported_and_dropped_on_request(
    acquisition_of, pixels, table, head
):
    moved = pixels.copy()
    moved[..., 11] = np.roll(pixels[..., 11], 8, axis=1)
    kept = analyse(acquisition_of(moved, table), DiffusionSettings())
    dropped = analyse(acquisition_of(moved, table), DiffusionSettings(outlier_volumes="drop"))
    assert any(
        "volumes 12 " in one.message for one in kept.findings if one.code == "outlier-volumes"
    )
    assert "outlier-volumes-dropped" in codes(dropped)
    without = GradientTable(np.delete(table.b_values, 11), np.delete(table.directions, 11, axis=0))
    expected = analyse(acquisition_of(np.delete(moved, 11, axis=3), without), DiffusionSettings())
    name = "fractional_anisotropy"
    assert np.array_equal(array_of(dropped, name), array_of(expected, name))


def test_a_slice_that_lost_signal_is_reported(acquisition_of, pixels, table):
    pixels[3, :, :, 8] *= 0.5
    result = analyse(acquisition_of(pixels, table), DiffusionSettings())
    (finding,) = [one for one in result.findings if one.code == "outlier-slices"]
    assert "1, in volumes 9;" in finding.message


def test_repeated_volumes_are_an_error_finding(acquisition_of, pixels, table):
    pixels[..., 5] = pixels[..., 3]
    result = analyse(acquisition_of(pixels, table), DiffusionSettings())
    (finding,) = [one for one in result.findings if one.code == "volumes-repeated"]
    assert "6 (as 4)" in finding.message


def test_signals_at_the_noise_floor_are_a_warning(acquisition_of, pixels, table):
    noise = np.random.default_rng(3).normal(0, 400, size=(2, *pixels.shape))
    noisy = np.hypot(pixels + noise[0], noise[1])
    result = analyse(acquisition_of(noisy, table, body_part=""), DiffusionSettings())
    assert "noise-floor" in codes(result)


def _with(pixels: np.ndarray, index: object, value: float) -> np.ndarray:
    changed = pixels.copy()
    changed[index] = value
    return changed


@pytest.mark.parametrize(
    ("index", "value", "rule"),
    [
        ((2, 5, 5, 3), np.nan, "signal-not-finite"),
        ((2, 5, 5, 3), np.inf, "signal-not-finite"),
        ((..., 4), 0.0, "volume-empty"),
    ],
)
def test_bad_pixels_are_refused_and_the_series_named(
    acquisition_of, pixels, table, index, value, rule
):
    acquisition = acquisition_of(_with(pixels, index, value), table, number=33)
    with pytest.raises(Refusal) as refused:
        analyse(acquisition, DiffusionSettings())
    assert refused.value.rule == rule
    assert refused.value.series_number == 33
    assert refused.value.series_instance_uid == acquisition.source.series_instance_uid


def test_an_insufficient_table_is_refused_before_pixels_are_read(acquisition_of, pixels, table):
    few = GradientTable(table.b_values[:7], table.directions[:7])
    acquisition = acquisition_of(pixels[..., :7], few)
    object.__setattr__(acquisition, "read", lambda: pytest.fail("pixels were read"))
    with pytest.raises(Refusal, match="5 distinct"):
        analyse(acquisition, DiffusionSettings())


def test_a_refused_series_does_not_keep_others_from_being_analysed(acquisition_of, pixels, table):
    bad = acquisition_of(_with(pixels, (..., 4), 0.0), table, number=1)
    good = acquisition_of(pixels, table, number=2)
    study = AcquiredStudy((bad, good), (), (), ())
    outcome = diffusion_outcome(study, {}, DiffusionSettings(prior=PriorSettings(weight=0)))
    assert [result.source.series_number for result in outcome.results] == [2]
    assert [refusal.series_number for refusal in outcome.refusals] == [1]
    assert outcome.idle_because == ""


def test_without_a_diffusion_series_the_pipeline_is_idle():
    outcome = diffusion_outcome(AcquiredStudy((), (), (), ()), {}, DiffusionSettings())
    assert outcome.results == ()
    assert outcome.idle_because
