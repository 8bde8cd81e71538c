"""Signal equations: published check values, a discrete Bloch loop, limits and derivatives."""

from __future__ import annotations

import math

import pytest
import torch

from models.superres.signal import (
    FastSpinEcho,
    Flair,
    Mprage,
    SpinEcho,
    SpoiledGradientEcho,
    WeightedSequence,
)

# Wansapura et al. 1999 (WM, GM) and Rooney et al. 2007 (CSF), 3 T: PD, T1 and T2 in ms.
TISSUE = torch.tensor([(0.7, 832, 79.6), (0.8, 1331, 110), (1.0, 4160, 1650)], dtype=torch.float64)

SEQUENCES = (
    SpinEcho(600, 15),
    FastSpinEcho(4000, 100, 150),
    SpoiledGradientEcho(15, 25, 4),
    Mprage(2300, 900, 9, 7.5, 176, 88),
    Flair(9000, 2500, 100, 200),
)


@pytest.mark.parametrize(
    ("sequence", "expected"),
    [
        (SpoiledGradientEcho(15, 25), (0.0481, 0.0365, 0.0157)),
        (FastSpinEcho(4000, 100), (0.198, 0.306, 0.581)),
        (Flair(9000, 2500, 100), (0.180, 0.224, 0.017)),
    ],
)
def test_checked_values(sequence: WeightedSequence, expected: tuple[float, ...]) -> None:
    signal = sequence.signal(*TISSUE.unbind(1))
    assert signal.tolist() == pytest.approx(expected, abs=6e-4)


def _bloch_mprage(sequence: Mprage, t1: float, shots: int = 60) -> float:
    """Mz pulse by pulse until the steady state; the transverse signal of the centre readout."""
    mz, signal = 1.0, 0.0
    angle = math.radians(sequence.flip_angle)
    before = sequence.inversion_time - sequence.centre_readout * sequence.echo_spacing
    after = sequence.shot_repetition_time - before - sequence.readouts * sequence.echo_spacing

    def relax(value: float, time: float) -> float:
        return 1 - (1 - value) * math.exp(-time / t1)

    for _ in range(shots):
        mz = relax(-sequence.inversion_efficiency * mz, before)
        for readout in range(int(sequence.readouts)):
            if readout == sequence.centre_readout:
                signal = mz * math.sin(angle)
            mz = relax(mz * math.cos(angle), sequence.echo_spacing)
        mz = relax(mz, after)
    return abs(signal)


@pytest.mark.parametrize("t1", [300.0, 832.0, 1331.0, 4160.0])
@pytest.mark.parametrize(
    "sequence",
    [
        Mprage(2300, 900, 9, 7.5, 176, 88, 0.96),
        Mprage(3000, 842, 8, 6.8, 240, 0, 1.0),
        Mprage(2000, 1000, 12, 8, 128, 20, 0.9),
    ],
)
def test_mprage_agrees_with_a_bloch_loop(sequence: Mprage, t1: float) -> None:
    one = torch.ones(1, dtype=torch.float64)
    assert float(sequence.signal(one, one * t1, one * 80)) == pytest.approx(
        _bloch_mprage(sequence, t1), rel=1e-9
    )


def test_flair_nulls_cerebrospinal_fluid() -> None:
    one = torch.ones((), dtype=torch.float64)
    fluid = (one, one * 4160, one * 1650)
    assert float(Flair(9000, 2431, 100).signal(*fluid)) < 1e-3
    assert float(Flair(9000, 2000, 100).signal(*fluid)) > 0.05


def test_spin_echo_limits() -> None:
    one = torch.ones((), dtype=torch.float64)
    long, short = SpinEcho(1e6, 1e-6), SpinEcho(1e-3, 1e-6)
    assert float(long.signal(one * 0.8, one * 1000, one * 80)) == pytest.approx(0.8)
    assert float(short.signal(one, one * 1000, one * 80)) == pytest.approx(0, abs=1e-5)


def test_ernst_angle_is_the_brightest() -> None:
    one = torch.ones((), dtype=torch.float64)
    ernst = math.degrees(math.acos(math.exp(-15 / 1000)))
    at, below, above = (
        float(SpoiledGradientEcho(15, ernst + d).signal(one, one * 1000, one)) for d in (0, -2, 2)
    )
    assert at > max(below, above)


@pytest.mark.parametrize("sequence", SEQUENCES, ids=lambda s: type(s).__name__)
def test_signal_is_linear_in_proton_density(sequence: WeightedSequence) -> None:
    density, t1, t2 = TISSUE.unbind(1)
    torch.testing.assert_close(
        sequence.signal(2 * density, t1, t2), 2 * sequence.signal(density, t1, t2)
    )


@pytest.mark.parametrize("sequence", SEQUENCES, ids=lambda s: type(s).__name__)
def test_sensitivities_agree_with_automatic_differentiation(sequence: WeightedSequence) -> None:
    logarithm = TISSUE.T[None].log().requires_grad_()
    signal, derivative = sequence.sensitivities(logarithm.detach().exp())
    (gradient,) = torch.autograd.grad(sequence.signal(*logarithm.exp().unbind(1)).sum(), logarithm)
    scale = float(signal.abs().max())
    torch.testing.assert_close(derivative / scale, gradient / scale, atol=2e-3, rtol=0)


@pytest.mark.parametrize("sequence", SEQUENCES, ids=lambda s: type(s).__name__)
def test_every_sequence_takes_one_protocol_per_image(sequence: WeightedSequence) -> None:
    maps = TISSUE.T[None].repeat(2, 1, 1)
    fields = {
        name: torch.tensor([[value], [value * 1.01]], dtype=torch.float64)
        for name, value in vars(sequence).items()
    }
    both = type(sequence)(**fields).signal(*maps.unbind(1))
    torch.testing.assert_close(both[0], sequence.signal(*TISSUE.unbind(1)))
    assert not torch.allclose(both[0], both[1])


def test_t2_star_and_transmit_field_count_for_gradient_echoes_only() -> None:
    gradient, spin = SpoiledGradientEcho(15, 25, 4), FastSpinEcho(4000, 100)
    tissue = TISSUE.unbind(1)
    decayed = gradient.signal(*tissue, t2_star=40.0) / gradient.signal(*tissue)
    torch.testing.assert_close(decayed, torch.full_like(decayed, math.exp(-0.1)))
    assert not torch.allclose(gradient.signal(*tissue, b1=0.8), gradient.signal(*tissue))
    torch.testing.assert_close(spin.signal(*tissue, b1=0.8, t2_star=40.0), spin.signal(*tissue))
