"""What the parameter and the signal networks learn from, and what they minimise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.cest_mt.network import ParameterNetwork, SignalNetwork, normalise_signal
from models.cest_mt.optimisation import TrainingLog, TrainingSettings, optimise
from models.cest_mt.specification import NetworkSpecification
from models.cest_mt.training_set import VoxelSet

NOISE_RANGE = (0.003, 0.03)
"""Standard deviation of the noise in training, as a share of the voxel's largest image."""


def add_noise(signal: Tensor, level: Tensor, generator: torch.Generator) -> Tensor:
    """Adds Gaussian noise to each voxel's signal.

    Args:
        signal: (voxels, images).
        level: (voxels, 1) standard deviation as a share of the voxel's largest image.
        generator: source of randomness.

    Returns:
        (voxels, images).
    """
    noise = torch.randn(signal.shape, generator=generator, device=signal.device)
    return signal + noise * level * signal.amax(dim=1, keepdim=True)


class NoisyBatch(NamedTuple):
    """Noisy measurements of some voxels.

    Attributes:
        signal: (voxels, images).
        conditions: (voxels, conditions) in physical units.
        target: (voxels, estimated) true values in units of their ranges.
        level: (voxels, 1) standard deviation of the noise as a share of the largest image.
    """

    signal: Tensor
    conditions: Tensor
    target: Tensor
    level: Tensor


class FingerprintBatches:
    """Makes batches of noisy fingerprints with what the estimator is told beside them.

    Every batch has fresh noise of a random level. Where the estimator takes the semisolid
    pool's maps, they are what the first stage's network finds in an equally noisy measurement
    of the same voxel, so that its errors are part of the second stage's uncertainty.

    Args:
        voxels: the simulated voxels.
        specification: of the estimator.
        first_stage: the semisolid network and its noise-free signals (voxels, images), or None.
        noise_range: lowest and highest noise level.
    """

    def __init__(
        self,
        voxels: VoxelSet,
        specification: NetworkSpecification,
        first_stage: tuple[ParameterNetwork, Tensor] | None = None,
        noise_range: tuple[float, float] = NOISE_RANGE,
    ) -> None:
        self._voxels = voxels
        self._first_stage = first_stage
        self._noise_range = noise_range
        estimated = specification.estimated
        self._estimated = len(estimated)
        self._lower = voxels.values.new_tensor([quantity.lower for quantity in estimated])
        self._span = voxels.values.new_tensor([quantity.span for quantity in estimated])
        self._names = [quantity.name for quantity in specification.conditions]

    def __call__(self, rows: Tensor, generator: torch.Generator) -> NoisyBatch:
        """Gives noisy measurements of the voxels (rows)."""
        low, high = self._noise_range
        drawn = torch.rand((len(rows), 1), generator=generator, device=rows.device)
        level = low * (high / low) ** drawn
        signal = add_noise(self._voxels.signal[rows], level, generator)
        values = self._voxels.values[rows]
        target = (values[:, : self._estimated] - self._lower) / self._span
        conditions = values[:, self._estimated :].clone()
        if self._first_stage is not None:
            network, first_signal = self._first_stage
            noisy = add_noise(first_signal[rows], level, generator)
            with torch.no_grad():
                estimate, _ = network.physical(noisy, self._columns(conditions, network))
            for column, quantity in enumerate(network.specification.estimated):
                conditions[:, self._names.index(quantity.name)] = estimate[:, column]
        return NoisyBatch(signal, conditions, target, level)

    def _columns(self, conditions: Tensor, network: ParameterNetwork) -> Tensor:
        wanted = [q.name for q in network.specification.conditions]
        return conditions[:, [self._names.index(name) for name in wanted]]


def likelihood_loss(mean: Tensor, sd: Tensor, target: Tensor, beta: float) -> Tensor:
    """Gaussian negative log-likelihood weighted by the predicted variance to the power beta.

    beta = 1 trains the mean as least squares would, beta = 0 is the likelihood itself, whose
    optimum is the posterior mean and standard deviation (Seitzer 2022, arXiv 2203.09168).
    """
    loss = 0.5 * ((target - mean) / sd).square() + sd.log()
    if beta > 0:
        loss = loss * sd.detach().square().pow(beta)
    return loss.mean()


