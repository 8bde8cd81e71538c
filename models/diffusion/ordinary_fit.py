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

from models.diffusion.normal_equations import factorise, solve

# Signal of which a logarithm is taken where a voxel has no positive one (DIPY's
# MIN_POSITIVE_SIGNAL).
_MINIMUM_SIGNAL = 1e-4
# Of what the whole table says of an unknown; with less the fit is called undetermined.
_LEAST_SHARE = 0.01


class OrdinaryFit(NamedTuple):
    """Ordinary least squares of a batch of voxels.

    Attributes:
        parameters: (size, voxels), float64.
        log_signal: (volumes, voxels) what was fitted.
        left_out: indices (volumes, voxels) of the signals that were left out, two flat tensors.
        raised: (voxels,) number of signals that were fitted as a larger one.
    """

    parameters: Tensor
    log_signal: Tensor
    left_out: tuple[Tensor, Tensor]
    raised: Tensor

    def left_out_signals(self) -> Tensor:
        """(voxels,) number of signals that were left out."""
        return torch.bincount(self.left_out[1], minlength=len(self.raised))


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
            voxel's smallest positive signal instead, or as 1e-4 where there is none.
    """
    none = torch.zeros(0, dtype=torch.int64, device=measured.device)
    if minimum_signal is not None:
        raised = (measured < minimum_signal).sum(dim=0)
        log_signal = measured.clamp(min=minimum_signal).log_()
        return OrdinaryFit(pseudo_inverse @ log_signal, log_signal, (none, none), raised)
    raised = torch.zeros(measured.shape[1], dtype=torch.int64, device=measured.device)
    voxels = (measured.amin(dim=0) <= 0).nonzero()[:, 0]
    if not len(voxels):
        log_signal = measured.log()
        return OrdinaryFit(pseudo_inverse @ log_signal, log_signal, (none, none), raised)
    some = measured[:, voxels]
    there = some > 0
    smallest = torch.where(there, some, torch.inf).amin(dim=0)
    smallest = torch.where(smallest.isfinite(), smallest, _MINIMUM_SIGNAL)
    log_signal = measured.clone()
    log_signal[:, voxels] = torch.where(there, some, smallest)
    log_signal.log_()
    parameters = pseudo_inverse @ log_signal
    use = there.to(measured.dtype)
    factor = factorise(pairs @ use, design.shape[1])
    enough = _determined(factor, pairs)
    kept = voxels[enough]
    right = design.T @ (use * log_signal[:, voxels])[:, enough]
    parameters[:, kept] = solve(factor[:, :, enough], right)
    raised[voxels] = torch.where(enough, 0, (~there).sum(dim=0))
    volumes, which = (~there[:, enough]).nonzero(as_tuple=True)
    return OrdinaryFit(parameters, log_signal, (volumes, kept[which]), raised)


def _determined(factor: Tensor, pairs: Tensor) -> Tensor:
    """(voxels,) whether what is left of a table determines the unknowns, and not by a hair.

    Args:
        factor: (size, size, voxels) Cholesky factors of the normal equations of what is left.
        pairs: ``normal_equations.products`` of the whole design.
    """
    whole = factorise(pairs.sum(dim=1, keepdim=True), len(factor)).diagonal()
    # Squared pivots are what is known of an unknown given those after it. They are rounding, or
    # not a number, where a matrix is singular.
    return (factor.diagonal() ** 2 > _LEAST_SHARE * whole**2).all(dim=1)
