"""The result of super-resolution: maps, images, tissues, and what to think of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from models.superres.disagreement import FLAGGED
from models.superres.network import LOWER, UPPER
from operators.inference.bundle import Bundle
from operators.inference.guide_choice import LABELS, WEIGHTINGS, Guide
from operators.inference.map_check import NAMES
from operators.inference.map_set import ALGORITHM, MapSet
from operators.inference.segments import at_bound_region, regions, shows_head
from operators.inference.settings import SuperresSettings
from operators.inference.superres_findings import (
    bounds_finding,
    consistency_finding,
    disagreement_finding,
    guide_findings,
)
from operators.inference.superres_study import Prepared, nearest
from operators.inference.synthetic_contrast import synthesised
from operators.inference.tissue_findings import tissue_findings
from operators.inference.tissue_fractions import (
    FIELD_STRENGTHS,
    BrainTissues,
    brain_from_maps,
    brain_tissues,
)
from operators.vocabulary.finding import Finding
from operators.vocabulary.quantity import PRIVATE_SCHEME, QUANTITIES, QuantityMap
from operators.vocabulary.result import Algorithm, PipelineResult, Segment
from operators.vocabulary.version import VERSION

DISAGREEMENT = Code("DISAGREEVOX", PRIVATE_SCHEME, "Guides and measured maps disagree")
_SOURCE = "arXiv 2512.17612"
_RATES = {"r1": 1, "r2": 2}


@dataclass(frozen=True)
class Sharpened:
    """What super-resolution gives on the grid of the result, (channels, slices, rows, columns).

    Attributes:
        maps: PD, T1 in ms, T2 in ms; zero outside the head.
        guide_residuals: T1w and T2w guide minus synthesised image, magnitude, in % of the mean.
        fields: what the guides were divided by; zero outside the head.
        disagreement: (slices, rows, columns), in SD.
        map_residuals: (3, ...) on the grid of the measured maps; measured minus truncated, in SD.
    """

    maps: np.ndarray
    guide_residuals: np.ndarray
    fields: np.ndarray
    disagreement: np.ndarray
    map_residuals: np.ndarray


def superres_result(
    maps: MapSet,
    guides: Mapping[str, Guide],
    ready: Prepared,
    sharpened: Sharpened,
    network: Bundle,
    provider: str,
    settings: SuperresSettings,
    findings: tuple[Finding, ...],
    timings: dict[str, float],
) -> PipelineResult:
    """Put together everything that is written.

    Args:
        maps: the measured maps.
        guides: by weighting.
        ready: the study as it was prepared.
        sharpened: what came of it.
        network: its bundle.
        provider: where it ran.
        settings: of the pipeline.
        findings: of the choice of guides.
        timings: seconds per step so far.
    """
    began = time.perf_counter()
    geometry = ready.grid.geometry
    source = maps.members["t1"].source
    brain, noticed = _brain(sharpened.maps, geometry, source.header)
    head = brain if brain is not None else ready.mask
    tissues, more = _tissues(sharpened.maps, brain, geometry, maps, guides)
    noticed += more
    at_bound = _at_bound(sharpened.maps, ready.mask)
    flagged = ready.mask & (sharpened.disagreement >= FLAGGED)
    images = tuple(synthesised(sharpened.maps, geometry, one) for one in settings.contrasts)
    measured = maps.geometry
    of_maps = {name: one.findings for name, one in maps.members.items()}
    return PipelineResult(
        pipeline="superres",
        maps=_quantity_maps(sharpened, guides, geometry, ready.mask, settings),
        segments=(
            *regions(brain, ready.mask, geometry),
            *tissues.segments,
            Segment(
                "Guides and maps disagree",
                codes.SCT.SpatialAndRelationalConcept,
                DISAGREEMENT,
                geometry.with_array(flagged.astype(np.uint8)),
            ),
            at_bound_region(at_bound, geometry),
        ),
        findings=(
            *(one for found in of_maps.values() for one in found),
            *findings,
            *ready.findings,
            *_quality(sharpened, guides, ready, head),
            bounds_finding(float(at_bound[head].mean())),
            disagreement_finding(float(flagged[head].mean()), FLAGGED),
            *noticed,
        ),
        algorithm=_algorithm(network, provider, ready, guides, settings),
        source=source,
        further_sources=tuple(
            one.source
            for one in (
                *(one for name, one in maps.members.items() if name != "t1"),
                *(guide.acquisition for guide in guides.values()),
            )
        ),
        timings={**timings, "tissues and images": time.perf_counter() - began},
        synthetic_images=images,
        fractions=tissues.fractions,
        region_values=tissues.values,
        tissue_values=tissues.medians,
        measured_maps=tuple(
            QuantityMap(QUANTITIES[name], measured.with_array(values))
            for name, values in zip(NAMES, ready.maps, strict=True)
        ),
    )


def _quantity_maps(
    sharpened: Sharpened,
    guides: Mapping[str, Guide],
    geometry: hd.VolumeGeometry,
    mask: np.ndarray,
    settings: SuperresSettings,
) -> tuple[QuantityMap, ...]:
    arrays = dict(zip(NAMES, sharpened.maps, strict=True))
    if settings.relaxation_rates:
        for name, channel in _RATES.items():
            times = sharpened.maps[channel]
            arrays[name] = np.where(mask, 1000 / np.maximum(times, LOWER[channel]), 0)
    for channel, weighting in enumerate(WEIGHTINGS):
        if weighting in guides:
            arrays[f"{weighting}_residual"] = sharpened.guide_residuals[channel]
    shape = geometry.spatial_shape
    worst = np.abs(sharpened.map_residuals).max(axis=0)
    arrays["map_consistency"] = nearest(worst, shape) * mask
    arrays["disagreement"] = sharpened.disagreement
    return tuple(
        QuantityMap(QUANTITIES[name], geometry.with_array(values.astype(np.float32)))
        for name, values in arrays.items()
    )


def _brain(
    maps: np.ndarray, geometry: hd.VolumeGeometry, header: Dataset
) -> tuple[np.ndarray | None, list[Finding]]:
    """The brain, where the series says that it shows a head or says nothing."""
    stated = str(header.get("BodyPartExamined") or "")
    if stated and not shows_head(header):
        text = "The headers say that the maps show no head, and the network was trained on heads."
        return None, [Finding("not-a-head", text)]
    findings = []
    if not stated:
        text = "The headers do not say which body part the maps show: a head was assumed."
        findings.append(Finding("body-part-not-stated", text))
    brain = brain_from_maps(maps, geometry)
    if not brain.any():
        return None, [*findings, Finding("brain-not-found", "No brain was found in the maps.")]
    return brain, findings


def _tissues(
    maps: np.ndarray,
    brain: np.ndarray | None,
    geometry: hd.VolumeGeometry,
    measured: MapSet,
    guides: Mapping[str, Guide],
) -> tuple[BrainTissues, list[Finding]]:
    """Tissues of the brain at 3 T; none at a field strength where their values do not hold."""
    nothing = BrainTissues((), (), (), ())
    if brain is None:
        return nothing, []
    headers = [
        one.source.header
        for one in (*measured.members.values(), *(g.acquisition for g in guides.values()))
    ]
    stated = [float(h.MagneticFieldStrength) for h in headers if h.get("MagneticFieldStrength")]
    low, high = FIELD_STRENGTHS
    if not stated or not low <= stated[0] <= high:
        found = f"{stated[0]:g} T" if stated else "not stated"
        text = f"Tissues were not told apart: their values hold at 3 T, and the field is {found}."
        return nothing, [Finding("tissues-not-segmented", text)]
    tissues = brain_tissues(maps, brain, geometry)
    return tissues, tissue_findings(tissues)


def _at_bound(maps: np.ndarray, mask: np.ndarray) -> np.ndarray:
    found = np.zeros(mask.shape, dtype=bool)
    for values, low, high in zip(maps, LOWER, UPPER, strict=True):
        found |= (values <= low) | (values >= high)
    return found & mask


def _quality(
    sharpened: Sharpened, guides: Mapping[str, Guide], ready: Prepared, head: np.ndarray
) -> list[Finding]:
    findings = []
    for channel, weighting in enumerate(WEIGHTINGS):
        if weighting in guides:
            findings += guide_findings(
                LABELS[weighting],
                guides[weighting].number,
                sharpened.fields[channel][ready.mask],
                sharpened.guide_residuals[channel][head & ready.mask],
                float(ready.study.guide_noise[0, channel]),
            )
    inside = sharpened.map_residuals.any(axis=0)
    rms = np.sqrt((sharpened.map_residuals[:, inside].astype(np.float64) ** 2).mean(axis=1))
    labels = [QUANTITIES[name].label for name in NAMES]
    findings.append(consistency_finding(dict(zip(labels, map(float, rms), strict=True))))
    return findings


def _algorithm(
    network: Bundle,
    provider: str,
    ready: Prepared,
    guides: Mapping[str, Guide],
    settings: SuperresSettings,
) -> Algorithm:
    """Who made it: every setting that changes values enters the UIDs of the objects."""
    configuration = {
        "refine": str(settings.refine).lower(),
        "map noise": f"{settings.map_noise:g}",
        f"network {network.metadata.name}": network.metadata.version,
    }
    for channel, weighting in enumerate(WEIGHTINGS):
        sequence = ready.study.sequences[channel]
        if weighting in guides and sequence is not None:
            values = ", ".join(f"{name} {float(v):.5g}" for name, v in vars(sequence).items())
            configuration[LABELS[weighting]] = f"{type(sequence).__name__} {values}"
    for one in settings.contrasts:
        chosen = one.model_dump(exclude_none=True, exclude={"contrast"})
        configuration[f"synthetic {one.contrast}"] = " ".join(f"{k} {v}" for k, v in chosen.items())
    return Algorithm(
        name=ALGORITHM,
        version=VERSION,
        model_sha256={
            f"{network.metadata.name}/{network.network.name}": network.metadata.model.sha256
        },
        execution_provider=provider,
        configuration=configuration,
        source=_SOURCE,
    )
