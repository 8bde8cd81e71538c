"""Maps of a Z-spectrum: B0 shift, MTR asymmetry, amplitudes of four Lorentzian pools."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from models.cest_mt.lorentzian import POOLS, WIDEST_OFFSET, can_fit_pools, fit_pools
from models.cest_mt.mtr_asymmetry import mtr_asymmetry, why_no_asymmetry
from models.cest_mt.residual import relative_residual
from models.cest_mt.schedule import SaturationSchedule
from models.cest_mt.zspectrum import (
    SpectrumSamples,
    can_locate_water,
    normalised,
    smoothed_field,
    water_line,
)
from operators.inference.cest_mt_findings import HIGH_RESIDUAL, field_deviation, part_of
from operators.inference.condition_maps import ConditionMap, optional_map
from operators.inference.saturation_signals import SaturationSignals, left_out, read_signals
from operators.inference.segments import at_bound_region, brain_of, regions, tissue_regions
from operators.inference.spectrum_check import check_number_of_images, samples_of
from operators.vocabulary.acquisition import Acquisition
from operators.vocabulary.finding import Finding, Severity
from operators.vocabulary.quantity import QUANTITIES, QuantityMap
from operators.vocabulary.refusal import Refusal
from operators.vocabulary.result import Algorithm, PipelineResult
from operators.vocabulary.version import VERSION

ASYMMETRY = "mtr_asymmetry"
SHIFT = "b0_shift"
RESIDUAL = "saturation_residual"
_BLOCK_VOXELS = 65536
_SOURCES = "doi 10.1002/mrm.29241; doi 10.1002/nbm.3283"


def analyse_z_spectrum(
    acquisition: Acquisition,
    schedule: SaturationSchedule,
    maps: Sequence[Acquisition] = (),
    estimated: Sequence[PipelineResult] = (),
) -> PipelineResult:
    """B0 shift, MTR asymmetry at 3.5 ppm and four Lorentzian pools of every voxel.

    B0 comes from a map of the study (acquired, or made from its WASABI series); without one,
    from the spectrum itself, and is then a result. What the offsets do not allow is left out,
    and a finding says why.

    Args:
        acquisition: a saturation series.
        schedule: its protocol, with M0.
        maps: quantity maps of the study.
        estimated: results of the study's WASABI series.

    Raises:
        Refusal: the protocol is no Z-spectrum or allows neither asymmetry nor pools, the number
            of images is wrong, pixels cannot be measurements, or B0 is unknown or ambiguous.
    """
    check_number_of_images(acquisition, schedule)
    samples = samples_of(schedule)
    field = optional_map(SHIFT, acquisition.geometry, maps, estimated)
    t1 = optional_map("t1", acquisition.geometry, maps, estimated)
    lacking = _what_lacks(samples, field)
    signals = read_signals(acquisition, schedule)
    began = time.perf_counter()
    shift = _measured_field(signals, samples, schedule) if field is None else _known_field(field)
    located = time.perf_counter()
    found, bound = _fit(signals, samples, schedule, shift, lacking)
    fitted = time.perf_counter()
    analysed = np.all([np.isfinite(values) for values in (shift, *found.values())], axis=0)
    analysed &= signals.region
    if field is None:
        found = {SHIFT: shift, **found}
    brain = brain_of(signals.reference, acquisition.geometry, acquisition.source.header)
    segments = regions(brain, analysed, acquisition.geometry)
    inside = segments[0].volume.array > 0
    findings = [*acquisition.findings, *signals.findings, *lacking.values()]
    findings += [finding for one in (field, t1) if one is not None for finding in one.findings]
    findings += left_out(signals.foreground, analysed)
    findings += _findings(found, shift, bound, inside)
    if brain is not None and t1 is not None:
        segments += tissue_regions(
            t1.values, brain & analysed & t1.known, schedule.field_strength, acquisition.geometry
        )
    sources = [one.source for one in (field, t1) if one is not None and one.source is not None]
    return PipelineResult(
        pipeline="cest_mt",
        maps=tuple(
            QuantityMap(
                QUANTITIES[name],
                acquisition.geometry.with_array(np.where(analysed, values, 0).astype(np.float32)),
            )
            for name, values in found.items()
        ),
        segments=(*segments, at_bound_region(bound.any(axis=-1) & analysed, acquisition.geometry)),
        findings=tuple(findings),
        algorithm=_algorithm(schedule, field),
        source=acquisition.source,
        further_sources=tuple({one.series_instance_uid: one for one in sources}.values()),
        timings={
            **signals.timings,
            "water frequency": located - began,
            "fit": fitted - located,
            "segments": time.perf_counter() - fitted,
        },
        protocol=schedule,
    )


def _what_lacks(samples: SpectrumSamples, field: ConditionMap | None) -> dict[str, Finding]:
    """Findings about maps that the offsets do not allow, by what is not made."""
    if field is None and not can_locate_water(samples.offsets):
        raise Refusal(
            "b0-shift-map-missing",
            "the offsets are too few around water to tell its frequency, and the study holds no "
            "B0 map",
            "Send a B0 map or a WASABI series of the same session.",
        )
    lacking = {}
    if reason := why_no_asymmetry(samples.offsets):
        lacking[ASYMMETRY] = Finding("no-asymmetry", f"No MTR asymmetry: {reason}.")
    if not can_fit_pools(samples.offsets):
        lacking["pools"] = Finding(
            "no-lorentzian-fit",
            f"No Lorentzian pools: that needs more than {2 * (2 * len(POOLS) + 1)} offsets that "
            f"reach {WIDEST_OFFSET:g} ppm on both sides of water.",
            Severity.INFORMATION,
        )
    if len(lacking) == 2:
        raise Refusal(
            "offsets-unsuitable",
            " ".join(one.message for one in lacking.values()),
            "Correct the offsets in the protocol file, or acquire another protocol.",
        )
    return lacking


def _known_field(field: ConditionMap) -> np.ndarray:
    return np.where(field.known, field.values, np.nan).astype(np.float64)


def _measured_field(
    signals: SaturationSignals, samples: SpectrumSamples, schedule: SaturationSchedule
) -> np.ndarray:
    """(slices, rows, columns) ppm, smoothed; NaN where no water line is found."""
    shift, error = np.full((2, *signals.reference.shape), np.nan)
    for place in _blocks(signals.region):
        z = normalised(signals.array[place], samples, schedule.m0_images)
        shift[place], error[place] = water_line(samples.offsets, z)
    return smoothed_field(shift, error)


def _fit(
    signals: SaturationSignals,
    samples: SpectrumSamples,
    schedule: SaturationSchedule,
    shift: np.ndarray,
    lacking: dict[str, Finding],
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Maps by quantity name, NaN where not known, and where each pool is at a bound, last axis."""
    names = [] if ASYMMETRY in lacking else [ASYMMETRY]
    if "pools" not in lacking:
        names += [f"{pool.name}_amplitude" for pool in POOLS]
        names += [f"{pool.name}_amplitude_sd" for pool in POOLS] + [RESIDUAL]
    maps = {name: np.full(shift.shape, np.nan) for name in names}
    bound = np.zeros((*shift.shape, len(POOLS)), dtype=bool)
    for block in _blocks(signals.region & np.isfinite(shift)):
        z = normalised(signals.array[block], samples, schedule.m0_images)
        usable = np.isfinite(z).all(axis=1)
        place, z = tuple(axis[usable] for axis in block), z[usable]
        if ASYMMETRY in maps:
            maps[ASYMMETRY][place] = mtr_asymmetry(samples.offsets, z, shift[place])
        if RESIDUAL in maps:
            fit = fit_pools(samples.offsets, z, shift[place])
            for index, pool in enumerate(POOLS):
                maps[f"{pool.name}_amplitude"][place] = 100 * fit.amplitude[:, index]
                maps[f"{pool.name}_amplitude_sd"][place] = 100 * fit.amplitude_sd[:, index]
            maps[RESIDUAL][place] = relative_residual(z, fit.predicted)
            bound[place] = fit.at_bound
    return maps, bound


