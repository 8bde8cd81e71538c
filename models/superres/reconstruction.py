"""From a study to super-resolved maps: physics and the network in turn.

What is tied to a sequence or a grid (signal equations, k-space truncation, guide scale) is
computed here; the network, in torch or through ONNX Runtime, is a function from evidence to maps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from models.superres.consistency import (
    AFTER_NETWORK,
    BEFORE_NETWORK,
    BEFORE_NETWORK_WITHOUT_T1W,
    gauss_newton,
)
from models.superres.disagreement import balanced
from models.superres.network import SMALLEST, Evidence, bounded, per_map
from models.superres.study import ScaledStudy, Study, rescaled, scale_guides

Step = Callable[[Evidence], Tensor]

STAGES = 2
"""Times that the network is applied."""

INITIAL_PROJECTIONS = 10
"""Projections on the measured maps before anything else."""

SMALLEST_START = (0.1, 250.0, 35.0)
"""PD, T1 in ms and T2 in ms to start from at least: far below TE, T2 no longer moves the signal."""

INITIAL_ROUNDS = 3
"""Gauss-Newton rounds before the network is first applied, the guide scale renewed in each."""


class Stage(NamedTuple):
    """One application of the network.

    Attributes:
        scaled: the study as its guides were scaled for this stage.
        before: (images, 3, *shape) maps that the network was given.
        learned: same shape; what it made of them.
        maps: same shape; those after the physics had its say again.
    """

    scaled: ScaledStudy
    before: Tensor
    learned: Tensor
    maps: Tensor


def initial_maps(scaled: ScaledStudy) -> Tensor:
    """Start (images, 3, *shape): the measured maps interpolated, within the mask and the bounds.

    Truncation rings around cerebrospinal fluid, down to negative T2. Projecting in turn on what
    was measured, the mask and the bounds (Papoulis and Gerchberg) takes most of that away.
    """
    maps = scaled.interpolated
    for _ in range(INITIAL_PROJECTIONS):
        residual = scaled.study.maps - scaled.truncation(maps)
        maps = bounded(maps + scaled.truncation.interpolate(residual)) * scaled.study.mask
    return torch.maximum(maps, per_map(SMALLEST_START, maps)) * scaled.study.mask


def evidence(scaled: ScaledStudy, maps: Tensor) -> Evidence:
    """What one learned step is told about ``maps`` (images, 3, rows, columns)."""
    positive = torch.maximum(maps, per_map(SMALLEST, maps))
    synthetic, sensitivities = [], []
    for sequence in scaled.study.sequences:
        if sequence is None:
            synthetic.append(torch.zeros_like(maps[:, 0]))
            sensitivities.append(torch.zeros_like(maps))
        else:
            signal, derivative = sequence.sensitivities(positive)
            synthetic.append(signal)
            sensitivities.append(derivative)
    explained = torch.stack(synthetic, 1) * scaled.study.mask
    residual = scaled.study.maps - scaled.truncation(maps)
    in_plane = scaled.truncation.factors[-2:]
    factor = torch.full((len(maps), 1), (in_plane[0] * in_plane[1]) ** 0.5, dtype=maps.dtype)
    return Evidence(
        maps,
        scaled.interpolated,
        scaled.truncation.interpolate(residual) * scaled.study.mask,
        torch.where(
            scaled.trust < 1, explained + scaled.trust * (scaled.guides - explained), scaled.guides
        ),
        explained,
        torch.stack(sensitivities, 1) * scaled.study.mask.unsqueeze(1),
        scaled.noise,
        scaled.study.mask,
        factor,
    )


def physics_start(study: Study, order: int = 2) -> tuple[ScaledStudy, Tensor]:
    """Scaled guides, and maps (images, 3, *shape) from the physics alone.

    Args:
        study: what is measured.
        order: degree of the guides' bias field polynomial.

    Raises:
        ValueError: if a guide does not show what the maps show.
    """
    scaled = scale_guides(study)
    maps = initial_maps(scaled)
    settings = BEFORE_NETWORK_WITHOUT_T1W if study.sequences[0] is None else BEFORE_NETWORK
    for _ in range(INITIAL_ROUNDS):
        maps = gauss_newton(scaled, maps, settings)
        scaled = rescaled(scaled, maps, order)
    return scaled, maps


def reconstruct(
    study: Study, step: Step, order: int = 2, stages: int = STAGES, finish: bool = True
) -> list[Stage]:
    """Super-resolved maps of slices or of a volume; the last stage has the result.

    Args:
        study: what is measured.
        step: the network.
        order: degree of the guides' bias field polynomial.
        stages: times that the network is applied.
        finish: whether physics follows the last stage too; training does without.

    Raises:
        ValueError: if a guide does not show what the maps show.
    """
    with torch.no_grad():
        scaled, maps = physics_start(study, order)
    results = []
    for stage in range(stages):
        learned = step(evidence(scaled, maps))
        if stage == stages - 1 and not finish:
            results.append(Stage(scaled, maps, learned, learned))
            break
        with torch.no_grad():
            after = gauss_newton(scaled, learned, AFTER_NETWORK)
            results.append(Stage(scaled, maps, learned, after))
            scaled = balanced(rescaled(scaled, after, order), after)
        maps = after
    return results
