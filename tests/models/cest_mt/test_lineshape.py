import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from models.cest_mt.lineshape import absorption, super_lorentzian
from models.cest_mt.pools import Lineshape

T2 = 9e-6  # s
BAND = 2 * math.pi * 127.7  # rad/s, 1 ppm at 3 T
LINES = [Lineshape.LORENTZIAN, Lineshape.GAUSSIAN, Lineshape.SUPER_LORENTZIAN]


def _line(lineshape: Lineshape, detuning: np.ndarray) -> np.ndarray:
    values = absorption(
        lineshape, torch.tensor(detuning), torch.tensor(T2, dtype=torch.float64), BAND
    )
    return np.asarray(values)


@pytest.mark.parametrize("lineshape", LINES)
def test_area_is_pi_and_the_line_is_symmetric(lineshape: Lineshape) -> None:
    detuning = np.linspace(-5e7, 5e7, 1_000_001)
    line = _line(lineshape, detuning)
    assert np.trapezoid(line, detuning) == pytest.approx(math.pi, rel=6e-3)
    np.testing.assert_allclose(line, line[::-1], rtol=1e-9)


@pytest.mark.parametrize("detuning", [1000.0, 5000.0, 1e5])
def test_super_lorentzian_is_its_integral(detuning: float) -> None:
    def integrand(u: float) -> float:
        width = abs(3 * u**2 - 1) + 1e-300
        scaled = detuning * T2 / width
        return math.sqrt(2 * math.pi) * T2 / width * math.exp(-2 * scaled**2)

    magic = 1 / math.sqrt(3)
    edges = [0, magic - 0.05, magic - 0.01, magic, magic + 0.01, magic + 0.05, 1]
    expected = sum(quad(integrand, *edge, limit=500)[0] for edge in pairwise(edges))
    ours = float(super_lorentzian(torch.tensor(detuning), torch.tensor(T2, dtype=torch.float64)))
    assert ours == pytest.approx(expected, rel=1e-4)


def test_super_lorentzian_stays_finite_and_smooth_on_resonance() -> None:
    detuning = np.linspace(-3 * BAND, 3 * BAND, 601)
    line = _line(Lineshape.SUPER_LORENTZIAN, detuning)
    assert np.all(np.isfinite(line))
    assert line.argmax() == 300
    assert np.abs(np.diff(line)).max() < 0.02 * line.max()


def test_a_full_pool_has_no_line() -> None:
    with pytest.raises(ValueError, match="not an absorption line"):
        _line(Lineshape.FULL, np.zeros(1))
