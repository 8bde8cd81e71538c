"""Z-spectra and WASABI series of a study, from pixels to maps."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_bundles import bundles_of, toy_mt

from models.cest_mt.pools import ExchangingPool, Lineshape, PoolModel
from models.cest_mt.schedule import Analysis, SaturationSchedule, load_schedule
from models.cest_mt.signal import simulate
from operators.inference.cest_mt import cest_mt_outcome
from operators.inference.settings import CestMtSettings
from operators.vocabulary.acquisition import Acquisition
from operators.vocabulary.finding import Severity
from operators.vocabulary.result import PipelineResult
from operators.vocabulary.run import AcquiredStudy, PipelineOutcome

SHAPE = (3, 12, 14)
APTW = load_schedule("aptw_3t")
WASABI = load_schedule("wasabi_3t")
TISSUE = PoolModel(
    water_t1=1.0,
    water_t2=0.07,
    solutes=(ExchangingPool(0.001, 50.0, 1.0, 0.1, 3.5),),
    mt=ExchangingPool(0.1, 25.0, 1.0, 40e-6, 0.0),
    mt_lineshape=Lineshape.LORENTZIAN,
)


@pytest.fixture
def inside() -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[:, 2:-2, 2:-2] = True
    return mask


@pytest.fixture
def shift() -> np.ndarray:
    """A field that rises from left to right, ppm."""
    return np.broadcast_to(np.linspace(-0.2, 0.2, SHAPE[2]), SHAPE)


@pytest.fixture
def scale() -> np.ndarray:
    return np.broadcast_to(np.linspace(0.8, 1.2, SHAPE[1])[:, None], SHAPE)


def images(
    schedule: SaturationSchedule, shift: np.ndarray, scale: np.ndarray, inside: np.ndarray
) -> np.ndarray:
    """Magnitudes as a scanner stores them, noise of 0.5 % of M0."""
    signal = simulate(
        schedule,
        TISSUE,
        b0_shift_ppm=torch.as_tensor(shift.reshape(-1).copy()),
        b1_scale=torch.as_tensor(scale.reshape(-1).copy()),
    ).numpy()
    pixels = 800 * np.abs(signal.reshape(*SHAPE, -1)) * inside[..., None]
    return np.abs(pixels + np.random.default_rng(1).normal(0, 4, pixels.shape))


def analysed(*acquisitions: Acquisition, bundles=None) -> PipelineOutcome:
    return cest_mt_outcome(
        AcquiredStudy(acquisitions, (), (), ()), bundles or {}, CestMtSettings(), "cpu"
    )


def array_of(result: PipelineResult, name: str) -> np.ndarray:
    return next(one.volume.array for one in result.maps if one.quantity.name == name)


def codes(result: PipelineResult) -> list[str]:
    return [one.code for one in result.findings]


def test_the_builtin_protocols_say_how_they_are_analysed() -> None:
    assert APTW.analysis is Analysis.Z_SPECTRUM
    assert WASABI.analysis is Analysis.WASABI
    assert load_schedule("mrf_mt_3t").analysis is Analysis.FINGERPRINT


def test_an_aptw_series_gives_field_and_asymmetry(acquisition_of, inside, shift, scale) -> None:
    series = acquisition_of(images(APTW, shift, np.ones(SHAPE), inside), APTW)
    (result,) = analysed(series).results
    assert [one.quantity.name for one in result.maps] == ["b0_shift", "mtr_asymmetry"]
    core = inside & (np.abs(shift) < 0.15)
    assert np.abs(array_of(result, "b0_shift") - shift)[core].max() < 0.06
    asymmetry = array_of(result, "mtr_asymmetry")
    assert 0.5 < np.median(asymmetry[inside]) < 5
    # What the field moves, the correction moves back.
    assert abs(np.corrcoef(asymmetry[core], shift[core])[0, 1]) < 0.5
    assert "no-lorentzian-fit" in codes(result)
    assert not array_of(result, "mtr_asymmetry")[~inside].any()
    assert result.algorithm.configuration["b0"].startswith("minimum of the spectrum")


def test_wasabi_gives_both_fields_with_errors(acquisition_of, inside, shift, scale) -> None:
    (result,) = analysed(acquisition_of(images(WASABI, shift, scale, inside), WASABI)).results
    names = ["b0_shift", "b1_scale", "b0_shift_sd", "b1_scale_sd", "saturation_residual"]
    assert [one.quantity.name for one in result.maps] == names
    assert np.sqrt(np.mean((array_of(result, "b0_shift") - shift)[inside] ** 2)) < 0.02
    assert np.sqrt(np.mean((array_of(result, "b1_scale") - scale)[inside] ** 2)) < 0.03
    assert (array_of(result, "b0_shift_sd")[inside] > 0).all()


def test_fields_of_a_wasabi_series_serve_the_other_series(
    acquisition_of: Callable[..., Acquisition], inside, shift, scale, tmp_path: Path
) -> None:
    fingerprint = load_schedule("mrf_mt_3t")
    number = fingerprint.number_of_images
    generator = np.random.default_rng(2)
    pixels = generator.uniform(400, 500, (*SHAPE, number)) * inside[..., None]
    mt = acquisition_of(pixels, fingerprint, number=3)
    aptw = acquisition_of(images(APTW, shift, scale, inside), APTW, number=4)
    wasabi = acquisition_of(images(WASABI, shift, scale, inside), WASABI, number=5)
    bundles = bundles_of(toy_mt(tmp_path / "mt", number))
    outcome = analysed(mt, aptw, wasabi, bundles=bundles)
    by_number = {one.source.series_number: one for one in outcome.results}
    assert next(iter(by_number)) == 5
    for other in (3, 4):
        result = by_number[other]
        assert 5 in [one.series_number for one in result.further_sources]
        assert "map-estimated" in codes(result)
        assert "b0-shift-map-missing" not in codes(result)
    # The toy network's rate is 40 /s times B1.
    field = array_of(by_number[5], "b1_scale")
    known = inside & (field > 0)
    rate = array_of(by_number[3], "mt_exchange_rate")
    assert np.allclose(rate[known], 40 * field[known], rtol=1e-4)
    assert "b0_shift" not in [one.quantity.name for one in by_number[4].maps]
    assert by_number[4].algorithm.configuration["b0"] == "map of the study"


def test_a_field_map_of_the_scanner_comes_before_wasabi(
    acquisition_of, map_of, inside, shift, scale
) -> None:
    aptw = acquisition_of(images(APTW, shift, scale, inside), APTW, number=4)
    wasabi = acquisition_of(images(WASABI, shift, scale, inside), WASABI, number=5)
    field = map_of(shift, "b0_shift", number=23)
    result = analysed(aptw, wasabi, field).results[1]
    assert [one.series_number for one in result.further_sources] == [23]


def test_a_wide_spectrum_gives_four_pools(acquisition_of, inside, shift, scale) -> None:
    wide = np.concatenate([[-100, -50, -20, -12], np.arange(-9, 9.1, 0.5), [12, 20, 50, 100]])
    schedule = replace(
        APTW,
        offsets=np.concatenate([APTW.offsets[:1], wide]),
        b1=np.full(len(wide) + 1, 1.0),
        images=(APTW.images[0],) * (len(wide) + 1),
    )
    half = 0.7
    water = 1 - 0.8 * half**2 / (half**2 + (wide - shift[..., None]) ** 2)
    amide = 0.05 / (1 + (wide - 3.5 - shift[..., None]) ** 2)
    mt = 0.15 * 20**2 / (20**2 + (wide + 2 - shift[..., None]) ** 2)
    z = np.concatenate([np.ones((*SHAPE, 1)), water - amide - mt], axis=-1)
    noise = np.random.default_rng(3).normal(0, 2, z.shape)
    pixels = np.abs(800 * z * inside[..., None] + noise)
    (result,) = analysed(acquisition_of(pixels, schedule)).results
    assert np.median(array_of(result, "amide_amplitude")[inside]) == pytest.approx(5, abs=1)
    assert np.median(array_of(result, "mt_amplitude")[inside]) == pytest.approx(15, abs=2)
    assert np.median(array_of(result, "amide_amplitude_sd")[inside]) < 2
    assert np.median(array_of(result, "saturation_residual")[inside]) < 1
    assert np.median(array_of(result, "mtr_asymmetry")[inside]) > 2


def test_offsets_on_one_side_give_no_asymmetry_and_are_refused(
    acquisition_of, inside, shift
) -> None:
    offsets = APTW.offsets.copy()
    offsets[1:] = np.linspace(-1, 5, len(offsets) - 1)
    series = acquisition_of(
        images(APTW, shift, np.ones(SHAPE), inside), replace(APTW, offsets=offsets)
    )
    outcome = analysed(series)
    (refusal,) = outcome.refusals
    assert refusal.rule == "offsets-unsuitable"
    assert "-3.5 ppm" in refusal.reason


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"m0_images": ()}, "unusable-saturation-protocol"),
        ({"analysis": Analysis.WASABI, "b1": np.arange(34.0)}, "unusable-saturation-protocol"),
    ],
)
def test_unsuitable_protocols_are_refused(
    acquisition_of, inside, shift, change: dict, rule: str
) -> None:
    series = acquisition_of(
        images(APTW, shift, np.ones(SHAPE), inside), replace(APTW, **change), number=6
    )
    (refusal,) = analysed(series).refusals
    assert (refusal.rule, refusal.series_number) == (rule, 6)


def test_a_short_series_is_refused(acquisition_of, inside, shift) -> None:
    pixels = images(APTW, shift, np.ones(SHAPE), inside)[..., :-1]
    (refusal,) = analysed(acquisition_of(pixels, APTW)).refusals
    assert refusal.rule == "number-of-images"


def test_voxels_without_m0_are_left_out_and_a_large_shift_is_said(
    acquisition_of, inside, shift
) -> None:
    pixels = images(APTW, shift + 0.35, np.ones(SHAPE), inside)
    pixels[1, 6, 6, 0] = 0
    (result,) = analysed(acquisition_of(pixels, APTW)).results
    assert array_of(result, "mtr_asymmetry")[1, 6, 6] == 0
    assert "voxels-left-out" in codes(result)
    large = [one for one in result.findings if one.code == "b0-shift-large"]
    assert large[0].severity is Severity.WARNING
