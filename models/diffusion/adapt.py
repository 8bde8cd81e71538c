"""Zero-shot adaptation of a prior to one participant's own data.

This is our reconstruction of what "A physics-informed foundation model for quantitative diffusion
MRI" (PIGMENT, 2026) describes in its abstract; its architecture and losses are not public. The
scheme is proximal alternation (plug-and-play, Zhang et al., IEEE TPAMI 44:6360 (2021),
doi 10.1109/TPAMI.2021.3088914):

1. data step: weighted least squares in every voxel, exact for any gradient table, with the
   covariance that the estimated noise gives it;
2. prior step: the denoiser, told that covariance, gives posterior mean and SD of the maps, which
   enter the next data step as a belief of that precision. With too few volumes for residuals,
   a first prior step tells how noisy the series is.

The last data step weighs the data against the prior. Several seeds repeat the prior step on a
grid that is mirrored and transposed, tensors with it, and on data disturbed by a fraction of
their noise; mean and spread over seeds enter the result. The table of gradients enters only
through step 1, so that any table works without retraining.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.diffusion.channels import DTI, tensor_to_mandel
from models.diffusion.degradation import (
    LARGEST_LOG_SIGNAL,
    POPULATION_WIDTH,
)
from models.diffusion.noise import FLOOR_RATIO, high_pass_noise, noise_factor, residual_noise
from models.diffusion.normal_equations import factorise, inverse, lower_triangle, products, solve
from models.diffusion.prior import RunNetwork, correlation_with_s0, denoise
from models.diffusion.signal_design import log_design
from models.diffusion.symmetry import symmetry_of_slices
from models.diffusion.tensor_fit import TensorLeastSquares

# Volumes beyond the unknowns from which on residuals tell the noise.
_SMALLEST_FREEDOM = 2
# Voxels at a time: bounds the memory of matrices per voxel.
_CHUNK = 20_000


@dataclass(frozen=True)
class AdaptationSettings:
    """What steers the adaptation.

    Attributes:
        prior_weight: weight of the prior in the last data step; 0 is the plain weighted fit.
        iterations: rounds of data step and prior step.
        seeds: how many disturbed and mirrored repetitions each prior step has.
        disturbance: SD of the disturbance in units of the noise.
        first_seed: seed of the first repetition; equal seeds give equal results.
    """

    prior_weight: float = 0.7
    iterations: int = 1
    seeds: int = 4
    disturbance: float = 0.2
    first_seed: int = 0


@dataclass(frozen=True)
class Adapted:
    """Maps of one participant; arrays hold the voxels of the brain only.

    Attributes:
        channels: (voxels, channels) of the stack, in the frame of the array.
        covariance: (voxels, channels, channels) posterior covariance.
        plain: (voxels, channels) of the plain weighted least squares.
        unsupported: (voxels,) true where the signal is at the noise floor in most volumes: there
            the maps are the data step alone and must not be shown as measured.
        data_share: (voxels,) how much of a change of the data's own estimate the maps follow,
            averaged over the tensor's elements: 1 where the data decide, near 0 where the prior
            does; 1 throughout with prior weight 0.
        noise: (voxels,) SD of the noise, in the unit of the signals.
        residual: (voxels,) root mean square difference of signal and prediction, in that unit.
        reference: signal by which log S0 is relative.
    """

    channels: Tensor
    covariance: Tensor
    plain: Tensor
    unsupported: Tensor
    data_share: Tensor
    noise: Tensor
    residual: Tensor
    reference: float


class LinearAdaptation:
    """A series, and the steps of the alternation on it.

    Args:
        signals: (slices, rows, columns, volumes), every value finite.
        brain: bool (slices, rows, columns); only these voxels are looked at.
        b_values: (volumes,) s/mm².
        directions: (volumes, 3) unit vectors in the frame of the array: x along columns, y along
            rows, z along slices.
        voxel: size along slices, rows and columns, mm.
        device: where the steps are computed; results are on the CPU.
    """

    def __init__(
        self,
        signals: np.ndarray,
        brain: np.ndarray,
        b_values: np.ndarray,
        directions: np.ndarray,
        voxel: tuple[float, float, float],
        device: torch.device | str = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.brain = brain
        self.voxel = voxel
        without = b_values < 50
        self.reference = float(np.median(signals[brain][:, without]))
        if not self.reference > 0:
            raise ValueError("the volumes without diffusion weighting hold no signal in the brain")
        self._signals = torch.as_tensor(signals[brain], dtype=torch.float32)
        self._design = torch.as_tensor(log_design(b_values, directions))
        self._weight = torch.empty_like(self._signals)
        self._tensor = TensorLeastSquares(b_values, directions)
        self.plain = torch.empty((len(self._signals), len(DTI)), dtype=torch.float64)
        self._fit()
        #: Whether too few volumes left the noise to be told from differences between neighbours.
        self.from_neighbours = len(b_values) < len(DTI) + _SMALLEST_FREEDOM
        self.noise = self._noise_level(signals, b_values)

    def _noise_level(self, signals: np.ndarray, b_values: np.ndarray) -> Tensor:
        """(voxels,) relative to the reference."""
        if not self.from_neighbours:
            residuals = torch.cat(
                [self._differences(part, self.plain).T.cpu() for part in self._chunks()]
            )
            level = residual_noise(residuals, len(DTI), self.brain, self.voxel)
        else:
            level = high_pass_noise(signals, self.brain, b_values, self.voxel, self.device)
            level = level / self.reference
        return torch.as_tensor(level, dtype=torch.float64)

    def with_noise(self, factor: np.ndarray) -> LinearAdaptation:
        """The same series with its noise multiplied by a (voxels,) factor."""
        other = copy.copy(self)
        other.noise = self.noise * torch.as_tensor(factor, dtype=torch.float64)
        return other

    def _differences(self, part: slice, maps: Tensor) -> Tensor:
        """(volumes, voxels) measured minus predicted, relative."""
        logarithm = self._design.to(self.device) @ self._to_device(maps[part])
        predicted = torch.exp(logarithm.clamp(max=LARGEST_LOG_SIGNAL))
        return self._relative(part) - predicted

    def _chunks(self) -> Iterator[slice]:
        for first in range(0, len(self._signals), _CHUNK):
            yield slice(first, first + _CHUNK)

    def _to_device(self, values: Tensor) -> Tensor:
        """(voxels, elements) as float64 (elements, voxels) on the device."""
        return values.to(self.device, torch.float64).T.contiguous()

    def _relative(self, part: slice) -> Tensor:
        """(volumes, voxels) signals over the reference, float64, on the device."""
        return self._to_device(self._signals[part]) / self.reference

    def _fit(self) -> None:
        """Weighted least squares; weights are the squared signals of the ordinary fit.

        The tensor is in the unit of the channels, so that plain maps are those of ``tensor_fit``.
        """
        design = self._design.to(self.device)
        for part in self._chunks():
            ordinary = self._tensor.ordinary(self._to_device(self._signals[part]))
            predicted = design @ self._channels(ordinary.parameters)
            weight = torch.exp(2 * predicted.clamp(max=LARGEST_LOG_SIGNAL))
            weight[ordinary.left_out] = 0
            self._weight[part] = weight.T.float().cpu()
            parameters, _ = self._tensor.parameters(ordinary)
            self.plain[part] = self._channels(parameters).T.cpu()

    def _channels(self, parameters: Tensor) -> Tensor:
        """(7, voxels) channels of tensors in µm²/ms and ln S0."""
        roots = torch.as_tensor(tensor_to_mandel(np.ones(6)), device=self.device)
        level = parameters[6:] - math.log(self.reference)
        return torch.cat((level, parameters[:6] * roots[:, None]))

    def data_step(
        self, mean: Tensor | None = None, precision: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Maps that suit the data and a Gaussian belief best, and their covariance.

        Args:
            mean: (voxels, channels) belief; by default the mean over brains, held weakly.
            precision: (voxels, channels) reciprocal variances of the belief.

        Returns:
            (voxels, channels) and (voxels, channels, channels), float64.
        """
        size = len(DTI)
        maps = torch.empty_like(self.plain)
        covariance = torch.empty((len(maps), size, size), dtype=torch.float64)
        pairs = products(self._design.to(self.device))
        triangle = lower_triangle(size)
        diagonal = [triangle.index((i, i)) for i in range(size)]
        population = torch.as_tensor(DTI.mean)[None]
        weak = torch.as_tensor(1 / (POPULATION_WIDTH * DTI.spread) ** 2)[None]
        for part in self._chunks():
            plain = self._to_device(self.plain[part])
            belief = self._to_device(weak if precision is None else precision[part])
            centre = self._to_device(population if mean is None else mean[part])
            information = pairs @ self._to_device(self._weight[part])
            information /= self.noise[part].to(self.device) ** 2
            information[diagonal] += belief
            factor = factorise(information, size)
            # The step away from the plain fit, which suits the data best.
            step = solve(factor, belief * (centre - plain))
            maps[part] = (plain + step).T.cpu()
            covariance[part] = inverse(factor).movedim(-1, 0).cpu()
        return maps, covariance

    def prior_step(
        self,
        run: RunNetwork,
        maps: Tensor,
        covariance: Tensor,
        seed: int | None,
        disturbance: float,
    ) -> tuple[Tensor, Tensor]:
        """Posterior mean and SD of the maps, each (voxels, channels).

        Args:
            run: the denoiser.
            maps: (voxels, channels) from the data step.
            covariance: (voxels, channels, channels) of their noise.
            seed: which of the eight symmetries of a slice is used, and what disturbance is
                added; ``None`` for neither.
            disturbance: its SD relative to the noise.
        """
        sd = covariance.diagonal(dim1=1, dim2=2).sqrt()
        correlation = correlation_with_s0(covariance)
        if seed is not None and disturbance > 0:
            generator = torch.Generator().manual_seed(seed)
            noise = torch.randn(maps.shape, generator=generator, dtype=maps.dtype)
            factor = torch.linalg.cholesky(covariance)
            maps = maps + disturbance * (factor @ noise[..., None])[..., 0]
            sd = sd * math.sqrt(1 + disturbance**2)
        symmetry = symmetry_of_slices(0 if seed is None else seed % 8)
        mean, posterior = denoise(
            run,
            symmetry.apply(self._grid(maps)).numpy(),
            symmetry.apply(self._grid(sd), signed=False).numpy(),
            symmetry.apply_scalar(self._grid(correlation[:, None])[0]).numpy(),
            symmetry.apply_scalar(torch.from_numpy(self.brain)).numpy(),
        )
        return (
            self._voxels(symmetry.undo(torch.from_numpy(mean))),
            self._voxels(symmetry.undo(torch.from_numpy(posterior), signed=False)),
        )

    def at_noise_floor(self) -> Tensor:
        """Voxels of which most signals cannot be told from noise; bool (voxels,)."""
        middle = self._signals.median(dim=1).values / self.reference
        return middle < FLOOR_RATIO * self.noise

    def residual(self, maps: Tensor) -> Tensor:
        """Root mean square of measured minus predicted signal, relative; (voxels,)."""
        found = [
            self._differences(part, maps).square().mean(dim=0).sqrt().cpu()
            for part in self._chunks()
        ]
        return torch.cat(found)

    def _grid(self, values: Tensor) -> Tensor:
        grid = torch.zeros((values.shape[1], *self.brain.shape))
        grid[:, torch.from_numpy(self.brain)] = values.T.float()
        return grid

    def _voxels(self, grid: Tensor) -> Tensor:
        return grid[:, torch.from_numpy(self.brain)].T.double()


