"""Voxelwise networks of the CEST/MT fingerprint: signal to parameters, and back.

Both work on one voxel at a time: every normalisation is frozen before training, so a voxel's
answer never depends on which other voxels are in the batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.cest_mt.specification import NetworkSpecification, Range

SMALLEST_SD = 1e-4
"""Lower bound of a predicted standard deviation, as a fraction of the parameter's range."""


class InputScaling(nn.Module):
    """Bounds, transforms and standardises the inputs of a network with frozen constants.

    Inputs that span decades (T1, T2) enter by their logarithm. Values outside the trained range
    count as the nearest bound, so that the network never extrapolates; callers report them.
    """

    lower: Tensor
    upper: Tensor
    logarithmic: Tensor

    def __init__(self, ranges: tuple[Range, ...]) -> None:
        super().__init__()
        self.ranges = ranges
        self.register_buffer("lower", torch.tensor([r.lower for r in ranges]))
        self.register_buffer("upper", torch.tensor([r.upper for r in ranges]))
        logarithmic = torch.tensor([r.logarithmic for r in ranges], dtype=torch.bool)
        self.register_buffer("logarithmic", logarithmic)

    def forward(self, values: Tensor) -> Tensor:
        """Maps (voxels, quantities) in physical units to (voxels, quantities) in [-1, 1]."""
        bounded = torch.minimum(torch.maximum(values, self.lower), self.upper)

        def transformed(x: Tensor) -> Tensor:
            return torch.where(self.logarithmic, x.clamp_min(1e-30).log(), x)

        low, high = transformed(self.lower), transformed(self.upper)
        return 2 * (transformed(bounded) - low) / (high - low) - 1


def normalise_signal(signal: Tensor) -> Tensor:
    """Divides each voxel's signal by its Euclidean norm over the images.

    Dividing by the largest magnitude first keeps float32 finite for every finite signal.

    Args:
        signal: (voxels, images), any positive scale.

    Returns:
        (voxels, images) of norm 1; zeros where the signal is zero.
    """
    largest = signal.abs().amax(dim=1, keepdim=True).clamp_min(1e-30)
    relative = signal / largest
    return relative / relative.square().sum(dim=1, keepdim=True).clamp_min(1.0).sqrt()


def _perceptron(
    inputs: int, width: int, depth: int, outputs: int, activation: nn.Module
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for layer in range(depth):
        layers += [nn.Linear(inputs if layer == 0 else width, width), activation]
    return nn.Sequential(*layers, nn.Linear(width, outputs))


class ParameterNetwork(nn.Module):
    """Estimates exchange parameters and their standard deviations from a voxel's fingerprint.

    The prediction is the mean m and the standard deviation s of the parameter given the signal,
    each in units of the parameter's range: m = sigmoid(a) lies in the range, and
    s = sqrt(m (1 - m)) sigmoid(b) below the largest standard deviation that any distribution on
    the range with that mean can have (Bhatia and Davis 2000, doi 10.1080/00029890.2000.12005203).

    Args:
        specification: what goes in and what comes out.
        signal_mean: (images,) mean of the normalised training signals.
        signal_sd: (images,) their standard deviation.
    """

    signal_mean: Tensor
    signal_sd: Tensor

    def __init__(
        self,
        specification: NetworkSpecification,
        signal_mean: Tensor | None = None,
        signal_sd: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.specification = specification
        images = specification.images
        self.register_buffer(
            "signal_mean", torch.zeros(images) if signal_mean is None else signal_mean
        )
        self.register_buffer("signal_sd", torch.ones(images) if signal_sd is None else signal_sd)
        self.scaling = InputScaling(specification.conditions)
        self.layers = _perceptron(
            images + len(specification.conditions),
            specification.width,
            specification.depth,
            2 * len(specification.estimated),
            nn.ReLU(),
        )

    def forward(self, signal: Tensor, conditions: Tensor) -> tuple[Tensor, Tensor]:
        """Estimates the parameters of every voxel, in units of their ranges.

        Args:
            signal: (voxels, images), any positive scale.
            conditions: (voxels, conditions), physical units, in the specification's order.

        Returns:
            Mean and standard deviation of parameters and nuisances, each
            (voxels, estimated), in [0, 1].
        """
        return self.answer(self.hidden(signal, conditions))

    def hidden(self, signal: Tensor, conditions: Tensor) -> Tensor:
        """Gives the last hidden layer (voxels, width); arguments as :meth:`forward`."""
        standard = (normalise_signal(signal) - self.signal_mean) / self.signal_sd
        features = torch.cat([standard, self.scaling(conditions)], dim=1)
        hidden: Tensor = self.layers[:-1](features)
        return hidden

    def answer(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Gives what :meth:`forward` gives, from the last hidden layer."""
        location, spread = self.layers[-1](hidden).chunk(2, dim=1)
        return self.distribution(location, spread)

    @staticmethod
    def distribution(location: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation from the two halves of the last layer's output."""
        mean = torch.sigmoid(location)
        # sqrt(m (1 - m)) written so that its gradient stays finite at both bounds.
        largest_sd = torch.exp(
            0.5 * (nn.functional.logsigmoid(location) + nn.functional.logsigmoid(-location))
        )
        return mean, SMALLEST_SD + largest_sd * torch.sigmoid(spread)

    def physical(self, signal: Tensor, conditions: Tensor) -> tuple[Tensor, Tensor]:
        """Estimates as :meth:`forward`, in the units of the specification."""
        estimated = self.specification.estimated
        lower = signal.new_tensor([quantity.lower for quantity in estimated])
        span = signal.new_tensor([quantity.span for quantity in estimated])
        mean, sd = self(signal, conditions)
        return lower + span * mean, span * sd


class SignalNetwork(nn.Module):
    """Surrogate of the Bloch-McConnell simulator: parameters to the signal of every image.

    Args:
        specification: the estimator's specification; this network inverts it.
        signal_mean: (images,) mean of the training signals relative to M0.
        signal_sd: (images,) their standard deviation.
    """

    signal_mean: Tensor
    signal_sd: Tensor

    def __init__(
        self,
        specification: NetworkSpecification,
        signal_mean: Tensor | None = None,
        signal_sd: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.specification = specification
        images = specification.images
        self.register_buffer(
            "signal_mean", torch.zeros(images) if signal_mean is None else signal_mean
        )
        self.register_buffer("signal_sd", torch.ones(images) if signal_sd is None else signal_sd)
        self.scaling = InputScaling(specification.varied)
        self.layers = _perceptron(
            len(specification.varied),
            specification.signal_width,
            specification.depth,
            images,
            nn.SiLU(),
        )

    def forward(self, values: Tensor) -> Tensor:
        """Predicts the signals of voxels.

        Args:
            values: (voxels, varied), physical units, in the specification's order.

        Returns:
            (voxels, images) relative to M0.
        """
        standard: Tensor = self.layers(self.scaling(values))
        return standard * self.signal_sd + self.signal_mean
