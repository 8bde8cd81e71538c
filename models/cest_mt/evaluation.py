"""Figures of merit on held-out simulated voxels, and the pictures that show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from models.cest_mt.optimisation import TrainingLog
from models.cest_mt.specification import BRAIN, NetworkSpecification, Range


@dataclass(frozen=True)
class Figures:
    """How well one quantity is estimated.

    Attributes:
        name: the quantity.
        nrmse: root mean square error over the width of the quantity's range, in percent.
        bias: mean error over the width of the range, in percent.
        correlation: Pearson's r.
        coverage: percentage of voxels whose truth is within one predicted standard deviation.
    """

    name: str
    nrmse: float
    bias: float
    correlation: float
    coverage: float | None = None


def figures(quantity: Range, truth: Tensor, estimate: Tensor, sd: Tensor | None = None) -> Figures:
    """Compares estimates of one quantity with the truth, each (voxels,) in its unit."""
    error = estimate - truth
    coverage = None if sd is None else 100 * float((error.abs() <= sd).double().mean())
    return Figures(
        name=quantity.name,
        nrmse=100 * float(error.double().square().mean().sqrt()) / quantity.span,
        bias=100 * float(error.double().mean()) / quantity.span,
        correlation=float(torch.corrcoef(torch.stack([estimate, truth]))[0, 1]),
        coverage=coverage,
    )


def held_out_figures(
    specification: NetworkSpecification,
    values: Tensor,
    estimates: Sequence[tuple[str, Tensor, Tensor | None]],
) -> list[tuple[str, Figures]]:
    """Figures over all voxels of the prior, and over those that are like brain tissue.

    Args:
        specification: what the columns are.
        values: (voxels, varied) true values.
        estimates: name, (voxels, parameters or more) estimates and standard deviations.

    Returns:
        Figures by name of the estimate and of the group.
    """
    brain = torch.ones(len(values), dtype=torch.bool)
    for column, quantity in enumerate(specification.varied):
        low, high = BRAIN[quantity.name]
        brain &= (values[:, column] >= low) & (values[:, column] <= high)
    groups = {"all voxels": torch.ones_like(brain)}
    if not specification.nuisances:
        groups["brain tissue"] = brain
    return [
        (
            f"{label}, {group}",
            figures(
                quantity,
                values[chosen, column],
                estimate[chosen, column],
                None if spread is None else spread[chosen, column],
            ),
        )
        for group, chosen in groups.items()
        for label, estimate, spread in estimates
        for column, quantity in enumerate(specification.parameters)
    ]


def table(rows: list[tuple[str, Figures]]) -> str:
    """The figures as a Markdown table, one row per estimator and quantity."""
    lines = [
        "| estimate by | quantity | NRMSE % of range | bias % of range | r | within 1 SD % |",
        "|---|---|---|---|---|---|",
    ]
    for label, row in rows:
        coverage = "" if row.coverage is None else f"{row.coverage:.1f}"
        lines.append(
            f"| {label} | {row.name} | {row.nrmse:.2f} | {row.bias:+.2f} "
            f"| {row.correlation:.3f} | {coverage} |"
        )
    return "\n".join(lines)


def draw_loss(log: TrainingLog, file: Path, label: str) -> None:
    """Draws the loss over the training steps as a PNG."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*log.entries, strict=True))
    axes.set(xlabel="step", ylabel=label)
    figure.savefig(file, dpi=120)


def draw_maps(quantities: tuple[Range, ...], maps: Mapping[str, np.ndarray], file: Path) -> None:
    """Draws the central slice of each quantity and of its standard deviation as a PNG.

    Args:
        quantities: what is shown, with its range.
        maps: (slices, rows, columns) by name, with ``<name>_sd``; maps with fewer dimensions are
            shown as they are.
        file: where the picture goes.
    """
    figure = Figure(figsize=(8, 4 * len(quantities)), layout="constrained")
    rows = figure.subplots(len(quantities), 2, squeeze=False)
    for quantity, axes in zip(quantities, rows, strict=True):
        shown = (quantity.name, quantity.upper), (f"{quantity.name}_sd", quantity.span / 4)
        for axis, (name, largest) in zip(axes, shown, strict=True):
            values = np.atleast_2d(maps[name])
            while values.ndim > 2:
                values = values[len(values) // 2]
            image = axis.imshow(values, vmin=quantity.lower, vmax=largest, cmap="viridis")
            axis.set_title(f"{name} ({quantity.unit})")
            axis.set_axis_off()
            figure.colorbar(image, ax=axis, shrink=0.8)
    figure.savefig(file, dpi=120)


def draw_scatter(
    quantities: tuple[Range, ...], truth: Tensor, estimate: Tensor, sd: Tensor, file: Path
) -> None:
    """Draws estimate against truth and error over SD, one row per quantity, as a PNG.

    Args:
        quantities: what the columns are.
        truth: (voxels, quantities).
        estimate: (voxels, quantities).
        sd: (voxels, quantities).
        file: where the picture goes.
    """
    figure = Figure(figsize=(9, 4 * len(quantities)), layout="constrained")
    rows = figure.subplots(len(quantities), 2, squeeze=False)
    for column, (quantity, (left, right)) in enumerate(zip(quantities, rows, strict=True)):
        left.hexbin(truth[:, column], estimate[:, column], gridsize=60, bins="log", mincnt=1)
        bounds = (quantity.lower, quantity.upper)
        left.plot(bounds, bounds, "k--", linewidth=0.8)
        left.set(xlabel=f"{quantity.name} true ({quantity.unit})", ylabel="estimated")
        score = (estimate[:, column] - truth[:, column]) / sd[:, column]
        right.hist(score.clamp(-5, 5).numpy(), bins=80, density=True)
        x = torch.linspace(-5, 5, 201)
        right.plot(x, torch.exp(-(x**2) / 2) / (2 * torch.pi) ** 0.5, "k--", linewidth=0.8)
        right.set(xlabel="(estimate - truth) / SD", ylabel="density")
    figure.savefig(file, dpi=120)
