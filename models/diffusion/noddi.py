"""Forward model of NODDI with Watson-dispersed neurites.

Zhang, Schneider, Wheeler-Kingshott, Alexander, NeuroImage 61:1000 (2012),
doi 10.1016/j.neuroimage.2012.03.072. The dispersed stick is an average over the sphere of two
axially symmetric functions, so its signal is a Legendre series of which every coefficient is a
product: one factor of the dispersion, one of b (Driscoll, Healy, Adv. Appl. Math. 15:202 (1994),
doi 10.1006/aama.1994.1008). The factors of the dispersion are tabulated once.

Units: b in s/mm², diffusivities in mm²/s, signals in the unit of S0. Directions are in the
patient frame (LPS).
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor

#: Diffusivity along neurites, mm²/s.
PARALLEL_DIFFUSIVITY = 1.7e-3
#: Diffusivity of free water, mm²/s.
FREE_DIFFUSIVITY = 3.0e-3
#: Highest even degree of the Legendre series. At b = 5000 s/mm² what is left is below 1e-6.
HIGHEST_DEGREE = 20
_DEGREES = np.arange(0, HIGHEST_DEGREE + 1, 2)
#: Orientation dispersion index at which the table of dispersions starts.
SMALLEST_ODI = 1e-3
_GRID = 2001


def concentration(odi: Tensor) -> Tensor:
    """Watson's κ of an orientation dispersion index, κ = 1 / tan(π/2 ODI); same shape."""
    return 1 / torch.tan(odi * (math.pi / 2))


def legendre(cosine: Tensor) -> Tensor:
    """Legendre polynomials of even degree 0, 2, … ``HIGHEST_DEGREE``; (..., degrees)."""
    previous, current = torch.ones_like(cosine), cosine
    kept = [previous]
    for degree in range(1, HIGHEST_DEGREE):
        following = ((2 * degree + 1) * cosine * current - degree * previous) / (degree + 1)
        previous, current = current, following
        if degree % 2:
            kept.append(current)
    return torch.stack(kept, dim=-1)


@functools.cache
def dispersion_table() -> tuple[np.ndarray, np.ndarray]:
    """Legendre moments of Watson's distribution over a regular grid of ODI.

    Returns:
        (grid,) ODI from ``SMALLEST_ODI`` to 1, and (grid, degrees) moments
        ∫ W(t) P_l(t) dt with ∫ W(t) dt = 1, t the cosine to the mean orientation.
    """
    odi = np.linspace(SMALLEST_ODI, 1.0, _GRID)
    kappa = 1 / np.tan(np.minimum(odi, 1 - 1e-12) * np.pi / 2)
    # The density falls off within 1/κ of t = 1: substitute t = 1 - u², denser there.
    node, weight = np.polynomial.legendre.leggauss(400)
    u = (node + 1) / 2
    t = 1 - u**2
    weight = weight * u
    density = np.exp(kappa[:, None] * (t**2 - 1)) * weight
    density /= density.sum(axis=1, keepdims=True)
    polynomials = legendre(torch.from_numpy(t)).numpy()
    return odi, density @ polynomials


@functools.cache
def stick_moments(attenuation: float) -> np.ndarray:
    """Legendre coefficients (2l+1)/2 ∫ exp(-bd t²) P_l(t) dt of a stick; (degrees,).

    Args:
        attenuation: b times diffusivity along the stick, without unit.
    """
    node, weighted = _quadrature()
    return (2 * _DEGREES + 1) / 2 * (np.exp(-attenuation * node**2) @ weighted)


@functools.cache
def _quadrature() -> tuple[np.ndarray, np.ndarray]:
    """Nodes of Gauss and Legendre's rule, and Legendre polynomials there times its weights."""
    node, weight = np.polynomial.legendre.leggauss(200)
    return node, weight[:, None] * legendre(torch.from_numpy(node)).numpy()


def dispersion_moments(odi: Tensor) -> Tensor:
    """Moments of Watson's distribution at ODI, interpolated linearly in the table.

    The error of interpolation is below 1e-5 of a signal. Differentiable in ``odi``, of which
    values outside the table count as its ends.

    Returns:
        (..., degrees).
    """
    _, table = dispersion_table()
    rows = torch.as_tensor(table, dtype=odi.dtype, device=odi.device)
    position = (odi.clamp(SMALLEST_ODI, 1.0) - SMALLEST_ODI) * ((_GRID - 1) / (1 - SMALLEST_ODI))
    below = position.detach().floor().clamp(0, _GRID - 2).long()
    weight = (position - below)[..., None]
    return rows[below] * (1 - weight) + rows[below + 1] * weight


def noddi_signal(
    s0: Tensor,
    ndi: Tensor,
    odi: Tensor,
    fwf: Tensor,
    orientation: Tensor,
    b_values: Tensor,
    directions: Tensor,
    parallel_diffusivity: float = PARALLEL_DIFFUSIVITY,
) -> Tensor:
    """Signal S0 [(1 - FWF) (NDI S_ic + (1 - NDI) S_ec) + FWF exp(-b d_free)].

    S_ic is the average of sticks over Watson's distribution; S_ec is Gaussian with the
    average tensor of zeppelins of d_perp = d_par (1 - NDI) (tortuosity).

    Args:
        s0: (...,) signal at b = 0.
        ndi: (...,) neurite density index, 0 to 1.
        odi: (...,) orientation dispersion index, 0 to 1.
        fwf: (...,) free water fraction, 0 to 1.
        orientation: (..., 3) mean orientation, unit vectors, LPS.
        b_values: (volumes,) s/mm².
        directions: (volumes, 3) unit vectors, LPS.
        parallel_diffusivity: d_par, mm²/s.

    Returns:
        (..., volumes), in the unit of ``s0``.
    """
    moments = dispersion_moments(odi)
    cosine = orientation @ directions.T
    sticks = torch.as_tensor(
        np.stack([stick_moments(float(b) * parallel_diffusivity) for b in b_values.tolist()]),
        dtype=s0.dtype,
        device=s0.device,
    )
    intra = (legendre(cosine) * (moments[..., None, :] * sticks)).sum(dim=-1)
    # Second moment of the cosine to the mean orientation, from P_2 = (3 t² - 1) / 2.
    along = (2 * moments[..., 1] + 1) / 3
    excess = parallel_diffusivity * ndi
    across = parallel_diffusivity - excess + excess * (1 - along) / 2
    difference = excess * (3 * along - 1) / 2
    extra = torch.exp(-b_values * (across[..., None] + difference[..., None] * cosine**2))
    free = torch.exp(-b_values * FREE_DIFFUSIVITY)
    tissue = ndi[..., None] * intra + (1 - ndi[..., None]) * extra
    water = fwf[..., None]
    return s0[..., None] * ((1 - water) * tissue + water * free)
