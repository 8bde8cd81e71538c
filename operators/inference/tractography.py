"""Deterministic tracking of fibres along the principal direction of a tensor field.

Streamline integration with trilinear interpolation of the directions: EuDX, Garyfallidis,
PhD thesis, University of Cambridge (2012), as DIPY has it (Garyfallidis et al., Front.
Neuroinform. 8:8 (2014), doi 10.3389/fninf.2014.00008). It follows one direction a voxel, so
that it does not resolve crossing fibres, and a track is no axon: see the model card.
"""

from __future__ import annotations

import time
from dataclasses import replace
from importlib.metadata import version
from types import SimpleNamespace

import highdicom as hd
import numpy as np
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from scipy import ndimage

from operators.inference.settings import TractSettings
from operators.inference.tensor_field import DiffusionAnalysis
from operators.vocabulary.finding import Finding, Severity
from operators.vocabulary.result import PipelineResult
from operators.vocabulary.tracts import TrackSet

SINGLE_TENSOR = Code("113231", "DCM", "Single Tensor")
DETERMINISTIC = Code("113211", "DCM", "Deterministic")


def with_tracts(analysis: DiffusionAnalysis, settings: TractSettings) -> PipelineResult:
    """The result of a diffusion series with the tracts of its field, where they are wanted."""
    result, field = analysis.result, analysis.field
    if not settings.enabled:
        return result
    began = time.perf_counter()
    head = any(segment.type == codes.SCT.Brain for segment in result.segments)
    tracks, findings = track(
        field.principal,
        field.anisotropy,
        field.mask,
        field.geometry,
        settings,
        codes.SCT.WhiteMatterOfBrainAndSpinalCord if head else codes.SCT.AnatomicalStructure,
    )
    described = ", ".join(f"{name} {value}" for name, value in settings.described().items())
    algorithm = replace(
        result.algorithm, configuration=result.algorithm.configuration | {"tracts": described}
    )
    return replace(
        result,
        tracks=tracks,
        algorithm=algorithm,
        findings=(*result.findings, *findings),
        timings=result.timings | {"tracts": time.perf_counter() - began},
    )


def track(
    principal: np.ndarray,
    anisotropy: np.ndarray,
    inside: np.ndarray,
    geometry: hd.VolumeGeometry,
    settings: TractSettings,
    site: Code = codes.SCT.AnatomicalStructure,
) -> tuple[TrackSet | None, list[Finding]]:
    """Track from every voxel of sufficient anisotropy, in both directions.

    Seeds lie at random places of their voxel (fixed random seed), so that the same field gives
    the same tracks. There are no more of them than the settings allow; a finding says so.

    Args:
        principal: (slices, rows, columns, 3) unit vectors, LPS, sign arbitrary; 0 where none.
        anisotropy: (slices, rows, columns) FA, 0 to 1.
        inside: boolean, same shape: voxels that may be tracked through.
        geometry: grid of all three.
        settings: where to start, stop and bend.
        site: anatomic site of the tracks.

    Returns:
        the tracks, or None where there is none; and what the reader must know of them.
    """
    followed = np.where(inside, anisotropy, 0).astype(np.float64)
    start = followed >= settings.seed_anisotropy
    # Tracks would leave a single slice at once.
    if min(geometry.spatial_shape) < 2:
        return None, [
            Finding(
                "too-few-slices-for-tracts",
                "tracts need two slices or more, so none were tracked",
                Severity.INFORMATION,
            )
        ]
    seeds, wanted = _seeds(start, geometry, settings)
    if not len(seeds):
        return None, [_none(f"no voxel has an FA of {settings.seed_anisotropy:g} or more")]
    points, offsets = _tracked(seeds, principal, followed, geometry, settings)
    if len(offsets) < 2:
        lengths = f"{settings.shortest:g} to {settings.longest:g} mm"
        return None, [_none(f"none of {len(seeds)} seeds gave a track of {lengths}")]
    tracks = TrackSet(
        label="Whole field",
        site=site,
        points=points,
        offsets=offsets,
        anisotropy=_at(points, anisotropy, geometry),
        geometry=geometry,
        model=SINGLE_TENSOR,
        family=DETERMINISTIC,
        parameters=settings.described() | {"tracker": f"EuDX of DIPY {version('dipy')}"},
    )
    return tracks, _findings(tracks, len(seeds), wanted, settings)


