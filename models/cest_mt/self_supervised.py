"""Train-by-fit: a network learns a measured study from the physics alone, without labels.

Finkelstein et al., Commun. Phys. 8:164 (2025), doi 10.1038/s42005-025-02063-8: parameters are
drawn from the predicted distribution, the simulator turns them into signals, and these are
compared with the measured ones. Here the comparison is a variational bound: the predicted
distribution (means, standard deviations and their correlation) is the Gaussian nearest to the
posterior under a uniform prior, and the noise level is that which explains the misfit best.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from models.cest_mt.network import ParameterNetwork, normalise_signal
from models.cest_mt.optimisation import TrainingLog, TrainingSettings, optimise
from models.cest_mt.schedule import load_schedule
from models.cest_mt.signal import simulate
from models.cest_mt.specification import NetworkSpecification
from models.cest_mt.training import add_noise
from models.cest_mt.training_set import pools_of, sampled_before_excitation, simulate_values

_LARGEST_CORRELATION = 0.999
_EVALUATION_VOXELS = 8192
_CALIBRATION_VOXELS = 5000
_WITHIN_ONE_SD = 0.6827


@dataclass(frozen=True)
class StudyVoxels:
    """The measured voxels of one protocol.

    Attributes:
        signal: (voxels, images), any positive scale.
        conditions: (voxels, conditions) in physical units, in the specification's order.
    """

    signal: Tensor
    conditions: Tensor

    def __len__(self) -> int:
        return len(self.signal)

    def to(self, device: torch.device | str) -> StudyVoxels:
        """The same voxels on another device."""
        return StudyVoxels(self.signal.to(device), self.conditions.to(device))


class StudyNetwork(nn.Module):
    """An estimator of two parameters with what train-by-fit needs beside it.

    Args:
        estimator: of a specification with two parameters and no nuisances.

    Attributes:
        estimator: what is exported in the end.
        correlation: last layer for the correlation of the two parameters.
    """

    def __init__(self, estimator: ParameterNetwork) -> None:
        super().__init__()
        specification = estimator.specification
        if len(specification.estimated) != 2:
            raise ValueError(f"{specification.name} does not estimate exactly two parameters")
        self.estimator = estimator
        self.correlation = nn.Linear(specification.width, 1)
        nn.init.zeros_(self.correlation.weight)
        nn.init.zeros_(self.correlation.bias)

    def forward(self, signal: Tensor, conditions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gives mean and SD (voxels, 2) in units of the ranges, and correlation (voxels, 1)."""
        hidden = self.estimator.hidden(signal, conditions)
        mean, sd = self.estimator.answer(hidden)
        return mean, sd, _LARGEST_CORRELATION * torch.tanh(self.correlation(hidden))


