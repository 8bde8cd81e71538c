"""Random numbers for examples, on the device where these are made; one seed gives one result."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class RandomDraws:
    """A seeded source of random tensors, float32.

    Args:
        seed: equal seeds give equal numbers on one kind of device.
        device: where the tensors live.
    """

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.generator = torch.Generator(self.device).manual_seed(seed)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Uniform between two bounds."""
        drawn = torch.rand(shape, generator=self.generator, device=self.device)
        return low + (high - low) * drawn

    def log_uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Uniform in the logarithm between two positive bounds."""
        return self.uniform(math.log(low), math.log(high), *shape).exp()

    def normal(self, *shape: int) -> Tensor:
        """Standard normal."""
        return torch.randn(shape, generator=self.generator, device=self.device)

    def chance(self, share: float, *shape: int) -> Tensor:
        """True with this probability."""
        return torch.rand(shape, generator=self.generator, device=self.device) < share

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Integers from ``low`` up to, not including, ``high``."""
        return torch.randint(low, high, shape, generator=self.generator, device=self.device)

    def rotations(self, count: int) -> Tensor:
        """Rotations uniform over all: (count, 3, 3)."""
        return rotation_matrices(self.normal(count, 4))


def rotation_matrices(quaternions: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) of quaternions (..., 4) of any length."""
    w, x, y, z = torch.nn.functional.normalize(quaternions, dim=-1).unbind(dim=-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def small_rotations(draws: RandomDraws, count: int, angle: float) -> Tensor:
    """A random turn about z, then one by about ``angle`` (rad) about a random axis."""
    spin = draws.uniform(0, math.pi, count)
    zero = torch.zeros_like(spin)
    about_z = rotation_matrices(torch.stack((spin.cos(), zero, zero, spin.sin()), dim=-1))
    tilt = torch.cat((torch.ones_like(spin)[:, None], draws.normal(count, 3) * angle / 2), dim=1)
    return about_z @ rotation_matrices(tilt)