def _seeds(
    start: np.ndarray, geometry: hd.VolumeGeometry, settings: TractSettings
) -> tuple[np.ndarray, int]:
    """Places to start from, (seeds, 3) mm LPS, and how many were wanted."""
    voxels = np.argwhere(start)
    wanted = len(voxels) * settings.seeds_per_voxel
    generator = np.random.default_rng(settings.random_seed)
    chosen = np.arange(wanted)
    if wanted > settings.most_seeds:
        chosen = np.sort(generator.choice(wanted, settings.most_seeds, replace=False))
    places = voxels[chosen // settings.seeds_per_voxel] + generator.uniform(
        -0.5, 0.5, (len(chosen), 3)
    )
    return places @ geometry.affine[:3, :3].T + geometry.affine[:3, 3], wanted


def _tracked(
    seeds: np.ndarray,
    principal: np.ndarray,
    followed: np.ndarray,
    geometry: hd.VolumeGeometry,
    settings: TractSettings,
) -> tuple[np.ndarray, np.ndarray]:
    """Points (points, 3) mm LPS of all tracks, and where each begins."""
    # Imported here: it takes seconds, and tracts may be switched off.
    from dipy.tracking.stopping_criterion import ThresholdStoppingCriterion
    from dipy.tracking.tracker import eudx_tracking

    # DIPY integrates along the axes of the grid: directions are turned into these, and DIPY is
    # given a grid without rotation. Its coordinates are then mm from the first voxel.
    spacing = np.array(geometry.spacing)
    axes = geometry.affine[:3, :3] / spacing
    directions = (principal.reshape(-1, 3) @ axes).astype(np.float64)
    usable = np.linalg.norm(directions, axis=1) > 0.5
    # Each voxel is a vertex of its own: a sphere of some hundred directions would round them.
    directions[~usable] = (1.0, 0.0, 0.0)
    shape = followed.shape
    peaks = SimpleNamespace(
        peak_indices=np.arange(followed.size, dtype=np.int32).reshape(*shape, 1),
        peak_values=np.where(usable.reshape(shape), followed, 0)[..., None],
        odf_vertices=directions / np.linalg.norm(directions, axis=1, keepdims=True),
    )
    local = np.diag([*spacing, 1.0])
    starts = (seeds - geometry.affine[:3, 3]) @ axes
    streamlines = eudx_tracking(
        starts,
        ThresholdStoppingCriterion(followed, settings.stop_anisotropy),
        local,
        pam=peaks,
        step_size=settings.step,
        max_angle=settings.largest_angle,
        pmf_threshold=0.0,
        min_len=settings.shortest,
        max_len=settings.longest,
        random_seed=settings.random_seed,
        nbr_threads=1,
    )
    lines = [line for line in streamlines if len(line) > 1]
    if not lines:
        return np.zeros((0, 3), np.float32), np.zeros(1, np.int64)
    points = np.concatenate(lines) @ axes.T + geometry.affine[:3, 3]
    offsets = np.concatenate(([0], np.cumsum([len(line) for line in lines])))
    return points.astype(np.float32), offsets.astype(np.int64)


def _at(points: np.ndarray, values: np.ndarray, geometry: hd.VolumeGeometry) -> np.ndarray:
    """Values of a map at points in mm, trilinear: float32 (points,)."""
    inverse = np.linalg.inv(geometry.affine)
    places = points @ inverse[:3, :3].T + inverse[:3, 3]
    found = ndimage.map_coordinates(values.astype(np.float32), places.T, order=1, mode="nearest")
    return np.asarray(found, np.float32)


def _none(because: str) -> Finding:
    return Finding("no-tracts", f"no tracts: {because}", Severity.INFORMATION)


def _findings(tracks: TrackSet, seeds: int, wanted: int, settings: TractSettings) -> list[Finding]:
    found = [
        Finding(
            "tracts",
            f"{len(tracks)} tracks from {seeds} seeds along the single tensor's principal "
            "direction, which resolves no crossing fibres; a track is no count of axons",
            Severity.INFORMATION,
        )
    ]
    if seeds < wanted:
        found.append(
            Finding(
                "tracts-limited",
                f"{seeds} of {wanted} seeds were tracked, chosen at random, as "
                f"pipelines.diffusion.tracts.most_seeds is {settings.most_seeds}",
                Severity.INFORMATION,
            )
        )
    return found