def adapt(
    series: LinearAdaptation, run: RunNetwork, settings: AdaptationSettings | None = None
) -> Adapted:
    """Maps of a series with the prior adapted to it.

    Args:
        series: the series.
        run: the denoiser of tensors.
        settings: what steers the adaptation.

    Returns:
        Maps, their covariance and what the data contributed.
    """
    settings = settings or AdaptationSettings()
    weight = settings.prior_weight
    maps, covariance = series.data_step()
    unsupported = series.at_noise_floor()
    if weight == 0:
        share = torch.ones(len(maps), dtype=torch.float64)
        return _result(series, series.plain, covariance, share, unsupported)
    first, first_covariance = maps, covariance
    if series.from_neighbours:
        series = _with_noise_of_prior(series, run, maps, covariance)
        maps, covariance = series.data_step()
    mean, variance = _answer(series, run, settings, maps, covariance)
    for _ in range(settings.iterations - 1):
        maps, covariance = series.data_step(mean, weight / variance)
        mean, variance = _answer(series, run, settings, maps, covariance)
    final, _ = series.data_step(mean, weight / variance)
    # Where nothing was measured the prior does not fill in: the first data step stands, which is
    # held by no more than what is possible in a head, and the voxel is flagged.
    final = torch.where(unsupported[:, None], first, final)
    data = covariance.diagonal(dim1=1, dim2=2)
    variance = torch.minimum(variance, data)
    # How far the last data step goes from the prior's answer towards the plain fit. The answer's
    # error is not correlated with that step, so that their variances add.
    step = 1 / (1 + weight * data / variance)
    variance = variance + step**2 * (data - variance)
    ratio = torch.sqrt(variance / data)
    posterior = covariance * ratio[:, :, None] * ratio[:, None, :]
    posterior = torch.where(unsupported[:, None, None], first_covariance, posterior)
    # The prior's answer moves with the data as its variance relative to theirs (Tweedie).
    share = step * (1 + weight)
    return _result(series, final, posterior, share[:, 1:7].mean(dim=1), unsupported)


