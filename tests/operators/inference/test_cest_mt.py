"""The cest_mt pipeline with small networks of known answers."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from toy_bundles import bundles_of, toy_amide, toy_mt, toy_mt_signal

from models.cest_mt.schedule import Delay, Image, SaturationSchedule
from operators.inference.bundle import Bundle, BundleError
from operators.inference.cest_mt import analyse_saturation, cest_mt_outcome
from operators.inference.settings import CestMtSettings
from operators.vocabulary.acquisition import Acquisition
from operators.vocabulary.finding import Severity
from operators.vocabulary.refusal import Refusal
from operators.vocabulary.result import PipelineResult
from operators.vocabulary.run import AcquiredStudy

IMAGES = 5
SHAPE = (5, 32, 36)
DEFAULTS = CestMtSettings()


def schedule(
    name: str = "mrf_mt_3t", images: int = IMAGES, m0: tuple[int, ...] = (0,)
) -> SaturationSchedule:
    return SaturationSchedule(
        name=name,
        field_strength=3.0,
        offsets=np.full(images, 8.0),
        b1=np.full(images, 2.0),
        images=(Image((Delay(1.0),)),) * images,
        m0_images=m0,
    )


@pytest.fixture
def head() -> np.ndarray:
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    return (z / 1.6) ** 2 + (y / 0.8) ** 2 + (x / 0.7) ** 2 < 1


@pytest.fixture
def pixels(head) -> np.ndarray:
    """M0 of 500 to 900 in the head; the last image at half of it; noise outside."""
    generator = np.random.default_rng(1)
    m0 = generator.uniform(500, 900, SHAPE)
    factors = np.array([1.0, 1.0, 0.9999, 1.0001, 0.5])
    outside = generator.uniform(0, 5, (*SHAPE, IMAGES))
    return np.where(head[..., None], m0[..., None] * factors, outside).astype(np.float32)


@pytest.fixture
def networks(tmp_path: Path) -> dict[str, Bundle]:
    return bundles_of(
        toy_mt(tmp_path / "mt_3t", IMAGES),
        toy_mt_signal(tmp_path / "mt_3t_signal", IMAGES),
        toy_amide(tmp_path / "amide_3t", IMAGES),
    )


@pytest.fixture
def maps(map_of: Callable[..., Acquisition], head) -> list[Acquisition]:
    """T1, T2, B0 and B1 on the grid of the series; zero outside the head, but for B0."""
    return [
        map_of(np.where(head, 1100.0, 0), "t1", number=21),
        map_of(np.where(head, 70.0, 0), "t2", number=22),
        map_of(np.full(SHAPE, 0.05), "b0_shift", number=23),
        map_of(np.where(head, 0.9, 0), "b1_scale", number=24),
    ]


@pytest.fixture
def series(acquisition_of: Callable[..., Acquisition], pixels) -> Acquisition:
    return acquisition_of(pixels, schedule())


def codes(result: PipelineResult) -> list[str]:
    return [finding.code for finding in result.findings]


def array_of(result: PipelineResult, name: str) -> np.ndarray:
    return next(one.volume.array for one in result.maps if one.quantity.name == name)


def refused(*arguments: object) -> str:
    with pytest.raises(Refusal) as refusal:
        analyse_saturation(*arguments, device="cpu")
    assert refusal.value.series_number == 7
    return refusal.value.rule


def test_the_maps_are_what_the_network_says(series, maps, networks, head):
    result = analyse_saturation(series, maps, networks, DEFAULTS, "cpu")
    names = ["mt_fraction", "mt_exchange_rate", "mt_fraction_sd", "mt_exchange_rate_sd"]
    assert [one.quantity.name for one in result.maps] == [*names, "saturation_residual"]
    for name, expected in zip(names, (10, 36, 1, 2), strict=True):
        assert np.allclose(array_of(result, name)[head], expected, rtol=1e-5)
        assert not array_of(result, name)[~head].any()
    assert np.allclose(array_of(result, "saturation_residual")[head], 0, atol=0.05)
    brain, analysed, white, grey, bound = result.segments
    assert np.array_equal(white.volume.array, brain.volume.array)
    assert not grey.volume.array.any()
    assert not bound.volume.array.any()
    assert np.array_equal(analysed.volume.array > 0, head)
    assert (brain.volume.array <= analysed.volume.array).all()


def test_the_result_says_how_it_was_made(series, maps, networks):
    result = analyse_saturation(series, maps, networks, DEFAULTS, "cpu")
    assert result.pipeline == "cest_mt"
    assert result.algorithm.execution_provider == "CPUExecutionProvider"
    assert set(result.algorithm.model_sha256) == {"mt_3t/model.onnx", "mt_3t_signal/model.onnx"}
    assert (
        result.algorithm.model_sha256["mt_3t/model.onnx"] == networks["mt_3t"].metadata.model.sha256
    )
    assert result.algorithm.source == "doi 10.1/toy"
    assert [one.series_number for one in result.further_sources] == [21, 22, 23, 24]
    assert result.protocol is series.protocol
    assert not [one for one in result.findings if one.severity is not Severity.INFORMATION]


def test_the_scale_of_the_signal_does_not_matter(acquisition_of, pixels, maps, networks, head):
    plain, scaled = (
        analyse_saturation(
            acquisition_of(factor * pixels, schedule()), maps, networks, DEFAULTS, "cpu"
        )
        for factor in (1, 0.001)
    )
    assert np.allclose(array_of(plain, "mt_fraction"), array_of(scaled, "mt_fraction"), rtol=1e-5)


def test_missing_maps_are_replaced_by_constants_and_said(series, networks, head):
    result = analyse_saturation(series, [], networks, CestMtSettings(b1_scale=0.5), "cpu")
    assert np.allclose(array_of(result, "mt_exchange_rate")[head], 20)
    found = {one.code: one for one in result.findings}
    for name in ("t1", "t2", "b0-shift", "b1-scale"):
        assert found[f"{name}-map-missing"].severity is Severity.WARNING
    assert "1084 ms" in found["t1-map-missing"].message
    assert result.algorithm.configuration["b1_scale constant"] == "0.5"
    assert result.further_sources == ()


def test_without_a_constant_a_missing_map_is_refused(series, maps, networks):
    assert refused(series, maps[1:], networks, CestMtSettings(t1=None)) == "t1-map-missing"


def test_two_maps_of_a_quantity_are_refused(series, maps, networks, map_of):
    second = map_of(np.ones(SHAPE), "t1", number=31)
    assert refused(series, [*maps, second], networks, DEFAULTS) == "several-maps"


def test_a_map_in_another_frame_of_reference_is_refused(series, maps, networks, map_of):
    elsewhere = hd.VolumeGeometry(
        series.geometry.affine, SHAPE, "PATIENT", frame_of_reference_uid="1.2"
    )
    other = map_of(np.ones(SHAPE), "t1", geometry=elsewhere)
    assert refused(series, [other, *maps[1:]], networks, DEFAULTS) == "frame-of-reference-differs"


def test_a_map_on_another_grid_is_resampled_and_said(series, maps, networks, map_of, head):
    coarse = series.geometry.affine @ np.diag([1, 2, 2, 1])
    geometry = hd.VolumeGeometry(
        coarse,
        (5, 16, 18),
        "PATIENT",
        frame_of_reference_uid=series.geometry.frame_of_reference_uid,
    )
    b1 = map_of(np.full((5, 16, 18), 1.1), "b1_scale", geometry=geometry)
    result = analyse_saturation(series, [*maps[:3], b1], networks, DEFAULTS, "cpu")
    assert "map-resampled" in codes(result)
    assert np.allclose(array_of(result, "mt_exchange_rate")[head], 44, rtol=1e-5)


def test_voxels_without_a_map_value_are_left_out_and_counted(series, maps, networks, map_of, head):
    t1 = np.where(head, 1100.0, 0)
    t1[:2] = 0
    result = analyse_saturation(series, [map_of(t1, "t1"), *maps[1:]], networks, DEFAULTS, "cpu")
    assert "voxels-left-out" in codes(result)
    assert not result.segments[1].volume.array[:2].any()
    assert not array_of(result, "mt_fraction")[:2].any()


def test_the_amide_stage_takes_the_maps_of_the_mt_stage(
    acquisition_of, pixels, maps, networks, head
):
    amide = acquisition_of(pixels, schedule("mrf_amide_3t"), number=8)
    mt = acquisition_of(pixels, schedule("mrf_mt_3t"), number=9)
    study = AcquiredStudy((amide, mt, *maps), (), (), ())
    outcome = cest_mt_outcome(study, networks, DEFAULTS, "cpu")
    assert [one.source.series_number for one in outcome.results] == [9, 8]
    result = outcome.results[1]
    assert np.allclose(array_of(result, "solute_fraction")[head], 0.1)
    assert np.allclose(array_of(result, "solute_exchange_rate")[head], 180)
    assert [one.series_number for one in result.further_sources] == [9]
    assert "residual-not-computed" in codes(result)


def test_an_amide_series_without_an_mt_series_is_refused_unless_configured(
    acquisition_of, pixels, networks, head
):
    amide = acquisition_of(pixels, schedule("mrf_amide_3t"))
    assert refused(amide, [], networks, DEFAULTS) == "mt-fraction-map-missing"
    constants = CestMtSettings(mt_fraction=10, mt_exchange_rate=30)
    result = analyse_saturation(amide, [], networks, constants, "cpu")
    assert np.allclose(array_of(result, "solute_fraction")[head], 0.1)


def test_a_protocol_without_a_network_is_refused(acquisition_of, pixels, networks):
    other = acquisition_of(pixels, schedule("wasabi_3t"))
    assert refused(other, [], networks, DEFAULTS) == "no-network-for-protocol"
    assert refused(other, [], {}, DEFAULTS) == "no-network-for-protocol"


def test_a_wrong_number_of_images_is_refused(acquisition_of, pixels, networks):
    short = acquisition_of(pixels[..., :4], schedule(images=4))
    assert refused(short, [], networks, DEFAULTS) == "number-of-images"


@pytest.mark.parametrize(
    ("index", "value", "rule"),
    [
        ((1, 2, 3, 1), np.nan, "signal-not-finite"),
        ((..., 0), 0.0, "volume-empty"),
        ((..., 3), 0.0, "volume-empty"),
    ],
)
def test_bad_pixels_are_refused(acquisition_of, pixels, networks, index, value, rule):
    pixels[index] = value
    assert refused(acquisition_of(pixels, schedule()), [], networks, DEFAULTS) == rule


def test_voxels_without_m0_are_left_out(acquisition_of, pixels, maps, networks):
    place = (2, 16, 18)
    pixels[place][0] = 0.0
    result = analyse_saturation(acquisition_of(pixels, schedule()), maps, networks, DEFAULTS, "cpu")
    assert "voxels-left-out" in codes(result)
    assert result.segments[1].volume.array[place] == 0
    assert array_of(result, "mt_fraction")[place] == 0


def test_a_signal_above_m0_is_an_error_finding(acquisition_of, pixels, maps, networks):
    pixels[..., 2] *= 1.5
    result = analyse_saturation(acquisition_of(pixels, schedule()), maps, networks, DEFAULTS, "cpu")
    (finding,) = [one for one in result.findings if one.code == "signal-above-m0"]
    assert finding.severity is Severity.ERROR


def test_negative_signals_are_counted(acquisition_of, pixels, maps, networks, head):
    pixels[tuple(np.argwhere(head)[:25].T)] *= np.array([1, 1, 1, -0.1, 1], np.float32)
    result = analyse_saturation(acquisition_of(pixels, schedule()), maps, networks, DEFAULTS, "cpu")
    (finding,) = [one for one in result.findings if one.code == "negative-signal"]
    assert finding.message.startswith("25 of")


def test_signals_cut_off_at_the_top_are_an_error_finding(acquisition_of, pixels, maps, networks):
    cut = np.minimum(pixels, 700.0)
    result = analyse_saturation(acquisition_of(cut, schedule()), maps, networks, DEFAULTS, "cpu")
    (finding,) = [one for one in result.findings if one.code == "signal-cut-off"]
    assert finding.severity is Severity.ERROR
    assert "700" in finding.message
    whole = analyse_saturation(acquisition_of(pixels, schedule()), maps, networks, DEFAULTS, "cpu")
    assert "signal-cut-off" not in codes(whole)


@pytest.mark.parametrize(
    ("quantity", "value", "unit"),
    [
        ("t1", 1.1, "ms"),  # seconds
        ("t2", 0.07, "ms"),  # seconds
        ("b1_scale", 95.0, "0.2"),  # percent
        ("b0_shift", 12.0, "ppm"),  # Hz
    ],
)
def test_a_map_in_another_unit_than_it_says_is_refused(
    series, maps, networks, map_of, quantity, value, unit
):
    others = [one for one in maps if one.protocol.quantity.name != quantity]
    wrong = map_of(np.full(SHAPE, value), quantity, number=31)
    with pytest.raises(Refusal, match="series 31") as refusal:
        analyse_saturation(series, [*others, wrong], networks, DEFAULTS, "cpu")
    assert refusal.value.rule == "map-unit-implausible"
    assert unit in str(refusal.value)


@pytest.mark.parametrize(
    ("quantity", "value", "code"),
    [
        ("t1", 5000.0, "input-outside-training-range"),
        ("b0_shift", 0.35, "b0-shift-large"),
        ("b0_shift", -0.35, "b0-shift-large"),
        ("b1_scale", 0.65, "b1-deviation-large"),
    ],
)
def test_doubtful_inputs_are_findings(series, maps, networks, map_of, quantity, value, code):
    others = [one for one in maps if one.protocol.quantity.name != quantity]
    everywhere = map_of(np.full(SHAPE, value), quantity)
    result = analyse_saturation(series, [*others, everywhere], networks, DEFAULTS, "cpu")
    assert code in [one.code for one in result.findings if one.severity is Severity.WARNING]


def test_parameters_at_a_bound_are_a_finding(acquisition_of, pixels, maps, networks, head):
    pixels[..., -1] = pixels[..., 0]
    result = analyse_saturation(acquisition_of(pixels, schedule()), maps, networks, DEFAULTS, "cpu")
    assert "parameter-at-bound" in codes(result)
    bound = next(one for one in result.segments if one.name == "At parameter bound")
    assert np.array_equal(bound.volume.array > 0, head)


def test_tissue_is_told_by_measured_t1_at_3_tesla_only(
    acquisition_of, pixels, maps, networks, map_of, head
):
    t1 = np.where(head, 1500.0, 0)
    t1[:, :, :18] *= 900 / 1500
    measured = [map_of(t1, "t1"), *maps[1:]]
    result = analyse_saturation(
        acquisition_of(pixels, schedule()), measured, networks, DEFAULTS, "cpu"
    )
    brain, _, white, grey, _ = (one.volume.array > 0 for one in result.segments)
    assert np.array_equal(white, brain & (t1 == 900))
    assert np.array_equal(grey, brain & (t1 == 1500))
    for settled in (
        analyse_saturation(acquisition_of(pixels, schedule()), [], networks, DEFAULTS, "cpu"),
        analyse_saturation(
            acquisition_of(pixels, replace(schedule(), field_strength=7.0)),
            measured,
            networks,
            DEFAULTS,
            "cpu",
        ),
    ):
        names = [one.name for one in settled.segments]
        assert names == ["Brain", "Analysed voxels", "At parameter bound"]


def test_a_signal_that_the_model_does_not_explain_is_a_finding(
    acquisition_of, pixels, maps, networks
):
    pixels[..., 1] *= 0.5
    result = analyse_saturation(acquisition_of(pixels, schedule()), maps, networks, DEFAULTS, "cpu")
    assert "high-residual" in codes(result)


def test_a_schedule_without_m0_needs_none(acquisition_of, pixels, maps, networks, head):
    result = analyse_saturation(
        acquisition_of(pixels, schedule(m0=())), maps, networks, DEFAULTS, "cpu"
    )
    assert np.allclose(array_of(result, "mt_fraction")[head], 10, rtol=1e-5)


def test_a_refused_series_does_not_keep_others_from_being_analysed(
    acquisition_of, pixels, networks
):
    good = acquisition_of(pixels, schedule(), number=1)
    bad = acquisition_of(pixels, schedule("unknown"), number=2)
    outcome = cest_mt_outcome(AcquiredStudy((bad, good), (), (), ()), networks, DEFAULTS, "cpu")
    assert [one.source.series_number for one in outcome.results] == [1]
    assert [one.series_number for one in outcome.refusals] == [2]


def test_without_a_saturation_series_the_pipeline_is_idle(maps, networks):
    outcome = cest_mt_outcome(AcquiredStudy(tuple(maps), (), (), ()), networks, DEFAULTS, "cpu")
    assert outcome.results == ()
    assert outcome.idle_because


def test_two_networks_for_a_protocol_are_an_error(series, tmp_path):
    several = bundles_of(toy_mt(tmp_path / "a", IMAGES), toy_mt(tmp_path / "b", IMAGES))
    with pytest.raises(BundleError, match="several networks"):
        analyse_saturation(series, [], several, DEFAULTS, "cpu")


def test_a_surrogate_of_another_length_is_an_error(series, tmp_path):
    networks = bundles_of(toy_mt(tmp_path / "a", IMAGES), toy_mt_signal(tmp_path / "b", IMAGES + 1))
    with pytest.raises(BundleError, match="does not fit"):
        analyse_saturation(series, [], networks, DEFAULTS, "cpu")
