"""Mirroring and transposing maps of tensors on their grid, the tensors with them.

A denoiser of axial slices has no preferred side: what it learns and what it answers may be turned
to any of these symmetries.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.diffusion.random_draws import RandomDraws
from models.diffusion.signal import TENSOR_ELEMENTS

# Axes that each channel of the tensor's stack has; ln S0 has none.
_AXES: tuple[tuple[int, ...], ...] = ((), *TENSOR_ELEMENTS)


def mirror_signs(axis: int) -> Tensor:
    """Signs (channels,) of the channels when the frame's ``axis`` is reversed."""
    return torch.tensor([(-1.0) ** axes.count(axis) for axes in _AXES])


def exchange_order() -> list[int]:
    """Channels in the order in which they are when the axes x and y are exchanged."""
    swap = {0: 1, 1: 0, 2: 2}
    return [_AXES.index(tuple(sorted(swap[i] for i in axes))) for axes in _AXES]


class Symmetry:
    """One way to mirror the axes of a grid and to transpose its slices.

    Maps are (..., channels, slices, rows, columns), scalars (..., slices, rows, columns).

    Args:
        mirrored: axes of the frame that are reversed: 0 (columns), 1 (rows), 2 (slices).
        transposed: whether rows and columns are exchanged after that.
    """

    def __init__(self, mirrored: tuple[int, ...], transposed: bool) -> None:
        signs = torch.ones(len(_AXES))
        for axis in mirrored:
            signs = signs * mirror_signs(axis)
        self._signs = signs[:, None, None, None]
        self._dimensions = tuple(-1 - axis for axis in mirrored)
        self._order = exchange_order() if transposed else None

    def apply(self, maps: Tensor, signed: bool = True) -> Tensor:
        """Turn maps; ``signed`` but for their standard deviations."""
        turned = maps.flip(self._dimensions)
        turned = turned * self._signs.to(maps.device) if signed else turned
        if self._order is None:
            return turned
        return turned.transpose(-1, -2)[..., self._order, :, :, :]

    def apply_scalar(self, grid: Tensor) -> Tensor:
        """Turn what has no channels."""
        turned = grid.flip(self._dimensions)
        return turned if self._order is None else turned.transpose(-1, -2)

    def undo(self, maps: Tensor, signed: bool = True) -> Tensor:
        """Inverse of :meth:`apply`."""
        if self._order is not None:
            maps = maps[..., self._order, :, :, :].transpose(-1, -2)
        maps = maps * self._signs.to(maps.device) if signed else maps
        return maps.flip(self._dimensions)


def symmetry_of_slices(number: int) -> Symmetry:
    """One of the eight that leave slices where they are; 0 changes nothing."""
    mirrored = tuple(axis for axis in (0, 1) if number >> axis & 1)
    return Symmetry(mirrored, bool(number & 4))


def random_symmetry(draws: RandomDraws) -> Symmetry:
    """One of all sixteen."""
    *mirrored, transposed = draws.chance(0.5, 4).tolist()
    return Symmetry(tuple(axis for axis in range(3) if mirrored[axis]), transposed)
