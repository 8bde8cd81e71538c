"""Mirroring and transposing maps of tensors on their grid, the tensors with them.

A denoiser of axial slices has no preferred side: what it learns and what it answers may be turned
to any of these symmetries.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.diffusion.channels import Stack
from models.diffusion.random_draws import RandomDraws
from models.diffusion.signal import KURTOSIS_ELEMENTS, TENSOR_ELEMENTS


def mirror_signs(stack: Stack, axis: int) -> Tensor:
    """Signs (channels,) of the channels when the frame's ``axis`` is reversed."""
    return torch.tensor([(-1.0) ** element.count(axis) for element in _elements(stack)])


def exchange_order(stack: Stack) -> list[int]:
    """Channels in the order in which they are when the axes x and y are exchanged."""
    swap = {0: 1, 1: 0, 2: 2}
    elements = _elements(stack)
    return [elements.index(tuple(sorted(swap[i] for i in element))) for element in elements]


def _elements(stack: Stack) -> list[tuple[int, ...]]:
    tensors: tuple[tuple[int, ...], ...] = TENSOR_ELEMENTS
    return [(), *tensors, *(KURTOSIS_ELEMENTS if len(stack) > 7 else ())]


class Symmetry:
    """One way to mirror the axes of a grid and to transpose its slices.

    Maps are (..., channels, slices, rows, columns), scalars (..., slices, rows, columns).

    Args:
        stack: the channels.
        mirrored: axes of the frame that are reversed: 0 (columns), 1 (rows), 2 (slices).
        transposed: whether rows and columns are exchanged after that.
    """

    def __init__(self, stack: Stack, mirrored: tuple[int, ...], transposed: bool) -> None:
        signs = torch.ones(len(stack))
        for axis in mirrored:
            signs = signs * mirror_signs(stack, axis)
        self._signs = signs[:, None, None, None]
        self._dimensions = tuple(-1 - axis for axis in mirrored)
        self._order = exchange_order(stack) if transposed else None

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


def symmetry_of_slices(stack: Stack, number: int) -> Symmetry:
    """One of the eight that leave slices where they are; 0 changes nothing."""
    mirrored = tuple(axis for axis in (0, 1) if number >> axis & 1)
    return Symmetry(stack, mirrored, bool(number & 4))


def random_symmetry(stack: Stack, draws: RandomDraws) -> Symmetry:
    """One of all sixteen."""
    *mirrored, transposed = draws.chance(0.5, 4).tolist()
    return Symmetry(stack, tuple(axis for axis in range(3) if mirrored[axis]), transposed)
