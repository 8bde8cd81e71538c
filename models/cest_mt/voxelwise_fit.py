"""Least-squares fit of the simulator to each voxel: slow baseline and check of the networks."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from models.cest_mt.least_squares import fit
from models.cest_mt.schedule import load_schedule
from models.cest_mt.signal import simulate
from models.cest_mt.specification import NetworkSpecification
from models.cest_mt.training_set import pools_of, sampled_before_excitation

_TILE = 2048
_START_LEVELS = (0.1, 0.4, 0.8)
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
    for rows in torch.arange(len(signal), device=signal.device).split(_TILE):
        problem = _Problem(specification, signal[rows].double(), conditions[rows].double())
        share = problem.coarse_start() if start is None else problem.share_of(start[rows].double())
        parts.append(problem.fit(share, iterations))
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
        self._lower = signal.new_tensor([q.lower for q in specification.estimated])
        self._span = signal.new_tensor([q.span for q in specification.estimated])
        self._measured = torch.nn.functional.normalize(signal, dim=1)

    def fit(self, share: Tensor, iterations: int) -> Fit:
        """The best shares, from first ones (voxels, estimated)."""
        ends = torch.zeros_like(self._lower), torch.ones_like(self._lower)
        best = fit(self._model, self._measured, share, *ends, iterations, self._simulated)
        samples, count = self._measured.shape[1], share.shape[1]
        # The scale of the signal is one more value that is estimated.
        scale = (samples - count) / (samples - count - 1)
        return Fit(
            values=self._lower + self._span * best.parameters,
            covariance=scale * best.covariance * self._span * self._span[:, None],
            residual=100 * (best.predicted - self._measured).square().sum(dim=1).sqrt(),
            at_bound=best.at_bound,
        )

    def share_of(self, values: Tensor) -> Tensor:
        return ((values - self._lower) / self._span).clamp(0, 1)

    def coarse_start(self) -> Tensor:
        """(voxels, estimated) the best of a coarse grid."""
        every = torch.arange(len(self._measured), device=self._measured.device)
        best = self._measured.new_full((len(every),), torch.inf)
        share = self._measured.new_full((len(every), len(self._lower)), 0.5)
        for levels in itertools.product(_START_LEVELS, repeat=len(self._lower)):
            candidate = share.new_tensor(levels).expand_as(share)
            cost = (self._simulated(candidate, every) - self._measured).square().sum(dim=1)
            share = torch.where((cost < best)[:, None], candidate, share)
            best = torch.minimum(cost, best)
        return share

    def _model(self, share: Tensor, voxels: Tensor) -> tuple[Tensor, Tensor]:
        """Signals of norm 1, (voxels, images), and derivatives, (voxels, images, estimated)."""
        count = share.shape[1]
        # Differences towards the middle of the range, so that no value leaves it.
        step = torch.where(share < 0.5, _DIFFERENCE, -_DIFFERENCE)
        shifted = [share + step * column for column in torch.eye(count).to(share)]
        simulated = self._simulated(torch.cat([share, *shifted]), voxels.repeat(count + 1))
        base, *moved = simulated.chunk(count + 1)
        columns = [(signal - base) / step[:, [k]] for k, signal in enumerate(moved)]
        return base, torch.stack(columns, dim=2)

    def _simulated(self, share: Tensor, voxels: Tensor) -> Tensor:
        conditions = self._conditions[voxels]
        values = torch.cat([self._lower + self._span * share, conditions], dim=1)
        given = {q.name: conditions[:, i] for i, q in enumerate(self._specification.conditions)}
        signal = simulate(
            self._schedule,
            pools_of(self._specification, values),
            b0_shift_ppm=given.get("b0_shift", 0.0),
            b1_scale=given.get("b1_scale", 1.0),
            dtype=torch.float64,
        )
        return torch.nn.functional.normalize(signal, dim=1)
