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

The last data step weighs the data against the prior, and Gauss-Newton steps on the signals
themselves finish it: the logarithm of weak signals is skewed. Several seeds repeat the prior step
on a grid that is mirrored and transposed, tensors with it, and on data disturbed by a fraction of
their noise; mean and spread over seeds enter the result. The table of gradients enters only
through the steps on the data, so that any table works without retraining.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.diffusion.linear_adaptation import LinearAdaptation
from models.diffusion.noise import noise_factor
from models.diffusion.prior import RunNetwork

# Steps on the signals from the fit of their logarithms: after two, 99.9 % of voxels move by less
# than .03 µm²/ms more.
_SIGNAL_STEPS = 2


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
    for _ in range(_SIGNAL_STEPS):
        final = series.signal_step(final, mean, weight / variance)
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
