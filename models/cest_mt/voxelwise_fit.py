"""Least-squares fit of the simulator to each voxel: slow baseline and check of the networks."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from models.cest_mt.schedule import load_schedule
from models.cest_mt.signal import simulate
from models.cest_mt.specification import NetworkSpecification
from models.cest_mt.training_set import pools_of, sampled_before_excitation

_TILE = 2048
_START_LEVELS = (0.1, 0.4, 0.8)
_LARGEST_DAMPING = 1e6
_SMALLEST_GAIN = 1e-7
_DIFFERENCE = 1e-6


@dataclass(frozen=True)
class Fit:
    """Result of a fit, in the units of the specification.

    Attributes:
        values: (voxels, estimated) best parameters and nuisances.
        covariance: (voxels, estimated, estimated) from the Jacobian and the residual variance;
            infinite where the signal does not depend on a parameter.
        residual: (voxels,) norm of what is left of the signal, in percent of its norm.
        at_bound: (voxels, estimated) whether the value lies at an end of its range.
    """

    values: Tensor
    covariance: Tensor
    residual: Tensor
    at_bound: Tensor


def fit_voxels(
    specification: NetworkSpecification,
    signal: Tensor,
    conditions: Tensor,
    start: Tensor | None = None,
    iterations: int = 25,
    progress: Callable[[float], None] = lambda share: None,
) -> Fit:
    """Fits parameters and nuisances within their ranges by damped Gauss-Newton steps.

    Signals are compared at norm 1, which leaves their scale free. Derivatives are differences
    in float64, good to six digits and several times faster here than forward-mode derivatives.

    Args:
        specification: what is fitted, within which ranges, and what is given.
        signal: (voxels, images) measured, any positive scale.
        conditions: (voxels, conditions) in physical units.
        start: (voxels, estimated) first guess in physical units; without one, the best of a
            coarse grid.
        iterations: Levenberg-Marquardt steps.
        progress: told the share that is done.

    Returns:
        The fit of every voxel, float64.
    """
    parts = []
    for rows in torch.arange(len(signal)).split(_TILE):
        problem = _Problem(specification, signal[rows].double(), conditions[rows].double())
        share = problem.coarse_start() if start is None else problem.share_of(start[rows].double())
        parts.append(_levenberg_marquardt(problem, share, iterations))
        progress(float(rows[-1] + 1) / len(signal))
    return Fit(
        *(torch.cat([getattr(part, name) for part in parts]) for name in Fit.__annotations__)
    )


class _Problem:
    """The residuals of a tile of voxels as a function of shares of the ranges in [0, 1]."""

    def __init__(
        self, specification: NetworkSpecification, signal: Tensor, conditions: Tensor
    ) -> None:
        self._specification = specification
        self._schedule = sampled_before_excitation(load_schedule(specification.protocol))
        self._conditions = conditions
        self.lower = torch.tensor([q.lower for q in specification.estimated], dtype=torch.float64)
        self.span = torch.tensor([q.span for q in specification.estimated], dtype=torch.float64)
        self._measured = torch.nn.functional.normalize(signal, dim=1)

    def __len__(self) -> int:
        return len(self._measured)

    def share_of(self, values: Tensor) -> Tensor:
        return ((values - self.lower) / self.span).clamp(0, 1)

    def cost(self, share: Tensor, rows: Tensor) -> Tensor:
        """(rows,) sums of squared residuals of the voxels ``rows`` at ``share``."""
        return (self._simulated(share, rows) - self._measured[rows]).square().sum(dim=1)

    def residual_and_jacobian(self, share: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(rows, images) and (rows, images, estimated)."""
        count = share.shape[1]
        # Differences towards the middle of the range, so that no value leaves it.
        step = torch.where(share < 0.5, _DIFFERENCE, -_DIFFERENCE)
        shifted = [share + step * column for column in torch.eye(count, dtype=torch.float64)]
        simulated = self._simulated(torch.cat([share, *shifted]), rows.repeat(count + 1))
        base, *moved = simulated.chunk(count + 1)
        columns = [(signal - base) / step[:, [k]] for k, signal in enumerate(moved)]
        return base - self._measured[rows], torch.stack(columns, dim=2)

    def coarse_start(self) -> Tensor:
        """(voxels, estimated) the best of a coarse grid."""
        every = torch.arange(len(self))
        best = torch.full((len(self),), torch.inf, dtype=torch.float64)
        share = torch.full((len(self), len(self.lower)), 0.5, dtype=torch.float64)
        for levels in itertools.product(_START_LEVELS, repeat=len(self.lower)):
            candidate = torch.tensor(levels, dtype=torch.float64).expand_as(share)
            cost = self.cost(candidate, every)
            share = torch.where((cost < best)[:, None], candidate, share)
            best = torch.minimum(cost, best)
        return share

    def _simulated(self, share: Tensor, rows: Tensor) -> Tensor:
        conditions = self._conditions[rows]
        values = torch.cat([self.lower + self.span * share, conditions], dim=1)
        given = {q.name: conditions[:, i] for i, q in enumerate(self._specification.conditions)}
        signal = simulate(
            self._schedule,
            pools_of(self._specification, values),
            b0_shift_ppm=given.get("b0_shift", 0.0),
            b1_scale=given.get("b1_scale", 1.0),
            dtype=torch.float64,
        )
        return torch.nn.functional.normalize(signal, dim=1)


