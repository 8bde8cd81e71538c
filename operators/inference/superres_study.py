"""From measured maps and guides to what the physics takes: one volume on matching grids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage

from models.superres.degradation import KSpaceTruncation
from models.superres.signal import WeightedSequence
from models.superres.study import Study, cropped
from operators.inference.brain_mask import foreground_mask
from operators.inference.guide_choice import LABELS, WEIGHTINGS, Guide, fat_suppression_finding
from operators.inference.guide_parameters import GuideParameters, guide_parameters
from operators.inference.map_check import AIR, check_maps, noise_share, without_air
from operators.inference.map_set import MapSet
from operators.inference.nuisance import fitted_sequence, known_sequence
from operators.inference.pixel_check import check_pixels
from operators.inference.registration import Placed, align, place
from operators.inference.settings import SuperresSettings
from operators.inference.superres_findings import (
    alignment_findings,
    coverage_finding,
    fitted_finding,
    masked_maps_finding,
    resampled_finding,
)
from operators.inference.target_grid import TargetGrid, target_grid
from operators.vocabulary.finding import Finding
from operators.vocabulary.refusal import Refusal

LARGEST_ROTATION = 5.0
"""Degrees; beyond it a guide is refused as after a large shift."""
LEAST_COVERED = 0.8
"""Share of the head that every guide must cover."""
LARGEST_OUTSIDE = 0.1
"""Share of the guides' head far from every measured voxel, from which the maps count as masked."""
_FIT_SLICES = 8
"""Low-resolution slices that sequence parameters are fitted to."""


@dataclass(frozen=True)
class Prepared:
    """A study ready for super-resolution.

    Attributes:
        study: the maps and guides, slices along the first axis of ``order``, on the box around
            the head.
        maps: (3, slices, rows, columns) measured PD, T1 in ms, T2 in ms, as read.
        grid: of the result.
        order: axes of the grid in the order in which ``study`` has them.
        mask: boolean (slices, rows, columns) of the result: the head.
        findings: what was noticed.
    """

    study: Study
    maps: np.ndarray
    grid: TargetGrid
    order: tuple[int, int, int]
    mask: np.ndarray
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class _PlacedGuide:
    guide: Guide
    placed: Placed
    noise: float
    parameters: GuideParameters


def prepared(maps: MapSet, guides: Mapping[str, Guide], settings: SuperresSettings) -> Prepared:
    """Read, check, register and place everything.

    Args:
        maps: the measured maps.
        guides: by weighting, "t1w" and "t2w"; one or both.
        settings: of the pipeline.

    Raises:
        Refusal: maps or guides must not become numbers; names the series of a guide.
    """
    measured = maps.read()
    findings = check_maps(measured, maps.numbers)
    grid = target_grid(maps.geometry, [one.acquisition.geometry for one in guides.values()])
    findings += grid.findings
    found = {}
    for weighting, guide in guides.items():
        source = guide.acquisition.source
        try:
            found[weighting], noticed = _placed(guide, measured, maps, grid, settings)
        except Refusal as refusal:
            raise refusal.of_series(source.series_instance_uid, source.series_number) from None
        findings += noticed
    mask, noticed = _head(measured, grid, [one.placed for one in found.values()])
    findings += noticed
    rows, columns = (axis for axis in range(3) if axis != grid.slice_axis)
    order = (grid.slice_axis, rows, columns)
    study = _boxed(_study(measured, found, mask, order, settings.map_noise))
    sequences: dict[str, WeightedSequence] = {}
    for weighting, one in found.items():
        source = one.guide.acquisition.source
        try:
            sequences[weighting], noticed = _sequence(study, weighting, one, settings)
        except Refusal as refusal:
            raise refusal.of_series(source.series_instance_uid, source.series_number) from None
        findings += noticed
    study = replace(study, sequences=(sequences.get("t1w"), sequences.get("t2w")))
    return Prepared(study, measured, grid, order, mask, tuple(findings))


