"""Physics between learned steps: the maps near given maps that best explain all that is measured.

The objective is that of the method, argmin Σ ½‖(guide - signal)/σ‖² + Σ ½‖(T maps - measured)/σ‖²,
with the given maps as prior. One Gauss–Newton round with conjugate gradients costs a few matrix
products, where steepest descent on voxels needs hundreds of evaluations: ln T1 and ln T2 of a
voxel are nearly separate in the two guides, and the truncation is nearly a projection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from models.superres.network import SMALLEST, bounded, log_covariance, per_map
from models.superres.signal import WeightedSequence
from models.superres.study import ScaledStudy, unexplained

MODEL_ERROR = 0.01
"""SD of what the signal equations leave out, over the signal."""


@dataclass(frozen=True)
class Consistency:
    """How far the physics may move maps.

    Attributes:
        prior_sd: SD of ln PD beyond what T1 explains, ln T1 and ln T2 about the given maps.
        rounds: linearisations.
        iterations: of conjugate gradients in each round.
    """

    prior_sd: tuple[float, float, float]
    rounds: int = 1
    iterations: int = 10


BEFORE_NETWORK = Consistency((0.02, 0.4, 0.5))
"""From interpolated maps: anything that tissue can be."""

BEFORE_NETWORK_WITHOUT_T1W = Consistency((0.02, 0.05, 0.5))
"""The same where no guide says much about T1: it keeps to what was measured."""

AFTER_NETWORK = Consistency((0.02, 0.06, 0.1), rounds=2, iterations=8)
"""From the network's maps: what noise and its errors can be."""


def guide_sd(scaled: ScaledStudy, synthetic: Tensor) -> Tensor:
    """SD (images, 2, ...) of guides; infinite where a guide is missing."""
    noise = scaled.noise.view(*scaled.noise.shape, *[1] * (synthetic.ndim - 2))
    sd = (noise**2 + (MODEL_ERROR * synthetic) ** 2).sqrt()
    return torch.where(noise > 0, sd, torch.full_like(sd, torch.inf))


def _dot(first: Tensor, second: Tensor) -> Tensor:
    product = (first * second).flatten(1).sum(1)
    return product.view(-1, *[1] * (first.ndim - 1))


def _times(matrix: Tensor, maps: Tensor) -> Tensor:
    return torch.einsum("pq,nq...->np...", matrix, maps)


@torch.no_grad()
def gauss_newton(scaled: ScaledStudy, maps: Tensor, settings: Consistency) -> Tensor:
    """Maps near the given ones that explain guides and measured maps better.

    Args:
        scaled: the study with its guides in units of PD.
        maps: (images, 3, *shape) prior mean: PD, T1 in ms, T2 in ms.
        settings: how far the maps may move.

    Returns:
        (images, 3, *shape), within the bounds, zero outside the mask.
    """
    precision = torch.linalg.inv(log_covariance(settings.prior_sd, maps))
    mean = torch.maximum(maps, per_map(SMALLEST, maps)).log()
    current = mean
    for _ in range(settings.rounds):
        current = current + _step(scaled, current, mean, precision, settings.iterations)
    return bounded(current.exp()) * scaled.study.mask


def _step(
    scaled: ScaledStudy, current: Tensor, mean: Tensor, precision: Tensor, iterations: int
) -> Tensor:
    """One Gauss–Newton step (images, 3, ...) in ln PD, ln T1 and ln T2.

    A function of its own, so that what the size of a volume it needs is gone before the next.
    """
    truncation, mask = scaled.truncation, scaled.study.mask
    sd = scaled.study.map_noise
    wide = [1] * (current.ndim - 2)
    map_weight = 1 / sd.view(*sd.shape, *wide) ** 2
    share = 1.0
    for factor in truncation.factors:
        share /= factor
    physical = bounded(current.exp()) * mask
    right = _times(precision, mean - current) * mask
    rows = []
    positive = torch.maximum(physical, per_map(SMALLEST, physical))
    for index, sequence in enumerate(scaled.study.sequences):
        if sequence is not None:
            row, difference = _guide_row(scaled, index, sequence, positive)
            right.addcmul_(row, difference.unsqueeze(1))
            rows.append(row)
    del positive
    residual = unexplained(scaled.study, truncation(physical))
    # What is cut off at zero says nothing about how far below it is.
    trusted = (map_weight * scaled.map_trust).masked_fill(
        (scaled.study.maps == 0) & (residual == 0), 0.0
    )
    right.addcmul_(physical, truncation.adjoint(residual * trusted))

    def normal(step: Tensor) -> Tensor:
        result = truncation.adjoint(truncation(physical * step).mul_(trusted))
        result.mul_(physical).add_(_times(precision, step))
        for row in rows:
            result.addcmul_(row, (row * step).sum(1, keepdim=True))
        return result

    prior_diagonal = torch.diagonal(precision).view(1, 3, *wide)
    diagonal = (physical**2).mul_(map_weight * share**2).add_(prior_diagonal)
    for row in rows:
        diagonal.addcmul_(row, row)
    return _conjugate_gradients(normal, right, diagonal, iterations).clamp_(-0.7, 0.7)


def _guide_row(
    scaled: ScaledStudy, index: int, sequence: WeightedSequence, positive: Tensor
) -> tuple[Tensor, Tensor]:
    """Derivatives (images, 3, ...) of a guide and what it leaves unexplained, both in its SD."""
    signal, derivative = sequence.sensitivities(positive)
    sd = guide_sd(scaled, signal.unsqueeze(1).expand(-1, 2, *signal.shape[1:]))[:, index]
    scale = scaled.study.mask[:, 0] * scaled.trust[:, index].sqrt() / sd
    difference = (scaled.guides[:, index] - signal) * scale
    return derivative.mul_(scale.unsqueeze(1)), difference.clamp_(-20, 20)


def _conjugate_gradients(
    normal: Callable[[Tensor], Tensor], right: Tensor, diagonal: Tensor, iterations: int
) -> Tensor:
    """Solution of normal(x) = right, preconditioned by the diagonal; changes ``right``."""
    solution = torch.zeros_like(right)
    residual, direction = right, right / diagonal
    energy = _dot(residual, direction)
    for _ in range(iterations):
        image = normal(direction)
        length = energy / _dot(direction, image).clamp_min(1e-30)
        solution.addcmul_(length, direction)
        residual.sub_(image.mul_(length))
        preconditioned = torch.div(residual, diagonal, out=image)
        following = _dot(residual, preconditioned)
        direction.mul_(following / energy.clamp_min(1e-30)).add_(preconditioned)
        energy = following
    return solution
