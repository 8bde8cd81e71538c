"""The maps that an analysis takes beside the signal: found, resampled, or made constant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import highdicom as hd
import numpy as np

from operators.inference.resample import resample, same_frame_of_reference
from operators.inference.segments import analysed_voxels
from operators.inference.settings import CestMtSettings
from operators.inference.wording import amount, span
from operators.vocabulary.acquisition import Acquisition, MapProtocol, SourceSeries
from operators.vocabulary.finding import Finding, Severity
from operators.vocabulary.quantity import QUANTITIES
from operators.vocabulary.refusal import Refusal
from operators.vocabulary.result import PipelineResult

#: Quantities of which a value of zero or less means that the map has none there.
_POSITIVE = {"t1", "t2", "b1_scale"}
#: Medians that a map of a body can have, in the unit of its quantity: T1 or T2 below look like
#: seconds, B1 above like percent, B0 above like Hz.
_PLAUSIBLE_MEDIAN = {
    "t1": (50.0, 10_000.0),
    "t2": (5.0, 5_000.0),
    "b0_shift": (-5.0, 5.0),
    "b1_scale": (0.2, 5.0),
}


@dataclass(frozen=True)
class ConditionMap:
    """Values of one quantity on the grid of the series that is analysed.

    Attributes:
        values: float32 (slices, rows, columns), unit of the quantity.
        known: boolean, same shape.
        source: the series that it came from; None for a constant.
        constant: the constant that stands in for a map, or None.
        findings: what was done to obtain it.
    """

    values: np.ndarray
    known: np.ndarray
    source: SourceSeries | None = None
    constant: float | None = None
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class _Candidate:
    geometry: hd.VolumeGeometry
    source: SourceSeries
    read: Callable[[], tuple[np.ndarray, np.ndarray]]
    findings: tuple[Finding, ...] = ()


def condition_map(
    name: str,
    target: hd.VolumeGeometry,
    maps: Sequence[Acquisition],
    estimated: Sequence[PipelineResult],
    settings: CestMtSettings,
) -> ConditionMap:
    """The map of a quantity on the grid ``target``.

    Args:
        name: of the quantity.
        target: grid of the series that is analysed.
        maps: quantity maps of the study, in the unit of their quantity.
        estimated: results of earlier stages, of which maps can be conditions too.
        settings: constants that stand in for missing maps.

    Raises:
        Refusal: there is neither a map nor a constant, more than one map, or only maps in
            another Frame of Reference.
    """
    found = optional_map(name, target, maps, estimated)
    return _constant(name, target, settings) if found is None else found


def optional_map(
    name: str,
    target: hd.VolumeGeometry,
    maps: Sequence[Acquisition],
    estimated: Sequence[PipelineResult],
) -> ConditionMap | None:
    """The map of a quantity on the grid ``target``, or None where the study holds none.

    A map that was acquired as such comes before one that was estimated from another series.

    Args:
        name: of the quantity.
        target: grid of the series that is analysed.
        maps: quantity maps of the study.
        estimated: results of earlier stages.

    Raises:
        Refusal: more than one map, only maps in another Frame of Reference, or values that must
            be of another unit.
    """
    quantity = QUANTITIES[name]
    candidates = _acquired(name, maps) or _estimated(name, estimated)
    if not candidates:
        return None
    near = [one for one in candidates if same_frame_of_reference(one.geometry, target)]
    if not near:
        raise Refusal(
            "frame-of-reference-differs",
            f"the {quantity.label} map lies in another Frame of Reference (0020,0052) than the "
            "series",
            "Register the map to the series, or acquire both without moving the patient out.",
        )
    if len(near) > 1:
        numbers = ", ".join(str(one.source.series_number) for one in near)
        raise Refusal(
            "several-maps",
            f"the study holds {len(near)} {quantity.label} maps (series {numbers})",
            "Send only the one that belongs to the series.",
        )
    (chosen,) = near
    values, known = chosen.read()
    _check_unit(name, values[known], chosen.source)
    placed = resample(values, known, chosen.geometry, target)
    findings = [*chosen.findings]
    if placed.interpolated:
        findings.append(
            Finding(
                "map-resampled",
                f"The {quantity.label} map (series {chosen.source.series_number}) was "
                "interpolated linearly onto the grid of the series.",
                Severity.INFORMATION,
            )
        )
    return ConditionMap(placed.values, placed.known, chosen.source, findings=tuple(findings))


def _check_unit(name: str, values: np.ndarray, source: SourceSeries) -> None:
    """Refuse a map of which the median is no value of its quantity in its unit."""
    if name not in _PLAUSIBLE_MEDIAN or not len(values):
        return
    low, high = _PLAUSIBLE_MEDIAN[name]
    median = float(np.median(values))
    if not low <= median <= high:
        quantity = QUANTITIES[name]
        raise Refusal(
            "map-unit-implausible",
            f"the {quantity.label} map (series {source.series_number}) has a median of "
            f"{amount(median, quantity)}, expected {span(low, high, quantity)}",
            f"Correct the unit of the map, in its header or in the rule of app.yaml that names "
            f"it: it must be what the values are in ({quantity.unit.meaning} here).",
        )


def _acquired(name: str, maps: Sequence[Acquisition]) -> list[_Candidate]:
    def reader(acquisition: Acquisition) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
        def read() -> tuple[np.ndarray, np.ndarray]:
            values = acquisition.volume().array[..., 0]
            known = np.isfinite(values)
            return values, known & (values > 0) if name in _POSITIVE else known

        return read

    return [
        _Candidate(one.geometry, one.source, reader(one))
        for one in maps
        if isinstance(one.protocol, MapProtocol) and one.protocol.quantity.name == name
    ]


def _estimated(name: str, results: Sequence[PipelineResult]) -> list[_Candidate]:
    def reader(volume: hd.Volume, known: np.ndarray) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
        return lambda: (volume.array, known)

    return [
        _Candidate(
            one.volume.get_geometry(),
            result.source,
            reader(one.volume, analysed_voxels(result)),
            (
                Finding(
                    "map-estimated",
                    f"The {one.quantity.label} map was estimated from series "
                    f"{result.source.series_number} of the same study.",
                    Severity.INFORMATION,
                ),
            ),
        )
        for result in results
        for one in result.maps
        if one.quantity.name == name
    ]


def _constant(name: str, target: hd.VolumeGeometry, settings: CestMtSettings) -> ConditionMap:
    quantity = QUANTITIES[name]
    value = settings.constant(name)
    if value is None:
        raise Refusal(
            f"{name.replace('_', '-')}-map-missing",
            f"the network needs a map of {quantity.label} ({quantity.code.meaning}), and the "
            "study holds none",
            f"Send the series that gives it, or set pipelines.cest_mt.{name} to a constant in "
            f"{quantity.unit.value}.",
        )
    shape = target.spatial_shape
    return ConditionMap(
        np.broadcast_to(np.float32(value), shape),
        np.broadcast_to(np.True_, shape),
        constant=value,
        findings=(
            Finding(
                f"{name.replace('_', '-')}-map-missing",
                f"No {quantity.label} map: {amount(value, quantity)} is assumed everywhere.",
            ),
        ),
    )