def _placed(
    guide: Guide, measured: np.ndarray, maps: MapSet, grid: TargetGrid, settings: SuperresSettings
) -> tuple[_PlacedGuide, list[Finding]]:
    """A guide registered to the maps and on the grid of the result."""
    findings = list(guide.acquisition.findings)
    parameters = _checked_parameters(guide, settings)
    pixels = guide.read()
    check_pixels(pixels[..., None])
    noise = noise_share(pixels, foreground_mask(pixels))
    differs = fat_suppression_finding(guide, maps)
    findings += [differs] if differs else []
    alignment = align(
        _contrast(measured, guide.kind.weighting),
        measured[0] > AIR,
        maps.geometry,
        pixels,
        guide.acquisition.geometry,
    )
    if alignment.shift > settings.largest_shift or alignment.rotation > LARGEST_ROTATION:
        raise Refusal(
            "guide-moved",
            f"the {guide.label} guide lies {alignment.shift:.1f} mm and "
            f"{alignment.rotation:.1f} degrees away from the maps (limits "
            f"{settings.largest_shift:g} mm, {LARGEST_ROTATION:g} degrees)",
            "Check that both show the same head at rest; acquire again if the patient moved.",
        )
    findings += alignment_findings(guide.label, guide.number, alignment)
    placed = place(pixels, guide.acquisition.geometry, grid.geometry, alignment)
    findings += resampled_finding(guide.label, guide.number, placed)
    return _PlacedGuide(guide, placed, noise, parameters), findings


def _checked_parameters(guide: Guide, settings: SuperresSettings) -> GuideParameters:
    weighting = guide.kind.weighting
    manufacturer = str(guide.acquisition.source.header.get("Manufacturer") or "")
    parameters = guide_parameters(
        guide.protocol, guide.kind, manufacturer, settings.guide(weighting)
    )
    lacking = parameters.must_be_stated if settings.fit_missing else parameters.missing
    if lacking:
        allow = "" if settings.fit_missing or parameters.must_be_stated else (
            ", or allow them to be fitted with pipelines.superres.fit_missing"
        )  # fmt: skip
        raise Refusal(
            "sequence-parameters-missing",
            f"neither the headers nor the settings of the {guide.label} guide state its "
            f"{', '.join(lacking)}",
            f"Set them under pipelines.superres.{weighting}{allow}.",
        )
    return parameters


def _contrast(measured: np.ndarray, weighting: str) -> np.ndarray:
    """An image like the guide's, from the maps: for registration alone."""
    density, t1, t2 = without_air(measured)
    safe_t1, safe_t2 = np.maximum(t1, 50), np.maximum(t2, 5)
    decay = np.exp(-900 / safe_t1) if weighting == "t1w" else 1 - np.exp(-100 / safe_t2)
    return np.clip(density, 0, 1.5) * (1 - decay)


def _head(
    measured: np.ndarray, grid: TargetGrid, placed: list[Placed]
) -> tuple[np.ndarray, list[Finding]]:
    """Voxels of the result with signal in the guides and in the maps, and what is not covered."""
    shape = grid.geometry.spatial_shape
    bright = np.zeros(shape, dtype=bool)
    covered = np.ones(shape, dtype=bool)
    for one in placed:
        bright |= foreground_mask(one.values)
        covered &= one.covered
    measured_here = (measured > 0).all(axis=0) & (measured[0] > AIR)
    # The rim of the head shares coarse voxels with air: the guides say where it ends, unless the
    # maps were cut to the brain and the guides were not.
    near = nearest(ndimage.binary_dilation(measured_here), shape)
    outside = float((~near)[bright].mean()) if bright.any() else 0.0
    cut = outside > LARGEST_OUTSIDE
    bright &= upsampled(measured_here.astype(np.float32), shape) > 0.5 if cut else near
    findings = masked_maps_finding(outside) if cut else []
    if not bright.any():
        raise Refusal(
            "guides-show-no-head",
            "the guides are dark wherever the maps hold tissue",
            "Check that maps and guides show the same head.",
        )
    share = float(covered[bright].mean())
    if share < LEAST_COVERED:
        raise Refusal(
            "guide-does-not-cover",
            f"the guides cover only {100 * share:.0f} % of the head that the maps show",
            "Send guides of the whole head, or maps of the part that they show.",
        )
    return bright & covered, findings + coverage_finding(share)


