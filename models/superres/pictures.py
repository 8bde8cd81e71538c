"""Pictures of training and evaluation."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot
from torch import Tensor

from models.superres.held_out import Phantom, flair_of
from models.superres.training import TrainingLog

_WINDOWS = (("PD", (0, 1.1)), ("T1 (ms)", (0, 4500)), ("T2 (ms)", (0, 300)), ("FLAIR", (0, 0.3)))


def draw_losses(log: TrainingLog, path: Path) -> None:
    """Both losses over the steps."""
    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    if log.entries:
        steps, guide, maps = np.array(log.entries).T
        axes.semilogy(steps, guide, label="guide synthesis")
        axes.semilogy(steps, maps, label="low-resolution consistency")
        axes.legend()
    axes.set(xlabel="step", ylabel="loss (SD)")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def draw_before_after(phantom: Phantom, before: Tensor, after: Tensor, path: Path) -> None:
    """Input, result and truth of PD, T1, T2 and synthetic FLAIR, maps (1, 3, rows, columns)."""
    figure, axes = pyplot.subplots(3, 4, figsize=(12, 9), layout="constrained")
    for row, (label, maps) in zip(
        axes, (("input", before), ("super-resolved", after), ("truth", phantom.maps)), strict=True
    ):
        images = [*maps[0].detach().numpy(), flair_of(maps, phantom.mask)]
        for axis, image, (name, (low, high)) in zip(row, images, _WINDOWS, strict=True):
            axis.imshow(image, cmap="gray", vmin=low, vmax=high)
            axis.set(title=f"{name}, {label}", xticks=[], yticks=[])
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