def _blocks(region: np.ndarray) -> list[tuple[np.ndarray, ...]]:
    indices = np.flatnonzero(region)
    return [
        np.unravel_index(indices[start : start + _BLOCK_VOXELS], region.shape)
        for start in range(0, len(indices), _BLOCK_VOXELS)
    ]


def _findings(
    found: dict[str, np.ndarray], shift: np.ndarray, bound: np.ndarray, inside: np.ndarray
) -> list[Finding]:
    if not inside.any():
        return [Finding("nothing-analysed", "No voxel could be analysed.", Severity.ERROR)]
    findings = field_deviation(SHIFT, shift[inside])
    for index, pool in enumerate(POOLS):
        findings += part_of(
            int(np.count_nonzero(bound[inside][:, index])),
            int(np.count_nonzero(inside)),
            "parameter-at-bound",
            f"have amplitude or width of the {pool.name} line at its bound",
        )
    residual = found.get(RESIDUAL)
    if residual is not None and (median := float(np.median(residual[inside]))) > HIGH_RESIDUAL:
        findings.append(
            Finding(
                "high-residual",
                f"The Lorentzian pools leave {median:.1f} % of the signal unexplained (median).",
            )
        )
    return findings


def _algorithm(schedule: SaturationSchedule, field: ConditionMap | None) -> Algorithm:
    return Algorithm(
        name="QuantMAP Z-spectrum",
        version=VERSION,
        model_sha256={},
        execution_provider="torch cpu",
        configuration={
            "protocol": schedule.name,
            "b0": "minimum of the spectrum, in-plane median of 3 x 3, Gaussian of 1 voxel by "
            "inverse variance"
            if field is None
            else "map of the study",
        },
        source=_SOURCES,
    )
