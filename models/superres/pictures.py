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


def draw_ablation_losses(logs: dict[str, TrainingLog], path: Path) -> None:
    """Both losses of each network of the ablation over the steps."""
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.5), layout="constrained", sharex=True)
    for name, log in logs.items():
        steps, guide, maps = np.array(log.entries).T
        axes[0].semilogy(steps, guide, label=name)
        axes[1].semilogy(steps, maps, label=name)
    axes[0].set(xlabel="step", ylabel="guide synthesis (SD)")
    axes[1].set(xlabel="step", ylabel="low-resolution consistency (SD)")
    axes[1].legend(fontsize="small")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def draw_ablation(maps: dict[str, Tensor], path: Path) -> None:
    """T1 and T2 of each network of the ablation, maps (1, 3, rows, columns), beside the truth."""
    figure, axes = pyplot.subplots(
        2, len(maps), figsize=(2.2 * len(maps), 5.2), layout="constrained"
    )
    for column, (name, image) in zip(axes.T, maps.items(), strict=True):
        for axis, index in zip(column, (1, 2), strict=True):
            label, (low, high) = _WINDOWS[index]
            axis.imshow(image[0, index].detach().numpy(), cmap="gray", vmin=low, vmax=high)
            axis.set(xticks=[], yticks=[])
            axis.set_title(f"{label}\n{name}", fontsize="small")
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
