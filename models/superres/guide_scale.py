"""Scale of a guide in closed form: what one unit of signal of the maps is in the guide's units.

A weighted image has arbitrary units and a receive field that varies slowly. Both follow from the
low-resolution maps, by least squares at low resolution: guide ≈ field × signal of the maps, the
field a polynomial of low order.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import torch
from torch import Tensor

from models.superres.degradation import Window, whole

ROUNDS = 8
"""Reweighted least squares rounds; lesions and partial volume then hardly count."""


def _degrees(axes: int, order: int) -> list[tuple[int, ...]]:
    if not 0 <= order <= 3:
        raise ValueError(f"order {order} is not between 0 and 3")
    return [d for d in product(range(order + 1), repeat=axes) if sum(d) <= order]


@lru_cache(maxsize=256)
def _legendre(
    samples: int, start: int, stop: int, degree: int, device: torch.device | str
) -> Tensor:
    """Legendre polynomial over part of an axis, float64; not to be changed, since it is kept."""
    at = torch.arange(start, stop, dtype=torch.float64, device=device)
    x = 2 * (at - samples // 2) / samples
    return (torch.ones_like(x), x, 1.5 * x**2 - 0.5, 2.5 * x**3 - 1.5 * x)[degree]


def _function(
    window: Window, degrees: tuple[int, ...], device: torch.device | str = "cpu"
) -> Tensor:
    """Product of Legendre polynomials over a window, float64."""
    along = [
        _legendre(samples, part.start, part.stop, degree, device)
        for samples, part, degree in zip(window.full, window.slices, degrees, strict=True)
    ]
    function = along[0]
    for values in along[1:]:
        function = function.unsqueeze(-1) * values
    return function


def polynomial_basis(
    shape: tuple[int, ...], order: int, device: torch.device | str = "cpu"
) -> Tensor:
    """Legendre products up to total degree ``order`` over the field of view.

    Sample n // 2 of each axis is at the same place for every number of samples, as in
    ``degradation.py``.

    Args:
        shape: grid, two or three axes.
        order: highest total degree; 0 gives the constant alone.
        device: of torch.

    Returns:
        (functions, *shape), float64; the constant first.
    """
    return torch.stack([_function(whole(shape), d, device) for d in _degrees(len(shape), order)])


def guide_field(
    guide: Tensor, signal: Tensor, weight: Tensor, window: Window, order: int = 2
) -> Tensor:
    """Field by which to divide a guide so that it is in the units of the maps' signal.

    Args:
        guide: (images, *low_shape) guide at low resolution, truncated as the maps were.
        signal: (images, *low_shape) signal of the low-resolution maps, in units of PD.
        weight: (images, *low_shape) 0 where a voxel must not count (outside, partial volume).
        window: high-resolution grid, and the part of it to give the field on.
        order: degree of the field's polynomial; 0 is one scale.

    Returns:
        (images, *window.shape) field, guide units per unit of PD, positive.

    Raises:
        ValueError: if no voxel counts, or the field is not positive: the guide does not show
            what the maps show.
    """
    low_shape = tuple(guide.shape[1:])
    basis = polynomial_basis(low_shape, order, guide.device).flatten(1)
    flat_guide, flat_signal = guide.flatten(1).double(), signal.flatten(1).double()
    flat_weight = weight.flatten(1).double()
    if not bool((flat_weight.sum(1) > 0).all()):
        raise ValueError("no voxel is left to estimate the guide scale from")
    inside = flat_weight > 0
    ridge = 1e-3 * torch.eye(len(basis), dtype=torch.float64, device=guide.device)
    ridge[0, 0] = 0.0
    robust = flat_weight
    coefficients = flat_guide.new_zeros(len(guide), len(basis))
    for _ in range(ROUNDS):
        design = basis * flat_signal.unsqueeze(1)
        weighted = design * robust.unsqueeze(1)
        normal = weighted @ design.transpose(1, 2)
        size = normal[:, :1, :1]
        # The ridge makes it solvable; an error would show as a field that is not positive.
        coefficients = torch.linalg.solve_ex(
            normal + ridge * size, (weighted @ flat_guide.unsqueeze(2)).squeeze(2)
        ).result
        residual = flat_guide - coefficients @ basis * flat_signal
        spread = residual.abs().where(inside, torch.nan).nanmedian(1).values
        limit = 2 * 1.4826 * spread.clamp_min(1e-12).unsqueeze(1)
        robust = flat_weight / (1 + (residual / limit) ** 2)
    field = guide.new_zeros((len(guide), *window.shape))
    wide = (-1, *[1] * len(window.shape))
    for column, degrees in enumerate(_degrees(len(window.shape), order)):
        function = _function(window, degrees, guide.device).to(guide.dtype)
        field += coefficients[:, column].view(wide).to(guide.dtype) * function
    # A polynomial is free where no voxel counts: there it keeps to the range of the rest.
    fitted = coefficients @ basis
    lowest = fitted.where(inside, torch.inf).amin(1)
    highest = fitted.where(inside, -torch.inf).amax(1)
    if not bool((lowest > 0).all()):
        raise ValueError(
            "the guide scale is not positive: the guide does not show what the maps show"
        )
    return torch.minimum(
        torch.maximum(field, lowest.view(wide).to(field.dtype)), highest.view(wide).to(field.dtype)
    )