def fresh_network(specification: NetworkSpecification, study: StudyVoxels) -> ParameterNetwork:
    """An untrained estimator that normalises its input by the study's statistics, frozen."""
    signal = normalise_signal(study.signal)
    mean = signal.mean(dim=0)
    sd = signal.std(dim=0).clamp_min(1e-3 * float(mean.abs().max()))
    network = ParameterNetwork(specification, mean, sd)
    last = network.layers[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        # Narrow distributions at first, so that the mean is seen through little noise.
        last.bias[2:] = -3.0
    return network


def learn_study(
    network: StudyNetwork,
    study: StudyVoxels,
    settings: TrainingSettings,
    checkpoint: Path | None = None,
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> TrainingLog:
    """Trains the network on the study in place.

    Each image is simulated from the measured magnetisation of the image before it, so that all
    images are independent and gradients short ("teacher forcing").

    Args:
        network: fresh or shipped estimator in its wrapping.
        study: measured voxels; the first image must be the one without saturation.
        settings: of the optimiser.
        checkpoint: where the state is kept, to continue after an interruption.
        progress: told the step and the loss.

    Returns:
        The log; its loss is the negative bound per voxel.

    Raises:
        ValueError: the protocol has no image without saturation at its start, or a voxel has
            none of its signal.
    """
    specification = network.estimator.specification
    schedule = sampled_before_excitation(load_schedule(specification.protocol))
    if schedule.m0_images[:1] != (0,):
        raise ValueError(f"{schedule.name} does not begin with an image without saturation")
    reference = study.signal[:, :1]
    if bool((reference <= 0).any()):
        raise ValueError("voxels without signal in the image without saturation: mask them")
    names = [quantity.name for quantity in specification.conditions]
    lower = study.signal.new_tensor([quantity.lower for quantity in specification.estimated])
    span = study.signal.new_tensor([quantity.span for quantity in specification.estimated])
    freedom = specification.images - 1

    def loss(rows: Tensor, generator: torch.Generator, share: float) -> Tensor:
        signal, conditions = study.signal[rows], study.conditions[rows]
        mean, sd, correlation = network(signal, conditions)
        draw = torch.randn(mean.shape, generator=generator, device=mean.device)
        rest = (1 - correlation.square()).sqrt()
        tied = torch.cat([draw[:, :1], correlation * draw[:, :1] + rest * draw[:, 1:]], dim=1)
        drawn = lower + span * (mean + sd * tied).clamp(0, 1)
        simulated = simulate(
            schedule,
            pools_of(specification, torch.cat([drawn, conditions], dim=1)),
            b0_shift_ppm=conditions[:, names.index("b0_shift")],
            b1_scale=conditions[:, names.index("b1_scale")],
            teacher=signal / reference[rows],
        )
        difference = normalise_signal(simulated) - normalise_signal(signal)
        # The noise level that explains the misfit best, put into the Gaussian likelihood.
        noise_variance = difference.square().sum(dim=1).mean() / freedom
        entropy = sd.log().sum(dim=1) + rest.log()[:, 0]
        return 0.5 * freedom * noise_variance.log() - entropy.mean()

    return optimise(network, loss, len(study), settings, checkpoint, progress)


def estimate_study(network: StudyNetwork, study: StudyVoxels) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each parameter, (voxels, 2) in physical units."""
    parts = []
    with torch.no_grad():
        for signal, conditions in zip(
            study.signal.split(_EVALUATION_VOXELS),
            study.conditions.split(_EVALUATION_VOXELS),
            strict=True,
        ):
            parts.append(network.estimator.physical(signal, conditions))
    means, sds = zip(*parts, strict=True)
    return torch.cat(means), torch.cat(sds)


def calibrate(network: StudyNetwork, study: StudyVoxels, noise: float, seed: int) -> Tensor:
    """Scales the predicted standard deviations to those of simulated repeats of the study.

    The bound takes the nearest Gaussian, which is too narrow for a skewed posterior, and knows
    nothing of the network's own error. So the study's estimates are taken as truth, simulated
    with its noise, and estimated again: the factor makes 68.3 % of them lie within one SD.

    Args:
        network: trained; its output layer is changed.
        study: the measured voxels.
        noise: standard deviation as a share of the voxel's largest image.
        seed: of the voxels and the noise.

    Returns:
        (2,) the factors.
    """
    specification = network.estimator.specification
    device = study.signal.device
    generator = torch.Generator(device).manual_seed(seed)
    rows = torch.randint(len(study), (_CALIBRATION_VOXELS,), generator=generator, device=device)
    conditions = study.conditions[rows]
    truth, _ = estimate_study(network, StudyVoxels(study.signal[rows], conditions))
    signal = simulate_values(specification, torch.cat([truth, conditions], dim=1))
    signal = add_noise(signal, signal.new_tensor(noise), generator)
    mean, sd = estimate_study(network, StudyVoxels(signal, conditions))
    factor = torch.quantile((mean - truth).abs() / sd, _WITHIN_ONE_SD, dim=0)
    last = network.estimator.layers[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        # The SD is nearly proportional to the exponential of this output where it is small.
        last.bias[2:] += factor.log()
    return factor
