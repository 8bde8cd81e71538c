"""From a study to super-resolved maps: physics and the network in turn.

What is tied to a sequence or a grid (signal equations, k-space truncation, guide scale) is
computed here; the network, in torch or through ONNX Runtime, is a function from evidence to maps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from models.superres.consistency import (
    AFTER_NETWORK,
    BEFORE_NETWORK,
    BEFORE_NETWORK_WITHOUT_T1W,
    gauss_newton,
)
from models.superres.contradiction import kept
from models.superres.network import SMALLEST, Evidence, bounded, per_map
from models.superres.study import ScaledStudy, Study, rescaled, scale_guides, unexplained
from models.superres.tissue_correction import tissue_corrected

Step = Callable[[Evidence], Tensor]

STAGES = 2
"""Times that the network is applied."""

INITIAL_PROJECTIONS = 10
"""Projections on the measured maps before anything else."""

SLAB = 8
"""Slices of a volume that the network is told about at once."""

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
        residual = unexplained(scaled.study, scaled.truncation(maps))
        maps = bounded(maps + scaled.truncation.interpolate(residual)) * scaled.study.mask
    return torch.maximum(maps, per_map(SMALLEST_START, maps)) * scaled.study.mask


def evidence(scaled: ScaledStudy, maps: Tensor, map_residual: Tensor | None = None) -> Evidence:
    """What one learned step is told about slices.

    Args:
        scaled: the study, slices.
        maps: (images, 3, rows, columns) current PD, T1 in ms, T2 in ms.
        map_residual: same shape; measured minus truncated maps, interpolated, where the slices
            are part of a volume.
    """
    study = scaled.study
    positive = torch.maximum(maps, per_map(SMALLEST, maps))
    synthetic, sensitivities = [], []
    for sequence in study.sequences:
        if sequence is None:
            synthetic.append(torch.zeros_like(maps[:, 0]))
            sensitivities.append(torch.zeros_like(maps))
        else:
            signal, derivative = sequence.sensitivities(positive)
            synthetic.append(signal)
            sensitivities.append(derivative)
    explained = torch.stack(synthetic, 1) * study.mask
    if map_residual is None:
        map_residual = _map_residual(scaled, maps)
    in_plane = scaled.truncation.factors[-2:]
    factor = maps.new_full((len(maps), 1), (in_plane[0] * in_plane[1]) ** 0.5)
    doubted = explained + scaled.trust * (scaled.guides - explained)
    return Evidence(
        maps,
        scaled.interpolated,
        map_residual,
        torch.where(scaled.trust < 1, doubted, scaled.guides),
        explained,
        torch.stack(sensitivities, 1) * study.mask.unsqueeze(1),
        scaled.noise,
        study.mask,
        factor,
    )


def _map_residual(scaled: ScaledStudy, maps: Tensor) -> Tensor:
    residual = unexplained(scaled.study, scaled.truncation(maps)) * scaled.map_trust
    return scaled.truncation.interpolate(residual) * scaled.study.mask


def _learned(scaled: ScaledStudy, maps: Tensor, step: Step) -> Tensor:
    """One learned step on slices, or on a volume (1, 3, slices, rows, columns) a slab at a time."""
    if maps.ndim == 4:
        return step(evidence(scaled, maps))
    residual = _map_residual(scaled, maps)
    result = torch.empty_like(maps)
    for start in range(0, maps.shape[2], SLAB):
        part = slice(start, start + SLAB)
        slab = _slab(scaled, part)
        told = evidence(slab, _as_slices(maps, part), _as_slices(residual, part))
        result[0, :, part] = step(told).movedim(0, 1)
    return result


def _as_slices(volume: Tensor, part: slice) -> Tensor:
    return volume[0, :, part].movedim(1, 0)


def _slab(scaled: ScaledStudy, part: slice) -> ScaledStudy:
    """Some slices of a volume as images of their own; the truncation stays that of the volume."""
    mask = _as_slices(scaled.study.mask, part)
    return replace(
        scaled,
        study=replace(scaled.study, mask=mask),
        guides=_as_slices(scaled.guides, part),
        noise=scaled.noise.expand(len(mask), -1),
        interpolated=_as_slices(scaled.interpolated, part),
        trust=_as_slices(scaled.trust, part),
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


def stages_of(
    study: Study, step: Step, order: int = 2, stages: int = STAGES, finish: bool = True
) -> Iterator[Stage]:
    """Gives the stages one after the other; arguments as ``reconstruct``."""
    with torch.no_grad():
        scaled, maps = physics_start(study, order)
    for stage in range(stages):
        learned = _learned(scaled, maps, step)
        if stage == stages - 1 and not finish:
            yield Stage(scaled, maps, learned, learned)
            return
        last = stage == stages - 1
        shared = tissue_corrected(scaled, learned) if last else learned
        after = gauss_newton(scaled, shared, AFTER_NETWORK)
        del shared
        yield Stage(scaled, maps, learned, after)
        del learned
        maps = after
        if stage < stages - 1:
            with torch.no_grad():
                scaled, maps = kept(rescaled(scaled, after, order), after)


def reconstruct(
    study: Study, step: Step, order: int = 2, stages: int = STAGES, finish: bool = True
) -> list[Stage]:
    """Super-resolved maps of slices or of a volume with all stages; the last has the result.

    Args:
        study: what is measured.
        step: the network.
        order: degree of the guides' bias field polynomial.
        stages: times that the network is applied.
        finish: whether physics follows the last stage too; training does without.

    Raises:
        ValueError: if a guide does not show what the maps show.
    """
    return list(stages_of(study, step, order, stages, finish))


@torch.no_grad()
def super_resolve(study: Study, step: Step, order: int = 2) -> Stage:
    """The last stage alone: super-resolved maps and the study as it was scaled for them.

    Args:
        study: what is measured; ``cropped`` first saves memory and time.
        step: the network.
        order: degree of the guides' bias field polynomial.

    Raises:
        ValueError: if a guide does not show what the maps show.
    """
    stages = stages_of(study, step, order)
    for _ in range(STAGES - 1):
        # Nothing is kept of the stages before the last: they are the size of a volume.
        next(stages)
    return next(stages)