def _with_noise_of_prior(
    series: LinearAdaptation, run: RunNetwork, maps: Tensor, covariance: Tensor
) -> LinearAdaptation:
    """Correct noise that neighbours told by how far the data lie from the prior's answer.

    Neighbours take interpolated noise for too little and fine anatomy for noise. The answer to
    noisy maps is uncorrelated with its own error, so that squared distances from it average to
    the variance of the data less that of the answer, whatever the noise's correlation over space.
    """
    mean, sd = series.prior_step(run, maps, covariance, None, 0.0)
    variance = covariance.diagonal(dim1=1, dim2=2)
    square = ((maps - mean) ** 2 / variance)[:, 1:]
    expected = (1 - sd**2 / variance)[:, 1:].clamp(min=0)
    usable = ~series.at_noise_floor().numpy()
    return series.with_noise(
        noise_factor(square.numpy(), expected.numpy(), usable, series.brain, series.voxel)
    )


def _answer(
    series: LinearAdaptation,
    run: RunNetwork,
    settings: AdaptationSettings,
    maps: Tensor,
    covariance: Tensor,
) -> tuple[Tensor, Tensor]:
    """Mean of the prior steps over the seeds, and their variance with that between seeds."""
    answers = [
        series.prior_step(run, maps, covariance, settings.first_seed + i, settings.disturbance)
        for i in range(settings.seeds)
    ]
    mean = torch.stack([one for one, _ in answers]).mean(dim=0)
    within = torch.stack([sd**2 for _, sd in answers]).mean(dim=0)
    between = torch.stack([(one - mean) ** 2 for one, _ in answers]).mean(dim=0)
    return mean, within + between


def _result(
    series: LinearAdaptation,
    maps: Tensor,
    posterior: Tensor,
    share: Tensor,
    unsupported: Tensor,
) -> Adapted:
    return Adapted(
        channels=maps,
        covariance=posterior,
        plain=series.plain,
        unsupported=unsupported,
        data_share=share,
        noise=series.noise * series.reference,
        residual=series.residual(maps) * series.reference,
        reference=series.reference,
    )
