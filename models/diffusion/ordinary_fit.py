"""Ordinary least squares of ln S in many voxels at once, signals that are none left out.

Interpolation (motion and eddy-current correction) overshoots below zero at the rim of the head and
pads with zeros what was not scanned. No logarithm stands for that: a tiny constant in place of it,
as DIPY 1.12 takes, outweighs every measured signal of the voxel, and by how much depends on the
unit of the signals.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from models.diffusion.normal_equations import factorise, lower_triangle, solve

# Signal of which a logarithm is taken where a voxel has no positive one (DIPY's
# MIN_POSITIVE_SIGNAL).
_MINIMUM_SIGNAL = 1e-4
# By how much the condition of the normal equations may grow where signals are left out.
_LARGEST_WORSENING = 100.0


class OrdinaryFit(NamedTuple):
    """Ordinary least squares of a batch of voxels.

    Attributes:
        parameters: (size, voxels), float64.
        log_signal: (volumes, voxels) what was fitted.
        present: (volumes, voxels) 0 for signals that were left out, else 1; None where none was.
        raised: (voxels,) number of signals that were fitted as a larger one.
    """

    parameters: Tensor
    log_signal: Tensor
    present: Tensor | None
    raised: Tensor

    def left_out(self) -> Tensor:
        """(voxels,) number of signals that were left out."""
        if self.present is None:
            return torch.zeros_like(self.raised)
        return (self.present == 0).sum(dim=0)


def ordinary_fit(
    measured: Tensor,
    design: Tensor,
    pseudo_inverse: Tensor,
    pairs: Tensor,
    minimum_signal: float | None,
) -> OrdinaryFit:
    """Fit ln S.

    Args:
        measured: (volumes, voxels) signals, every value finite, float64.
        design: (volumes, size) with ln S = design · parameters.
        pseudo_inverse: (size, volumes) of the design.
        pairs: ``normal_equations.products`` of the design.
        minimum_signal: smaller signals are fitted as this one. None: signals that are not positive
            are left out; where what remains does not determine the unknowns they are fitted as the
            voxel's smallest positive signal instead.
    """
    if minimum_signal is not None:
        raised = (measured < minimum_signal).sum(dim=0)
        log_signal = measured.clamp(min=minimum_signal).log_()
        return OrdinaryFit(pseudo_inverse @ log_signal, log_signal, None, raised)
    absent = measured <= 0
    raised = torch.zeros(measured.shape[1], dtype=torch.int64, device=measured.device)
    if not absent.any():
        log_signal = measured.log()
        return OrdinaryFit(pseudo_inverse @ log_signal, log_signal, None, raised)
    voxels = absent.any(dim=0).nonzero()[:, 0]
    some = measured[:, voxels]
    smallest = torch.where(some > 0, some, torch.inf).amin(dim=0)
    smallest = torch.where(smallest.isfinite(), smallest, _MINIMUM_SIGNAL)
    log_signal = measured.clone()
    log_signal[:, voxels] = torch.where(some > 0, some, smallest)
    log_signal.log_()
    parameters = pseudo_inverse @ log_signal
    present = torch.ones_like(measured)
    present[:, voxels] = (some > 0).to(measured.dtype)
    normal = pairs @ present[:, voxels]
    size = design.shape[1]
    whole = _condition(pairs.sum(dim=1, keepdim=True), size)
    enough = _condition(normal, size) < _LARGEST_WORSENING * whole
    kept = voxels[enough]
    right = design.T @ (present[:, kept] * log_signal[:, kept])
    parameters[:, kept] = solve(factorise(normal[:, enough], size), right)
    rest = voxels[~enough]
    raised[rest] = absent[:, rest].sum(dim=0)
    present[:, rest] = 1
    return OrdinaryFit(parameters, log_signal, present, raised)


def _condition(normal: Tensor, size: int) -> Tensor:
    """(voxels,) ratio of largest to smallest eigenvalue of normal matrices; infinite if singular.

    Args:
        normal: (pairs, voxels) lower triangles, see ``normal_equations.lower_triangle``.
        size: unknowns.
    """
    matrix = normal.new_zeros((normal.shape[1], size, size))
    for pair, (row, column) in zip(normal, lower_triangle(size), strict=True):
        matrix[:, row, column] = pair
        matrix[:, column, row] = pair
    values = torch.linalg.eigvalsh(matrix)
    # Rounding leaves the smallest eigenvalue of a singular matrix near zero, on either side.
    rounding = size * torch.finfo(values.dtype).eps * values[:, -1]
    return torch.where(values[:, 0] > rounding, values[:, -1] / values[:, 0], torch.inf)
