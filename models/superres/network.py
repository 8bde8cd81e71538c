"""The network: one learned step from the current maps towards maps that explain all images.

A guide's pulse sequence never reaches the convolutions. They see what the sequence says about
each voxel: the step in ln PD, ln T1 and ln T2 that would explain the guides there (a damped
Gauss–Newton step), how certain it is, and what the measured maps still ask for. One network thus
serves any sequence and parameters, T1w, T2w or both. It is applied a few times in turn
(``models/superres/reconstruction.py``), as in learned iterative reconstruction (Adler and Öktem
2017, doi 10.1088/1361-6420/aa9581). Its body is that of EDSR (Lim et al. 2017, doi
10.1109/CVPRW.2017.151): residual blocks without batch norm.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

LOWER = (0.0, 50.0, 5.0)
UPPER = (1.3, 5000.0, 2500.0)
"""Bounds of PD, T1 in ms and T2 in ms; the output never leaves them."""

SMALLEST = (0.01, 50.0, 5.0)
"""Values below which a map is taken as this when its logarithm is needed."""

TYPICAL = (0.75, 1200.0, 90.0)
"""Values at which the logarithm of a map enters the network as zero."""

PROTON_DENSITY_PER_T1 = 0.2
"""Change of ln PD per change of ln T1 between tissues; from the values of WM, GM and CSF."""

PRIOR_SD = (0.05, 0.3, 0.4)
"""SD of ln PD (beyond what T1 explains), ln T1 and ln T2 about the current maps."""


class Evidence(NamedTuple):
    """What one learned step is told; images are slices, every tensor float32.

    Attributes:
        maps: (images, 3, rows, columns) current PD, T1 in ms, T2 in ms.
        interpolated: same shape; the measured maps on the high-resolution grid.
        map_residual: same shape; measured minus truncated current maps, interpolated; in the
            units of the maps.
        guides: (images, 2, rows, columns) T1w and T2w over their scale: units of PD.
        synthetic: same shape; signals of the current maps.
        sensitivities: (images, 2, 3, rows, columns) derivatives of the synthetic signals with
            respect to ln PD, ln T1 and ln T2.
        noise: (images, 2) SD of the guides in units of PD; 0 where a guide is missing.
        mask: (images, 1, rows, columns) 1 where maps are wanted, 0 elsewhere.
        factor: (images, 1) high over low samples along an in-plane axis (geometric mean).
    """

    maps: Tensor
    interpolated: Tensor
    map_residual: Tensor
    guides: Tensor
    synthetic: Tensor
    sensitivities: Tensor
    noise: Tensor
    mask: Tensor
    factor: Tensor


def per_map(values: tuple[float, ...], like: Tensor) -> Tensor:
    """Constants of the three maps, shaped (1, 3, 1, ...) to broadcast with ``like``."""
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(
        1, 3, *[1] * (like.ndim - 2)
    )


def bounded(maps: Tensor) -> Tensor:
    """Maps within the physical bounds."""
    return torch.minimum(torch.maximum(maps, per_map(LOWER, maps)), per_map(UPPER, maps))


def log_covariance(sd: tuple[float, float, float], like: Tensor) -> Tensor:
    """(3, 3) covariance of ln PD, ln T1 and ln T2, in which PD follows T1 as between tissues.

    Args:
        sd: SD of ln PD beyond what T1 explains, of ln T1 and of ln T2.
        like: tensor whose type and device to take.
    """
    pd_sd, t1_sd, t2_sd = sd
    by_t1 = PROTON_DENSITY_PER_T1 * t1_sd**2
    return torch.tensor(
        [
            [pd_sd**2 + PROTON_DENSITY_PER_T1 * by_t1, by_t1, 0.0],
            [by_t1, t1_sd**2, 0.0],
            [0.0, 0.0, t2_sd**2],
        ],
        dtype=like.dtype,
        device=like.device,
    )


def gauss_newton_step(
    residual: Tensor, sensitivities: Tensor, variance: Tensor, covariance: Tensor
) -> tuple[Tensor, Tensor]:
    """Most probable step in ln PD, ln T1, ln T2 of each voxel by itself, and its variance.

    C Jᵀ (J C Jᵀ + Σ)⁻¹ r with the 2×2 inverse written out; a guide with sensitivities of zero
    says nothing.

    Args:
        residual: (images, 2, ...) guides minus synthetic signals.
        sensitivities: (images, 2, 3, ...).
        variance: (images, 2, ...) of the residual; positive.
        covariance: (3, 3) prior covariance C.

    Returns:
        step (images, 3, ...) and the fraction of the prior variance that is left (images, 3, ...).
    """
    first, second = sensitivities.unbind(1)
    spread_first = torch.einsum("pq,nq...->np...", covariance, first)
    spread_second = torch.einsum("pq,nq...->np...", covariance, second)
    a = (first * spread_first).sum(1) + variance[:, 0]
    b = (first * spread_second).sum(1)
    d = (second * spread_second).sum(1) + variance[:, 1]
    determinant = a * d - b * b
    r1, r2 = residual.unbind(1)
    weight_first = ((d * r1 - b * r2) / determinant).unsqueeze(1)
    weight_second = ((a * r2 - b * r1) / determinant).unsqueeze(1)
    step = spread_first * weight_first + spread_second * weight_second
    a, b, d, determinant = (t.unsqueeze(1) for t in (a, b, d, determinant))
    explained = (
        d * spread_first**2 - 2 * b * spread_first * spread_second + a * spread_second**2
    ) / determinant
    prior = torch.diagonal(covariance).view(1, 3, *[1] * (step.ndim - 2))
    return step, 1 - explained / prior


class ResidualBlock(nn.Module):
    """Two convolutions around an activation, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Maps (images, channels, rows, columns) to the same shape."""
        return features + self.body(features)


class UpdateNetwork(nn.Module):
    """One learned step in ln PD, ln T1 and ln T2.

    Args:
        channels: of the residual blocks.
        blocks: number of residual blocks.
    """

    CHANNELS_IN = 25

    def __init__(self, channels: int = 32, blocks: int = 4) -> None:
        super().__init__()
        self.channels, self.blocks = channels, blocks
        self.mixed_precision = False
        self.memory_format = torch.contiguous_format
        self.head = nn.Conv2d(self.CHANNELS_IN, channels, 3, padding=1)
        self.body = nn.Sequential(*[ResidualBlock(channels) for _ in range(blocks)])
        self.tail = nn.Conv2d(channels, 3, 3, padding=1)
        self.guide_weight = nn.Parameter(torch.full((3,), 0.2))
        self.map_weight = nn.Parameter(torch.full((3,), 0.1))
        for parameter in self.tail.parameters():
            nn.init.zeros_(parameter)

    def forward(
        self,
        maps: Tensor,
        interpolated: Tensor,
        map_residual: Tensor,
        guides: Tensor,
        synthetic: Tensor,
        sensitivities: Tensor,
        noise: Tensor,
        mask: Tensor,
        factor: Tensor,
    ) -> Tensor:
        """Updated maps (images, 3, rows, columns): PD, T1 in ms, T2 in ms; see ``Evidence``."""
        present = (noise > 0).to(maps.dtype)[:, :, None, None] * mask
        scale = (maps[:, :1] * 0 + 1) * factor[:, :, None, None].log()
        current = torch.maximum(maps, per_map(SMALLEST, maps))
        relative_to = current.log() - per_map(TYPICAL, maps).log()
        measured = (
            torch.maximum(interpolated, per_map(SMALLEST, maps)).log()
            - per_map(TYPICAL, maps).log()
        )
        asked = (map_residual / current).clamp(-1, 1)
        level = synthetic.abs() + 1e-3
        residual = (guides - synthetic) * present
        # 2 % of the signal stands for what the signal equations leave out (B1, flow, transfer).
        variance = (noise[:, :, None, None] + 1e-4) ** 2 + (0.02 * level) ** 2
        step, left = gauss_newton_step(
            residual, sensitivities * present.unsqueeze(2), variance, log_covariance(PRIOR_SD, maps)
        )
        step = step.clamp(-0.7, 0.7)
        features = torch.cat(
            [
                relative_to,
                measured,
                4 * asked,
                4 * step,
                left,
                (guides.clamp_min(1e-3).log() + 2) * present,
                4 * (residual / level).clamp(-1, 1),
                present,
                mask,
                scale,
                (guides[:, :1] > 2e-2).to(maps.dtype) * present[:, :1],
                (guides[:, 1:] > 2e-2).to(maps.dtype) * present[:, 1:],
            ],
            dim=1,
        )
        with torch.autocast(maps.device.type, torch.bfloat16, enabled=self.mixed_precision):
            seen = (features * mask).contiguous(memory_format=self.memory_format)
            learned = self.tail(self.body(self.head(seen))).to(maps.dtype)
        weights = self.guide_weight.view(1, 3, 1, 1), self.map_weight.view(1, 3, 1, 1)
        change = learned + weights[0] * step + weights[1] * asked
        updated = bounded(current * change.clamp(-1.5, 1.5).exp())
        return updated * mask + maps * (1 - mask)
