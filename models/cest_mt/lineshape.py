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

# The super-Lorentzian diverges on resonance; inside this band (rad/s per MHz of Larmor
# frequency, that is 1 ppm / 2π) it is continued smoothly, as in Pulseq-CEST.
_NODES = 101


def absorption(
    lineshape: Lineshape, detuning: torch.Tensor, t2: torch.Tensor, band: float
) -> torch.Tensor:
    """Absorption line at ``detuning``.

    Args:
        lineshape: any but ``FULL``, which needs no line.
        detuning: Δ, rad/s, any shape.
        t2: s, broadcasts with ``detuning``.
        band: half width in rad/s inside which the super-Lorentzian is continued.

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

    Gauss-Legendre on both sides of u = 1/√3, where the integrand vanishes.
    """
    magic = 1 / math.sqrt(3)
    nodes, weights = np.polynomial.legendre.leggauss(_NODES // 2)
    total = torch.zeros_like(detuning * t2)
    for low, high in ((0.0, magic), (magic, 1.0)):
        for node, weight in zip(nodes, weights, strict=True):
            u = low + (high - low) * (node + 1) / 2
            width = abs(3 * u**2 - 1)
            scaled = t2 / width
            total = total + (high - low) / 2 * weight * scaled * torch.exp(
                -2 * (detuning * scaled) ** 2
            )
    return math.sqrt(2 * math.pi) * total


def _continued(detuning: torch.Tensor, t2: torch.Tensor, band: float) -> torch.Tensor:
    """An even parabola inside the band that meets value and slope at its edge."""
    edge = torch.full_like(detuning * t2, band)
    step = 1e-3 * band
    value = super_lorentzian(edge, t2)
    slope = (super_lorentzian(edge + step, t2) - super_lorentzian(edge - step, t2)) / (2 * step)
    return value + slope / (2 * band) * (detuning**2 - band**2)