def train_parameter_network(
    network: ParameterNetwork,
    batches: FingerprintBatches,
    voxels: int,
    settings: TrainingSettings,
    checkpoint: Path | None = None,
    progress: Callable[[int, float], None] = lambda step, loss: None,
    surrogate: SignalNetwork | None = None,
    refresh: Callable[[int], None] = lambda step: None,
) -> TrainingLog:
    """Trains an estimator in place; see :func:`optimise` for resuming.

    Args:
        network: the estimator.
        batches: make noisy measurements.
        voxels: how many there are to choose from.
        settings: of the optimiser.
        checkpoint: where the state is kept.
        progress: told the step and the loss.
        surrogate: the trained surrogate of the simulator. In the second half of the training
            the estimate must also explain its own noisy signal, with the specification's
            ``physics_weight``; not needed where that is 0.
        refresh: told each step before it is done.
    """
    weight = network.specification.physics_weight

    def loss(rows: Tensor, generator: torch.Generator, share: float) -> Tensor:
        batch = batches(rows, generator)
        mean, sd = network(batch.signal, batch.conditions)
        value = likelihood_loss(mean, sd, batch.target, beta=max(0.0, 1.0 - 2.0 * share))
        if surrogate is None or weight == 0 or share < 0.5:
            return value
        return value + weight * misfit(surrogate, mean, batch)

    return optimise(network, loss, voxels, settings, checkpoint, progress, refresh)


def settle_deviations(
    network: ParameterNetwork,
    batches: FingerprintBatches,
    voxels: int,
    settings: TrainingSettings,
) -> TrainingLog:
    """Trains in place what gives the standard deviations, all else being frozen.

    Beside the physics the likelihood weighs so little that it does not bring the deviations to
    where they belong: afterwards they are the errors that the frozen means have.
    """
    last = network.layers[-1]
    assert isinstance(last, nn.Linear)
    count = len(network.specification.estimated)
    spread = nn.Linear(last.in_features, count).to(last.weight.device)
    spread.load_state_dict({"weight": last.weight[count:], "bias": last.bias[count:]})

    def loss(rows: Tensor, generator: torch.Generator, _share: float) -> Tensor:
        batch = batches(rows, generator)
        with torch.no_grad():
            hidden = network.hidden(batch.signal, batch.conditions)
            location = last(hidden)[:, :count]
        mean, sd = network.distribution(location, spread(hidden))
        return likelihood_loss(mean, sd, batch.target, beta=0.0)

    log = optimise(spread, loss, voxels, settings)
    with torch.no_grad():
        last.weight[count:], last.bias[count:] = spread.weight, spread.bias
    return log


def misfit(surrogate: SignalNetwork, mean: Tensor, batch: NoisyBatch) -> Tensor:
    """Half the squared residual of the signal over the variance of its noise, per parameter.

    In these units it weighs as much as the Gaussian likelihood of the parameters: its minimum
    alone is the least-squares estimate.

    Args:
        surrogate: gives signals of the estimates; is not trained.
        mean: (voxels, estimated) in units of the ranges.
        batch: what was measured.
    """
    estimated = surrogate.specification.estimated
    lower = mean.new_tensor([quantity.lower for quantity in estimated])
    span = mean.new_tensor([quantity.span for quantity in estimated])
    predicted = surrogate(torch.cat([lower + span * mean, batch.conditions], dim=1))
    difference = normalise_signal(predicted) - normalise_signal(batch.signal)
    norm = batch.signal.square().sum(dim=1, keepdim=True).sqrt()
    noise = batch.level * batch.signal.amax(dim=1, keepdim=True) / norm
    return 0.5 * (difference / noise).square().sum(dim=1).mean() / len(estimated)


def train_signal_network(
    network: SignalNetwork,
    voxels: VoxelSet,
    settings: TrainingSettings,
    checkpoint: Path | None = None,
    progress: Callable[[int, float], None] = lambda step, loss: None,
    refresh: Callable[[int], None] = lambda step: None,
) -> TrainingLog:
    """Trains the simulator's surrogate in place by least squares; see :func:`optimise`."""

    def loss(rows: Tensor, generator: torch.Generator, share: float) -> Tensor:
        difference = network(voxels.values[rows]) - voxels.signal[rows]
        return (difference / network.signal_sd).square().mean()

    return optimise(network, loss, len(voxels), settings, checkpoint, progress, refresh)


def signal_statistics(signal: Tensor, normalised: bool) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each image over the training set, frozen into a network.

    Args:
        signal: (voxels, images).
        normalised: whether each voxel is first divided by its norm, as the estimators do.

    Returns:
        Two (images,) tensors; the standard deviation is at least 1e-3 of the mean.
    """
    values = normalise_signal(signal) if normalised else signal
    mean = values.mean(dim=0)
    return mean, values.std(dim=0).clamp_min(1e-3 * float(mean.abs().max()))
