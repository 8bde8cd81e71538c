"""The stack of parameter maps on which the prior works, and its scaling.

A stack has the parameters of one signal model as its channels, in units that make each of the
order of one and Euclidean distance invariant under rotation: diffusivities in µm²/ms; the
elements of a symmetric tensor times the square root of how often each occurs (Mandel's
notation). The tensor stays linear rather than log-Euclidean: only so is every least-squares
solution, one with a negative eigenvalue included, a point of the space, and the data step
exact.

Directions are in the frame of the array: x along columns, y along rows, z along slices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.diffusion.signal import TENSOR_ELEMENTS

_TENSOR_ROOT = np.sqrt([1, 1, 1, 2, 2, 2])


@dataclass(frozen=True)
class Stack:
    """Channels of one prior.

    Attributes:
        name: short name of the signal model.
        channels: names, in order.
        mean: (channels,) mean over brain.
        spread: (channels,) standard deviation over brain.
    """

    name: str
    channels: tuple[str, ...]
    mean: np.ndarray
    spread: np.ndarray

    def __len__(self) -> int:
        """Number of channels."""
        return len(self.channels)


_S0 = ("log_s0",)
_TENSOR = tuple("D" + "".join("xyz"[i] for i in element) for element in TENSOR_ELEMENTS)

DTI = Stack(
    "dti",
    _S0 + _TENSOR,
    np.array([0.1, 0.9, 0.9, 0.9, 0, 0, 0]),
    np.array([0.5, 0.6, 0.6, 0.6, 0.3, 0.3, 0.3]),
)


def tensor_to_mandel(elements: np.ndarray) -> np.ndarray:
    """Six tensor elements along the last axis to Mandel's notation."""
    return elements * _TENSOR_ROOT


def mandel_to_tensor(channels: np.ndarray) -> np.ndarray:
    """Inverse of :func:`tensor_to_mandel`."""
    return channels / _TENSOR_ROOT
