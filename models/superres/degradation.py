"""Low resolution as a scanner makes it: the centre of k-space, and its exact adjoint.

Truncation of k-space followed by a Fourier transform back is a linear map along each axis. It is
kept as one small real matrix per axis, so that it serves any factor, images and volumes, runs as
matrix products and differentiates. Both grids cover one field of view; sample n // 2 of each is
at the same place, as with a centred FFT.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=64)
def truncation_matrix(samples: int, kept: int) -> Tensor:
    """Matrix that keeps the centre of k-space along one axis.

    A constant stays the same constant. For even ``kept`` the highest frequency counts as the
    cosine, which is the real part of the truncated image.

    Args:
        samples: samples of the high-resolution axis.
        kept: samples of the low-resolution axis, at most ``samples``.

    Returns:
        (kept, samples), float64; not to be changed, since it is kept.

    Raises:
        ValueError: if ``kept`` is not between 1 and ``samples``.
    """
    if not 1 <= kept <= samples:
        raise ValueError(f"cannot keep {kept} of {samples} samples")
    if kept == samples:
        return torch.eye(samples, dtype=torch.float64)
    low = (torch.arange(kept, dtype=torch.float64) - kept // 2) / kept
    high = (torch.arange(samples, dtype=torch.float64) - samples // 2) / samples
    frequencies = torch.arange(-(kept // 2), (kept + 1) // 2, dtype=torch.float64)
    to_image = torch.exp(2j * math.pi * low[:, None] * frequencies)
    from_image = torch.exp(-2j * math.pi * frequencies[:, None] * high)
    return (to_image @ from_image).real / samples


def low_resolution_shape(shape: tuple[int, ...], factors: tuple[float, ...]) -> tuple[int, ...]:
    """Grid nearest to ``shape`` over ``factors``; never less than one sample."""
    return tuple(
        max(1, round(samples / factor)) for samples, factor in zip(shape, factors, strict=True)
    )


@dataclass(frozen=True)
class Window:
    """The part of a high-resolution grid that is kept in memory; elsewhere images are zero.

    Attributes:
        full: the whole grid.
        start: first sample of the part, per axis.
        shape: samples of the part, per axis.
    """

    full: tuple[int, ...]
    start: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def slices(self) -> tuple[slice, ...]:
        """The part as slices of the whole grid."""
        return tuple(slice(a, a + n) for a, n in zip(self.start, self.shape, strict=True))


def whole(shape: tuple[int, ...]) -> Window:
    """The window that is the whole grid."""
    return Window(tuple(shape), (0,) * len(shape), tuple(shape))


class KSpaceTruncation:
    """Keeps the centre of k-space of images or volumes.

    Args:
        window: high-resolution grid, two or three axes, and the part of it that images hold.
        low_shape: low-resolution grid over the same field of view.
        dtype: of the images.
        device: of the images.

    Raises:
        ValueError: if the grids do not have the same number of axes or one of them grows.
    """

    def __init__(
        self,
        window: Window | tuple[int, ...],
        low_shape: tuple[int, ...],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        window = window if isinstance(window, Window) else whole(window)
        if len(window.full) != len(low_shape):
            raise ValueError(f"grids of {len(window.full)} and {len(low_shape)} axes")
        self.window, self.low_shape = window, tuple(low_shape)
        self.matrices = [
            None
            if kept == samples == part.stop - part.start
            else truncation_matrix(samples, kept)[:, part].to(device, dtype)
            for samples, kept, part in zip(window.full, low_shape, window.slices, strict=True)
        ]

    @property
    def shape(self) -> tuple[int, ...]:
        """High-resolution samples that images hold."""
        return self.window.shape

    @property
    def factors(self) -> tuple[float, ...]:
        """High over low number of samples, per axis."""
        return tuple(high / low for high, low in zip(self.window.full, self.low_shape, strict=True))

    def _along_each_axis(
        self, images: Tensor, matrices: list[Tensor | None], expected: tuple[int, ...]
    ) -> Tensor:
        axes = len(matrices)
        if tuple(images.shape[-axes:]) != expected:
            raise ValueError(f"images end in {tuple(images.shape[-axes:])}, expected {expected}")
        for axis, matrix in enumerate(matrices, start=-axes):
            if matrix is None:
                continue
            if axis == -1:
                images = images @ matrix.to(images.dtype).T
            else:
                moved = images.movedim(axis, -1) @ matrix.to(images.dtype).T
                images = moved.movedim(-1, axis)
        return images

    def __call__(self, images: Tensor) -> Tensor:
        """Low-resolution images (..., *low_shape) of images (..., *shape)."""
        return self._along_each_axis(images, self.matrices, self.shape)

    def adjoint(self, images: Tensor) -> Tensor:
        """Transpose of the truncation: (..., *low_shape) to (..., *shape)."""
        return self._along_each_axis(
            images, [None if m is None else m.T for m in self.matrices], self.low_shape
        )

    def interpolate(self, images: Tensor) -> Tensor:
        """Zero-filled interpolation of (..., *low_shape) to (..., *shape); keeps constants."""
        return self.adjoint(images) * math.prod(self.factors)
