"""B0 and B1 maps of a WASABI series."""

from __future__ import annotations

import time

import numpy as np

from models.cest_mt.residual import relative_residual
from models.cest_mt.schedule import SaturationSchedule
from models.cest_mt.wasabi import fit_wasabi, wasabi_pulse
from models.cest_mt.zspectrum import normalised
from operators.inference.cest_mt_findings import HIGH_RESIDUAL, field_deviation, part_of
from operators.inference.saturation_signals import left_out, read_signals
from operators.inference.segments import at_bound_region, brain_of, regions
from operators.inference.spectrum_check import check_number_of_images, samples_of
from operators.vocabulary.acquisition import Acquisition
from operators.vocabulary.finding import Finding, Severity
from operators.vocabulary.quantity import QUANTITIES, QuantityMap
from operators.vocabulary.refusal import Refusal
from operators.vocabulary.result import Algorithm, PipelineResult
from operators.vocabulary.version import VERSION

_MAPS = ("b0_shift", "b1_scale", "b0_shift_sd", "b1_scale_sd")
_RESIDUAL = "saturation_residual"
_BLOCK_VOXELS = 65536


def analyse_wasabi(acquisition: Acquisition, schedule: SaturationSchedule) -> PipelineResult:
    """Fit the WASABI equation to every voxel.

    Args:
        acquisition: a saturation series.
        schedule: its protocol: one block pulse over a range of offsets, with M0.

    Raises:
        Refusal: the protocol is no WASABI protocol, the number of images is wrong, or the
            pixels cannot be measurements.
    """
    check_number_of_images(acquisition, schedule)
    samples = samples_of(schedule)
    try:
        pulse = wasabi_pulse(schedule)
    except ValueError as error:
        raise Refusal(
            "unusable-saturation-protocol", str(error), "Correct the protocol file."
        ) from error
    signals = read_signals(acquisition, schedule)
    began = time.perf_counter()
    shape = signals.reference.shape
    maps = {name: np.zeros(shape, np.float32) for name in (*_MAPS, _RESIDUAL)}
    analysed, bound = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    indices = np.flatnonzero(signals.region)
    for start in range(0, len(indices), _BLOCK_VOXELS):
        place = np.unravel_index(indices[start : start + _BLOCK_VOXELS], shape)
        z = normalised(signals.array[place], samples, schedule.m0_images)
        usable = np.isfinite(z).all(axis=1)
        place, z = tuple(axis[usable] for axis in place), z[usable]
        fitted = fit_wasabi(pulse, samples.offsets, z)
        values = {name: getattr(fitted, name) for name in _MAPS}
        values[_RESIDUAL] = relative_residual(z, fitted.predicted)
        finite = np.all([np.isfinite(value) for value in values.values()], axis=0)
        for name, value in values.items():
            maps[name][place] = np.where(finite, value, 0)
        analysed[place] = finite
        bound[place] = finite & fitted.at_bound
    done = time.perf_counter()
    brain = brain_of(signals.reference, acquisition.geometry, acquisition.source.header)
    segments = regions(brain, analysed, acquisition.geometry)
    inside = segments[0].volume.array > 0
    return PipelineResult(
        pipeline="cest_mt",
        maps=tuple(
            QuantityMap(QUANTITIES[name], acquisition.geometry.with_array(values))
            for name, values in maps.items()
        ),
        segments=(*segments, at_bound_region(bound, acquisition.geometry)),
        findings=(
            *acquisition.findings,
            *signals.findings,
            *left_out(signals.foreground, analysed),
            *_findings(maps, bound, inside),
        ),
        algorithm=Algorithm(
            name="QuantMAP WASABI",
            version=VERSION,
            model_sha256={},
            execution_provider="torch cpu",
            configuration={"protocol": schedule.name},
            source="doi 10.1002/mrm.26133",
        ),
        source=acquisition.source,
        timings={
            **signals.timings,
            "fit": done - began,
            "segments": time.perf_counter() - done,
        },
        protocol=schedule,
    )


def _findings(maps: dict[str, np.ndarray], bound: np.ndarray, inside: np.ndarray) -> list[Finding]:
    if not inside.any():
        return [Finding("nothing-analysed", "No voxel could be analysed.", Severity.ERROR)]
    findings = [
        *field_deviation("b0_shift", maps["b0_shift"][inside]),
        *field_deviation("b1_scale", maps["b1_scale"][inside]),
        *part_of(
            int(np.count_nonzero(bound[inside])),
            int(np.count_nonzero(inside)),
            "parameter-at-bound",
            "have a parameter of the WASABI equation at its bound",
        ),
    ]
    if (median := float(np.median(maps[_RESIDUAL][inside]))) > HIGH_RESIDUAL:
        findings.append(
            Finding(
                "high-residual",
                f"The WASABI equation leaves {median:.1f} % of the signal unexplained (median).",
            )
        )
    return findings
