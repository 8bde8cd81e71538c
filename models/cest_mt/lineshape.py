"""Absorption lines of the semisolid pool, g(Δ) in s, with ∫ g(Δ) dΔ = π over angular frequency.

The pool then saturates at the rate ω1² g (Henkelman et al., MRM 29:759 (1993),
doi 10.1002/mrm.1910290607; Morrison et al., J. Magn. Reson. B 108:103 (1995),
doi 10.1006/jmrb.1995.1111). Δ is the RF frequency minus that of the pool, rad/s.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from models.cest_mt.pools import Lineshape

_NODES = 40


def absorption(
    lineshape: Lineshape, detuning: torch.Tensor, t2: torch.Tensor, band: float
) -> torch.Tensor:
    """Absorption line at ``detuning``.

    Args:
        lineshape: any but ``FULL``, which needs no line.
        detuning: Δ, rad/s, any shape.
        t2: s, broadcasts with ``detuning``.
        band: half width in rad/s inside which the super-Lorentzian, which diverges on
            resonance, is continued by a parabola.

    Returns:
        g, s, of the broadcast shape.
    """
    match lineshape:
        case Lineshape.LORENTZIAN:
            return t2 / (1 + (detuning * t2) ** 2)
        case Lineshape.GAUSSIAN:
            return t2 * math.sqrt(math.pi / 2) * torch.exp(-((detuning * t2) ** 2) / 2)
        case Lineshape.SUPER_LORENTZIAN:
            inside = detuning.abs() < band
            outer = torch.where(inside, torch.full_like(detuning, band), detuning)
            return torch.where(inside, _continued(detuning, t2, band), super_lorentzian(outer, t2))
    raise ValueError(f"{lineshape} is not an absorption line")


def super_lorentzian(detuning: torch.Tensor, t2: torch.Tensor) -> torch.Tensor:
    """π ∫₀¹ √(2/π) T2/|3u²−1| exp(−2 (Δ T2/(3u²−1))²) du, off resonance.

    Gauss-Legendre in s on both sides of the magic angle u0 = 1/√3, u = u0 + (end - u0) s³:
    near resonance the integrand is a narrow peak there. Relative error below 1e-4 beyond
    Δ T2 = 0.005.

    Args:
        detuning: Δ, rad/s.
        t2: s, broadcasts with ``detuning``.

    Returns:
        g, s, of the broadcast shape.
    """
    magic = 1 / math.sqrt(3)
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    total = torch.zeros_like(detuning * t2)
    for end in (0.0, 1.0):
        for s, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
            u = magic + (end - magic) * s**3
            rate = t2 / abs(3 * u**2 - 1)
            step = weight * 3 * s**2 * abs(end - magic)
            total = total + step * rate * torch.exp(-2 * (detuning * rate) ** 2)
    return math.sqrt(2 * math.pi) * total


def _continued(detuning: torch.Tensor, t2: torch.Tensor, band: float) -> torch.Tensor:
    """An even parabola inside the band that meets value and slope at its edge."""
    edge = torch.full_like(detuning * t2, band)
    step = 1e-3 * band
    value = super_lorentzian(edge, t2)
    slope = (super_lorentzian(edge + step, t2) - super_lorentzian(edge - step, t2)) / (2 * step)
    return value + slope / (2 * band) * (detuning**2 - band**2)