def upsampled(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Linear interpolation between two grids of one field of view, whose samples n // 2 meet.

    Args:
        values: three axes.
        shape: of the finer grid.
    """
    for axis, (few, many) in enumerate(zip(values.shape, shape, strict=True)):
        if few == many:
            continue
        place = (np.arange(many) - many // 2) * few / many + few // 2
        below = np.clip(np.floor(place).astype(int), 0, few - 1)
        above = np.minimum(below + 1, few - 1)
        weight = np.clip(place - below, 0, 1).astype(values.dtype)
        weight = weight.reshape([-1 if a == axis else 1 for a in range(3)])
        values = values.take(below, axis) * (1 - weight) + values.take(above, axis) * weight
    return values


def nearest(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Each voxel of the finer grid as the coarse voxel that holds its centre; as ``upsampled``."""
    for axis, (few, many) in enumerate(zip(values.shape, shape, strict=True)):
        place = (np.arange(many) - many // 2) * few / many + few // 2
        values = values.take(np.clip(np.rint(place).astype(int), 0, few - 1), axis)
    return values


def _study(
    measured: np.ndarray,
    guides: dict[str, _PlacedGuide],
    mask: np.ndarray,
    order: tuple[int, int, int],
    map_noise: float,
) -> Study:
    """The study without its sequences."""
    empty = np.zeros(mask.shape, np.float32)
    images = np.stack(
        [
            guides[weighting].placed.values * mask if weighting in guides else empty
            for weighting in WEIGHTINGS
        ]
    )
    noise = [guides[name].noise if name in guides else 0.01 for name in WEIGHTINGS]
    tissue = measured[0] > AIR
    # Far from the head T1 and T2 are noise; near its rim they still carry the blur of it.
    calm = measured * ndimage.binary_dilation(tissue, iterations=2)
    of_maps = [map_noise * float(values[tissue].mean()) for values in calm]

    def volume(array: np.ndarray) -> torch.Tensor:
        axes = (0, *(1 + axis for axis in order))
        return torch.from_numpy(np.ascontiguousarray(array.transpose(axes), np.float32))[None]

    return Study(
        maps=volume(calm),
        guides=volume(images),
        sequences=(None, None),
        mask=volume(mask[None].astype(np.float32)),
        guide_noise=torch.tensor([noise], dtype=torch.float32),
        map_noise=torch.tensor([of_maps], dtype=torch.float32),
    )


def _boxed(study: Study) -> Study:
    """The study on the box around the head, copied so that the rest of the grid is let go."""
    inside = cropped(study)
    return replace(inside, guides=inside.guides.clone(), mask=inside.mask.clone())


def _sequence(
    study: Study, weighting: str, one: _PlacedGuide, settings: SuperresSettings
) -> tuple[WeightedSequence, list[Finding]]:
    equation = settings.guide(weighting).sequence or one.guide.kind.equation
    if not one.parameters.missing and not one.parameters.echo_time_doubtful:
        return known_sequence(equation, one.parameters), []
    try:
        fit = fitted_sequence(
            low_resolution(study), WEIGHTINGS.index(weighting), equation, one.parameters
        )
    except ValueError as error:
        raise guide_contradicts(LABELS[weighting], error) from error
    finding = fitted_finding(one.guide.label, one.guide.number, fit.fitted, fit.mismatch)
    return fit.sequence, [finding]


def low_resolution(study: Study) -> Study:
    """The middle slices of a study with its guides at the resolution of the maps."""
    truncation = KSpaceTruncation(study.window, tuple(study.maps.shape[2:]))
    middle = study.maps.shape[2] // 2
    some = slice(max(0, middle - _FIT_SLICES // 2), middle + _FIT_SLICES // 2)
    return replace(
        study,
        maps=study.maps[:, :, some],
        guides=truncation(study.guides)[:, :, some],
        mask=truncation(study.mask)[:, :, some],
        part=None,
    )


def guide_contradicts(label: str, error: ValueError) -> Refusal:
    """The refusal of guides of which no scale makes them look like the maps."""
    return Refusal(
        "guide-contradicts-maps",
        f"the {label} guide does not show what the maps show ({error})",
        "Check that maps and guides show the same head, and the sequence parameters.",
    )
