"""One case by the two losses alone: refinement of the network's maps, and the peer without one.

The peer is L-BFGS on voxels, without a network and without a prior.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.superres.consistency import AFTER_NETWORK, gauss_newton, guide_sd
from models.superres.network import LOWER, SMALLEST, UPPER, per_map
from models.superres.study import ScaledStudy, signals


def voxelwise_lbfgs(
    scaled: ScaledStudy, maps: Tensor, iterations: int = 200
) -> tuple[Tensor, float]:
    """Maps that minimise the two losses voxel by voxel with L-BFGS, without a network or prior.

    Args:
        scaled: the study with its guides in units of PD.
        maps: (images, 3, *shape) start.
        iterations: of L-BFGS, with strong Wolfe line search.

    Returns:
        maps (images, 3, *shape), within the bounds, zero outside the mask; and the objective.
    """
    mask = scaled.study.mask
    lower = per_map((SMALLEST[0], *LOWER[1:]), maps).log()
    upper = per_map(UPPER, maps).log()
    # The logistic function keeps the maps within the bounds without constraints.
    share = ((torch.maximum(maps, lower.exp()).log() - lower) / (upper - lower)).clamp(
        1e-4, 1 - 1e-4
    )
    free = torch.logit(share).requires_grad_()
    map_sd = scaled.study.map_noise.view(*scaled.study.map_noise.shape, *[1] * (maps.ndim - 2))
    sd = guide_sd(scaled, scaled.guides).clamp_min(1e-6)
    optimiser = torch.optim.LBFGS(
        [free], max_iter=iterations, history_size=20, line_search_fn="strong_wolfe"
    )

    def physical() -> Tensor:
        return (lower + (upper - lower) * torch.sigmoid(free)).exp() * mask

    def objective() -> Tensor:
        optimiser.zero_grad()
        current = physical()
        guide = (scaled.guides - signals(scaled.study.sequences, current)) / sd * mask
        consistency = (scaled.study.maps - scaled.truncation(current)) / map_sd
        loss = 0.5 * (guide.square().sum() + consistency.square().sum()) / mask.sum()
        loss.backward()
        return loss

    optimiser.step(objective)
    return physical().detach(), float(objective().detach())


def refine(scaled: ScaledStudy, maps: Tensor, rounds: int = 6) -> Tensor:
    """Refines one case with the two losses, from the network's maps.

    Args:
        scaled: the study as its guides were scaled for ``maps``.
        maps: (images, 3, *shape) the network's result.
        rounds: Gauss–Newton rounds; each starts from, and stays near, the maps of the one before.

    Returns:
        (images, 3, *shape), within the bounds, zero outside the mask.
    """
    for _ in range(rounds):
        maps = gauss_newton(scaled, maps, AFTER_NETWORK)
    return maps
