"""Physics that every simulated signal must obey."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from models.cest_mt.pools import ExchangingPool, Lineshape, PoolModel
from models.cest_mt.schedule import (
    GYROMAGNETIC_RATIO,
    Delay,
    Event,
    Image,
    Pulse,
    ReadoutTrain,
    SaturationSchedule,
    SpinLock,
    Spoiler,
    Tip,
    load_schedule,
)
from models.cest_mt.signal import simulate

FIELD = 3.0  # T
PPM = GYROMAGNETIC_RATIO * FIELD  # Hz
AMIDE = ExchangingPool(fraction=2e-3, exchange_rate=160.0, t1=1.0, t2=0.04, shift=3.5)
SEMISOLID = ExchangingPool(fraction=0.12, exchange_rate=30.0, t1=1.0, t2=4e-5, shift=0.0)
TISSUE = PoolModel(1.0, 0.06, (AMIDE,), SEMISOLID)
WATER = PoolModel(1.2, 0.08)


def _schedule(images: list[tuple[Event, ...]], **changes: Any) -> SaturationSchedule:
    settings: dict[str, Any] = {
        "name": "test",
        "field_strength": FIELD,
        "offsets": np.zeros(len(images)),
        "b1": np.zeros(len(images)),
        "images": tuple(Image(events) for events in images),
        "relaxed_start": True,
    }
    return SaturationSchedule(**{**settings, **changes})


def _spectrum(offsets: np.ndarray, b1: float = 1.5, duration: float = 1.0) -> SaturationSchedule:
    """One block pulse per offset in ppm."""
    return _schedule(
        [
            (Pulse((b1,), (0.0,), duration, float(offset) * PPM), Spoiler(0.005))
            for offset in offsets
        ]
    )


def _train(offset: float, b1: float, gap: float, tip: Tip = Tip.NOMINAL) -> tuple[Event, ...]:
    lock = SpinLock(b1, 0.1, offset * PPM, tip)
    return (lock, Delay(gap)) * 4 + (lock, Spoiler(0.0))


def test_without_rf_water_recovers_with_t1() -> None:
    invert = Pulse((0.5 / 1e-5 / GYROMAGNETIC_RATIO,), (0.0,), 1e-5, 0.0)
    times = [0.1, 0.5, 2.0]
    schedule = _schedule([(invert, Spoiler(0.0), Delay(time)) for time in times])
    expected = [1 - 2 * math.exp(-time / 1.2) for time in times]
    np.testing.assert_allclose(simulate(schedule, WATER)[0], expected, atol=1e-4)


@pytest.mark.parametrize("lineshape", Lineshape)
def test_without_rf_equilibrium_stays(lineshape: Lineshape) -> None:
    schedule = _schedule([(Delay(0.3), Spoiler(0.1)), (Delay(3.0),)])
    pools = replace(TISSUE, mt_lineshape=lineshape)
    np.testing.assert_allclose(simulate(schedule, pools), 1.0, atol=1e-12)


def test_detailed_balance_conserves_what_relaxation_does_not_touch() -> None:
    # Turn water alone to the plane, then let the pools exchange without relaxation: the sum
    # stays and each pool ends with its share. Exchange does little during the long pulse.
    never, rate = 1e9, 0.05
    solute = replace(AMIDE, fraction=0.12, t1=never, t2=never, exchange_rate=rate, shift=50.0)
    pools = PoolModel(never, never, (solute,))
    tip = Pulse((0.25 / 0.02 / GYROMAGNETIC_RATIO,), (0.0,), 0.02, 0.0)
    schedule = _schedule([(tip, Spoiler(0.0)), (tip, Spoiler(0.0), Delay(1000.0))])
    before, after = simulate(schedule, pools)[0].tolist()
    assert before == pytest.approx(0.0, abs=1e-3)
    assert after == pytest.approx(0.12 / 1.12, rel=1e-2)


def test_on_resonance_nutation_is_a_cosine_of_b1() -> None:
    scale = torch.linspace(0.2, 1.5, 20, dtype=torch.float64)
    amplitude = 0.25 / 1e-3 / GYROMAGNETIC_RATIO
    schedule = _schedule([(Pulse((amplitude,), (0.0,), 1e-3, 0.0),)])
    signal = simulate(schedule, PoolModel(1e6, 1e6), b1_scale=scale)[:, 0]
    torch.testing.assert_close(signal, torch.cos(math.pi / 2 * scale), atol=1e-8, rtol=0)


def test_wasabi_is_the_rabi_formula() -> None:
    schedule = load_schedule("wasabi_3t")
    signal = simulate(schedule, PoolModel(1e9, 1e9), b0_shift_ppm=0.2, b1_scale=0.9)[0].numpy()
    nutation = 3.7 * 0.9 * GYROMAGNETIC_RATIO
    detuning = (schedule.offsets - 0.2) * PPM
    effective = np.hypot(nutation, detuning)
    expected = 1 - 2 * (nutation / effective) ** 2 * np.sin(math.pi * effective * 0.005) ** 2
    np.testing.assert_allclose(signal, expected, atol=1e-6)


def test_zero_exchange_is_bloch() -> None:
    schedule = _spectrum(np.linspace(-5, 5, 21))
    lone = PoolModel(1.0, 0.06)
    uncoupled = replace(
        TISSUE,
        solutes=(replace(AMIDE, exchange_rate=0.0),),
        mt=replace(SEMISOLID, exchange_rate=0.0),
    )
    empty = replace(
        TISSUE, solutes=(replace(AMIDE, fraction=0.0),), mt=replace(SEMISOLID, fraction=0.0)
    )
    expected = simulate(schedule, lone)
    torch.testing.assert_close(simulate(schedule, uncoupled), expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(simulate(schedule, empty), expected, atol=1e-12, rtol=0)


def test_continuous_saturation_far_off_resonance_has_the_known_steady_state() -> None:
    # Bloch: Mz = (1 + (Δ T2)²) / (1 + (Δ T2)² + ω1² T1 T2).
    schedule = _spectrum(np.array([2.0]), b1=1.0, duration=30.0)
    detuning, nutation = 2 * math.pi * 2 * PPM, 2 * math.pi * GYROMAGNETIC_RATIO
    t1, t2 = 1.2, 0.08
    expected = (1 + (detuning * t2) ** 2) / (1 + (detuning * t2) ** 2 + nutation**2 * t1 * t2)
    signal = simulate(replace(schedule, images=(Image(schedule.images[0].preparation[:1]),)), WATER)
    assert float(signal[0, 0]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("lineshape", Lineshape)
def test_symmetric_pools_give_a_symmetric_spectrum(lineshape: Lineshape) -> None:
    both = (AMIDE, replace(AMIDE, shift=-3.5))
    pools = replace(TISSUE, solutes=both, mt_lineshape=lineshape)
    signal = simulate(_spectrum(np.linspace(-8, 8, 33)), pools)[0]
    torch.testing.assert_close(signal, signal.flip(0), atol=1e-12, rtol=0)


@pytest.mark.parametrize("tip", Tip)
def test_spin_locks_are_symmetric_too(tip: Tip) -> None:
    pools = replace(TISSUE, solutes=(AMIDE, replace(AMIDE, shift=-3.5)))
    schedule = _schedule([_train(offset, 2.0, 0.05, tip) for offset in (-3.5, 3.5)])
    signal = simulate(schedule, pools)[0]
    assert float(signal[0]) == pytest.approx(float(signal[1]), abs=1e-12)
    assert 0.1 < float(signal[0]) < 0.9


def test_a_solute_takes_most_at_its_own_positive_shift() -> None:
    offsets = np.linspace(-5, 5, 101)
    pools = PoolModel(1.0, 0.5, (replace(AMIDE, fraction=5e-3),))
    signal = simulate(_spectrum(offsets, b1=0.5), pools)[0].numpy()
    asymmetry = signal[::-1] - signal
    assert offsets[asymmetry.argmax()] == pytest.approx(3.5, abs=0.11)


def test_b0_shifts_the_spectrum_to_positive_offsets() -> None:
    offsets = np.linspace(-3, 3, 61)
    shifted = simulate(_spectrum(offsets), TISSUE, b0_shift_ppm=0.4)[0].numpy()
    assert offsets[shifted.argmin()] == pytest.approx(0.4)
    there = simulate(_spectrum(offsets - 0.4), TISSUE)[0].numpy()
    np.testing.assert_allclose(shifted, there, atol=1e-4)


def test_b1_scales_the_amplitude() -> None:
    offsets = np.linspace(-3, 3, 7)
    torch.testing.assert_close(
        simulate(_spectrum(offsets, b1=2.0), TISSUE, b1_scale=0.7),
        simulate(_spectrum(offsets, b1=1.4), TISSUE),
        atol=1e-12,
        rtol=0,
    )


@pytest.mark.parametrize("name", ["mrf_mt_3t", "mrf_larginine_3t", "wasabi_3t"])
def test_a_voxel_does_not_depend_on_others(name: str) -> None:
    schedule = load_schedule(name)
    random = torch.Generator().manual_seed(0)

    def draw(low: float, high: float) -> torch.Tensor:
        values = torch.rand(5, dtype=torch.float64, generator=random)
        return low + (high - low) * values

    t1, t2, f, b0, b1 = (
        draw(0.6, 2.5),
        draw(0.03, 0.2),
        draw(0.01, 0.2),
        draw(-0.3, 0.3),
        draw(0.7, 1.3),
    )

    def pools(voxels: slice) -> PoolModel:
        semisolid = replace(SEMISOLID, fraction=f[voxels], t1=t1[voxels])
        return PoolModel(t1[voxels], t2[voxels], (AMIDE,), semisolid)

    together = simulate(schedule, pools(slice(5)), b0_shift_ppm=b0, b1_scale=b1)
    assert together.shape == (5, schedule.number_of_images)
    for index in range(5):
        one = slice(index, index + 1)
        alone = simulate(schedule, pools(one), b0_shift_ppm=b0[one], b1_scale=b1[one])
        torch.testing.assert_close(together[one], alone, atol=1e-11, rtol=0)
    numbers = [float(values[3]) for values in (t1, t2, f, b0, b1)]
    semisolid = replace(SEMISOLID, fraction=numbers[2], t1=numbers[0])
    scalar = simulate(
        schedule,
        PoolModel(numbers[0], numbers[1], (AMIDE,), semisolid),
        b0_shift_ppm=numbers[3],
        b1_scale=numbers[4],
    )
    torch.testing.assert_close(together[3:4], scalar, atol=1e-11, rtol=0)


def test_many_voxels_are_simulated_in_parts() -> None:
    schedule = load_schedule("aptw_3t")
    t1 = torch.linspace(0.5, 2, 700, dtype=torch.float32)
    signal = simulate(schedule, PoolModel(t1, 0.05))
    assert signal.dtype == torch.float32
    torch.testing.assert_close(signal[650:], simulate(schedule, PoolModel(t1[650:], 0.05)))


@pytest.mark.parametrize("name", ["mrf_mt_3t", "mrf_amide_3t", "mrf_larginine_3t", "aptw_3t"])
@pytest.mark.parametrize("lineshape", Lineshape)
def test_single_precision_is_good_to_a_thousandth(name: str, lineshape: Lineshape) -> None:
    schedule = load_schedule(name)
    t1, t2 = torch.meshgrid(
        torch.tensor([0.5, 1.0, 3.5]), torch.tensor([0.02, 0.1, 2.0]), indexing="ij"
    )
    pools = replace(
        TISSUE,
        water_t1=t1.reshape(-1),
        water_t2=t2.reshape(-1),
        mt=replace(SEMISOLID, t2=1e-5),
        mt_lineshape=lineshape,
    )
    single = simulate(schedule, pools, b0_shift_ppm=0.3, b1_scale=1.3)
    double = simulate(schedule, pools, b0_shift_ppm=0.3, b1_scale=1.3, dtype=torch.float64)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), double, atol=1e-3, rtol=0)


def test_a_measured_teacher_that_is_the_truth_changes_nothing() -> None:
    # Only with the published readout, after which the pools are in equilibrium with water.
    schedule = load_schedule("mrf_amide_3t")
    chained = simulate(schedule, TISSUE)
    taught = simulate(schedule, TISSUE, teacher=chained)
    torch.testing.assert_close(taught, chained, atol=1e-12, rtol=0)


def test_a_teacher_makes_images_independent() -> None:
    schedule = load_schedule("mrf_mt_3t")
    teacher = simulate(schedule, TISSUE).clone()
    changed = teacher.clone()
    changed[:, 4] = 0.1
    difference = simulate(schedule, TISSUE, teacher=changed) - simulate(
        schedule, TISSUE, teacher=teacher
    )
    moved = difference[0].abs() > 1e-12
    assert moved.nonzero().flatten().tolist() == [5]


def test_readout_with_fast_exchange_is_that_of_all_pools_together() -> None:
    fast = replace(SEMISOLID, exchange_rate=1e6)
    pools = PoolModel(1.0, 0.06, (), fast)
    signals = []
    for exchange in (True, False):
        train = ReadoutTrain(10.0, 0.02, 30, exchange)
        images = (Image((), (train, Delay(0.5))), Image((), ()))
        schedule = replace(_schedule([(), ()]), images=images, relaxed_start=False)
        signals.append(float(simulate(schedule, pools)[0, 1]))
    # With exchange the flips act on water alone, so that the other pool fills it up.
    assert signals[1] < signals[0] < 1
    share = 1 / (1 + float(fast.fraction))
    cosine = math.cos(math.radians(10))
    steady_loss = [1.0, 1.0]
    for index, kept in enumerate((1 - share * (1 - cosine), cosine)):
        water = 1.0
        for _ in range(30):
            water = 1 - (1 - water * kept) * math.exp(-0.02)
        steady_loss[index] = 1 - (1 - water) * math.exp(-0.5)
    np.testing.assert_allclose(signals, steady_loss, atol=2e-4)


def test_ideal_tips_stand_for_short_hard_pulses() -> None:
    lock, offset = 2.0, 3.5 * PPM
    angle = math.atan(lock * GYROMAGNETIC_RATIO / offset)
    hard = angle / (2 * math.pi) / 1e-5 / GYROMAGNETIC_RATIO
    real: tuple[Event, ...] = (
        Pulse((hard,), (0.0,), 1e-5, 0.0, -math.pi / 2),
        Pulse((lock,), (0.0,), 0.1, offset),
        Pulse((hard,), (0.0,), 1e-5, 0.0, math.pi / 2),
    )
    ideal: tuple[Event, ...] = (SpinLock(lock, 0.1, offset),)
    schedule = _schedule([real * 3 + (Spoiler(0.0),), ideal * 3 + (Spoiler(0.0),)])
    signal = simulate(schedule, PoolModel(1.0, 0.06, (AMIDE,)), b1_scale=1.1)[0]
    assert float(signal[0]) == pytest.approx(float(signal[1]), abs=2e-4)


def test_the_phase_of_a_pulse_matters_only_against_transverse_magnetisation() -> None:
    def pulses(second: float) -> tuple[Event, ...]:
        return (Pulse((3.0,), (0.0,), 0.002, 0.0), Pulse((3.0,), (0.0,), 0.002, 0.0, second))

    schedule = _schedule([pulses(0.0), pulses(math.pi), pulses(2 * math.pi)])
    signal = simulate(schedule, PoolModel(1e6, 1e6))[0]
    flip = 2 * math.pi * 3.0 * GYROMAGNETIC_RATIO * 0.002
    np.testing.assert_allclose(signal, [math.cos(2 * flip), 1.0, math.cos(2 * flip)], atol=1e-6)


def test_a_phase_ramp_is_a_frequency_offset() -> None:
    samples, step, hertz = 4000, 5e-6, 120.0
    ramp = tuple(2 * math.pi * hertz * step * (index + 0.5) for index in range(samples))
    swept = Pulse((2.0,) * samples, ramp, step, 0.0)
    shifted = Pulse((2.0,), (0.0,), samples * step, hertz)
    pools = PoolModel(1.0, 0.1, (replace(AMIDE, shift=hertz / PPM),))
    signal = simulate(_schedule([(swept,), (shifted,)]), pools, b0_shift_ppm=0.3)[0]
    assert float(signal[0]) == pytest.approx(float(signal[1]), abs=1e-5)


def test_gaps_in_the_rf_frame_differ_from_gaps_in_the_water_frame() -> None:
    pulse = Pulse((1.5,), (0.0,), 0.02, 0.7 * PPM)
    schedule = _schedule([(pulse, Delay(0.013), pulse, Spoiler(0.0))])
    water, rf = (
        float(simulate(schedule, WATER, gap_phase=kind)[0, 0])  # type: ignore[arg-type]
        for kind in ("pulseq", "rf_frame")
    )
    assert abs(water - rf) > 0.01
    # The RF frame runs on: the same as one pulse whose amplitude is zero in the middle.
    gated = Pulse((1.5,) * 20 + (0.0,) * 13 + (1.5,) * 20, (0.0,) * 53, 0.001, 0.7 * PPM)
    reference = float(simulate(_schedule([(gated, Spoiler(0.0))]), WATER)[0, 0])
    assert rf == pytest.approx(reference, abs=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"b0_shift_ppm": torch.zeros(3)}, r"parameters of \[3\] voxels beside others of 4"),
        ({"b1_scale": torch.tensor([1.0, math.nan, 1, 1])}, "not finite"),
        ({"teacher": torch.zeros(4, 3)}, r"teacher has shape \(4, 3\), expected \(4, 31\)"),
        ({"gap_phase": "lab"}, "must be 'pulseq' or 'rf_frame', not 'lab'"),
        ({"dtype": torch.float16}, "float32 or float64, not torch.float16"),
    ],
)
def test_bad_arguments_are_refused(changes: dict[str, Any], message: str) -> None:
    pools = replace(TISSUE, water_t1=torch.ones(4))
    with pytest.raises(ValueError, match=message):
        simulate(load_schedule("mrf_mt_3t"), pools, **changes)


def test_a_schedule_that_starts_relaxed_has_no_teacher() -> None:
    with pytest.raises(ValueError, match="starts relaxed: there is no teacher"):
        simulate(load_schedule("wasabi_3t"), WATER, teacher=torch.ones(1, 32))