def _levenberg_marquardt(problem: _Problem, share: Tensor, iterations: int) -> Fit:
    every = torch.arange(len(problem))
    damping = torch.full((len(problem),), 1e-2, dtype=torch.float64)
    cost = problem.cost(share, every)
    active = every
    for _ in range(iterations):
        if len(active) == 0:
            break
        residual, jacobian = problem.residual_and_jacobian(share[active], active)
        step = _step(share[active], residual, jacobian, damping[active])
        trial = (share[active] + step).clamp(0, 1)
        trial_cost = problem.cost(trial, active)
        before = cost[active]
        better = trial_cost < before
        share[active] = torch.where(better[:, None], trial, share[active])
        cost[active] = torch.where(better, trial_cost, before)
        damping[active] = torch.where(better, damping[active] / 5, damping[active] * 5)
        small = (before - trial_cost).abs() <= _SMALLEST_GAIN * before
        active = active[~small & (damping[active] < _LARGEST_DAMPING)]
    residual, jacobian = problem.residual_and_jacobian(share, every)
    freedom = residual.shape[1] - share.shape[1] - 1
    variance = residual.square().sum(dim=1) / freedom
    inverse, failed = torch.linalg.inv_ex(torch.einsum("vip,viq->vpq", jacobian, jacobian))
    inverse = torch.where((failed > 0)[:, None, None], torch.inf, inverse)
    return Fit(
        values=problem.lower + problem.span * share,
        covariance=inverse * variance[:, None, None] * problem.span * problem.span[:, None],
        residual=100 * residual.square().sum(dim=1).sqrt(),
        at_bound=(share <= 0) | (share >= 1),
    )


def _step(share: Tensor, residual: Tensor, jacobian: Tensor, damping: Tensor) -> Tensor:
    """Damped Gauss-Newton step; a value that its gradient pushes out of its range stays."""
    gradient = torch.einsum("vip,vi->vp", jacobian, residual)
    fixed = ((share <= 0) & (gradient > 0)) | ((share >= 1) & (gradient < 0))
    free = (~fixed).double()
    normal = torch.einsum("vip,viq->vpq", jacobian, jacobian)
    normal = normal * free[:, :, None] * free[:, None, :]
    diagonal = torch.diagonal(normal, dim1=1, dim2=2) * damping[:, None] + 1e-12 + (1 - free)
    step: Tensor = torch.linalg.solve(normal + torch.diag_embed(diagonal), -gradient * free)
    return step
