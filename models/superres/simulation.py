"""Random studies for training: any protocol, noise, bias field, misregistration and factor."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from models.superres.degradation import KSpaceTruncation, low_resolution_shape
from models.superres.guide_scale import polynomial_basis
from models.superres.signal import (
    FastSpinEcho,
    Mprage,
    SpinEcho,
    SpoiledGradientEcho,
    WeightedSequence,
)
from models.superres.study import Study, signals

SMALLEST_DENSITY = 0.3
"""PD below which a voxel of a training phantom counts as air (bone is all but invisible)."""


@dataclass(frozen=True)
class TrainingStudy:
    """A study as the network gets it, and the images that the losses compare with.

    Attributes:
        study: input, with noise, bias and scale; its maps are ``measured`` truncated further.
        guides: (images, 2, rows, columns) the guides before noise, bias and scale; units of PD.
        guide_noise: (images, 2) SD of the study's guides in units of PD; 0 where missing.
        measured: (images, 3, *measured_shape) the measured maps before noise: PD, T1 and T2 in ms.
        truncation: from the high-resolution grid to the grid of ``measured``.
        map_noise: (images, 3) SD of the noise of the measured maps, in their units.
    """

    study: Study
    guides: Tensor
    guide_noise: Tensor
    measured: Tensor
    truncation: KSpaceTruncation
    map_noise: Tensor


def _uniform(random: np.random.Generator, images: int, lower: float, upper: float) -> Tensor:
    return torch.tensor(random.uniform(lower, upper, images), dtype=torch.float32).view(-1, 1, 1)


def _on(device: torch.device, sequence: WeightedSequence) -> WeightedSequence:
    """The same sequence with its parameters on a device."""
    moved = {
        field.name: value.to(device)
        for field in fields(sequence)  # type: ignore[arg-type]  # each subclass is a dataclass
        if isinstance(value := getattr(sequence, field.name), Tensor)
    }
    return replace(sequence, **moved)  # type: ignore[type-var]  # each subclass is a dataclass


def random_t1_weighted(random: np.random.Generator, images: int) -> WeightedSequence:
    """A T1w sequence with one random protocol for each image."""
    kind = random.random()
    if kind < 0.6:
        spacing, readouts = (
            _uniform(random, images, 5, 10),
            _uniform(random, images, 100, 240).round(),
        )
        train = spacing * readouts
        centre = readouts * (_uniform(random, images, 0, 0.5) if random.random() < 0.5 else 0.5)
        inversion = centre * spacing + _uniform(random, images, 100, 600)
        inversion = inversion.clamp(600, 1300).maximum(centre * spacing + 20)
        recovery = _uniform(random, images, 200, 1200)
        shot = inversion - centre * spacing + train + recovery
        efficiency = _uniform(random, images, 0.9, 1.0)
        flip = _uniform(random, images, 5, 12)
        return Mprage(shot, inversion, flip, spacing, readouts, centre, efficiency)
    if kind < 0.8:
        return SpoiledGradientEcho(
            _uniform(random, images, 6, 40), _uniform(random, images, 12, 35)
        )
    return SpinEcho(_uniform(random, images, 350, 900), _uniform(random, images, 8, 20))


def random_t2_weighted(random: np.random.Generator, images: int) -> WeightedSequence:
    """A T2w sequence with one random protocol for each image."""
    repetition, echo = _uniform(random, images, 2200, 8000), _uniform(random, images, 65, 140)
    if random.random() < 0.85:
        return FastSpinEcho(repetition, echo, _uniform(random, images, 0, 400))
    return SpinEcho(repetition, echo)


def shifted(images: Tensor, shift: Tensor) -> Tensor:
    """Images (n, rows, columns) moved by shift (n, 2) samples, by the Fourier shift theorem."""
    rows, columns = (torch.fft.fftfreq(n, device=images.device) for n in images.shape[-2:])
    phase = rows[:, None] * shift[:, 0, None, None] + columns * shift[:, 1, None, None]
    return torch.fft.ifft2(torch.fft.fft2(images) * torch.exp(-2j * torch.pi * phase)).real


def _brain_mean(images: Tensor, mask: Tensor) -> Tensor:
    return (images * mask).sum((-2, -1)) / mask.sum((-2, -1)).clamp_min(1)


def random_study(
    maps: Tensor, random: np.random.Generator, guides: tuple[bool, bool]
) -> TrainingStudy:
    """A study of phantom maps.

    The maps are measured at a factor of 1.5 or more and enter the network truncated further: the
    loss compares with what was measured, so that the network learns detail that it was not
    given. Nothing at the resolution of the guides but the guides enters a loss.

    Args:
        maps: (images, 3, rows, columns) phantom PD, T1 in ms, T2 in ms; zeros in air. The study
            is made on their device.
        random: source of randomness.
        guides: whether the T1w and the T2w guide are there.
    """
    count, shape, device = len(maps), tuple(maps.shape[-2:]), maps.device
    torch_random = torch.Generator(device).manual_seed(int(random.integers(2**31)))

    def uniform(images: int, lower: float, upper: float) -> Tensor:
        return _uniform(random, images, lower, upper).to(device)

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=torch_random, device=device)

    mask = (maps[:, :1] > SMALLEST_DENSITY).float()
    maps = maps * mask
    factor = random.uniform(1.5, 4.0)
    factors = (
        (factor, factor * random.uniform(0.8, 1.25)) if random.random() < 0.3 else (factor, factor)
    )
    share = random.uniform(0.45, 0.9)
    measured_factors = (max(1.5, factors[0] * share), max(1.5, factors[1] * share))
    measured_shape = low_resolution_shape(shape, measured_factors)
    low_shape = tuple(
        min(a, b) for a, b in zip(low_resolution_shape(shape, factors), measured_shape, strict=True)
    )
    truncation = KSpaceTruncation(shape, measured_shape, device=device)
    map_noise = _brain_mean(maps, mask) * uniform(count, 0.002, 0.02).view(-1, 1)
    measured = truncation(maps)
    noise = map_noise[..., None, None] * normal(*measured.shape)
    low_maps = KSpaceTruncation(measured_shape, low_shape, device=device)(measured + noise)

    t1_weighted = _on(device, random_t1_weighted(random, count))
    t2_weighted = _on(device, random_t2_weighted(random, count))
    images = signals((t1_weighted, t2_weighted), maps)
    if random.random() < 0.5:
        still = uniform(count * 2, 0, 0.35).view(count, 2, 1)
        moves = normal(count, 2, 2) * still
        images = torch.stack([shifted(images[:, g], moves[:, g]) for g in range(2)], dim=1)
    basis = polynomial_basis(shape, 3, device)[1:].float()
    for_bias = normal(count, 2, len(basis)) * random.uniform(0, 0.06)
    bias = torch.einsum("ngf,f...->ng...", for_bias, basis).clamp(-0.5, 0.5).exp()
    scale = uniform(count * 2, np.log(0.1), np.log(1000)).exp().view(count, 2, 1, 1)
    guide_noise = uniform(count * 2, 0.002, 0.03).view(count, 2)
    mean = _brain_mean(images, mask)
    noisy = images + (guide_noise * mean)[..., None, None] * normal(*images.shape)
    present = torch.tensor(guides, dtype=torch.float32, device=device).view(1, 2, 1, 1)
    believed = guide_noise * uniform(count * 2, 0.7, 1.5).view(count, 2)
    study = Study(
        maps=low_maps,
        guides=noisy.abs() * bias * scale * mask * present,
        sequences=(t1_weighted if guides[0] else None, t2_weighted if guides[1] else None),
        mask=mask,
        guide_noise=believed,
        map_noise=map_noise,
    )
    return TrainingStudy(
        study,
        images * mask * present,
        guide_noise * mean * present[..., 0, 0],
        measured,
        truncation,
        map_noise,
    )
