"""The protocol of an acquisition as lines of text, for people."""

from __future__ import annotations

import numpy as np

from models.cest_mt.schedule import SaturationSchedule
from operators.vocabulary.acquisition import (
    Acquisition,
    GradientTable,
    MapProtocol,
    WeightedImage,
)


def protocol_table(acquisition: Acquisition) -> tuple[str, ...]:
    """Grid, then one line per volume or parameter, then what was noticed."""
    slices, rows, columns = acquisition.geometry.spatial_shape
    spacing = " × ".join(f"{length:.4g}" for length in acquisition.geometry.spacing)
    lines = [
        f"{slices} slices of {rows} × {columns} pixels, {acquisition.volumes} volumes, "
        f"{spacing} mm (slice, row, column)"
    ]
    lines += _protocol_lines(acquisition)
    lines += [
        f"{finding.severity}: {finding.message} [{finding.code}]"
        for finding in acquisition.findings
    ]
    return tuple(lines)


def _protocol_lines(acquisition: Acquisition) -> list[str]:
    protocol = acquisition.protocol
    if isinstance(protocol, GradientTable):
        return _gradient_lines(protocol)
    if isinstance(protocol, SaturationSchedule):
        return _saturation_lines(protocol)
    if isinstance(protocol, MapProtocol):
        quantity = protocol.quantity
        return [f"{quantity.code.meaning} in {quantity.unit.value}, file × {protocol.scale:g}"]
    return _weighted_lines(protocol)


def _gradient_lines(table: GradientTable) -> list[str]:
    lines = ["volume   b (s/mm²)   direction (LPS)"]
    for index, (b_value, direction) in enumerate(
        zip(table.b_values, table.directions, strict=True), start=1
    ):
        shown = " ".join(f"{part:8.5f}" for part in direction) if direction.any() else "-"
        lines.append(f"{index:6d}  {b_value:10.5g}   {shown}")
    return lines


def _saturation_lines(schedule: SaturationSchedule) -> list[str]:
    lines = [
        f"protocol '{schedule.name}', {schedule.field_strength:g} T",
        "volume   offset (ppm)   B1 (µT)",
    ]
    for index, (offset, b1) in enumerate(zip(schedule.offsets, schedule.b1, strict=True), start=1):
        shown = "-" if np.isnan(offset) else f"{offset:.4g}"
        mark = "   M0" if index - 1 in schedule.m0_images else ""
        lines.append(f"{index:6d}  {shown:>13}  {b1:8.4g}{mark}")
    return lines


def _weighted_lines(protocol: WeightedImage) -> list[str]:
    def stated(value: float | None, unit: str) -> str:
        return "not stated" if value is None or np.isnan(value) else f"{value:g} {unit}"

    echo_times = sorted(set(protocol.echo_times[~np.isnan(protocol.echo_times)].tolist()))
    shown = ", ".join(f"{time:g}" for time in echo_times)
    return [
        f"TR {stated(protocol.repetition_time, 'ms')}, "
        f"TE {shown + ' ms' if shown else 'not stated'}, "
        f"TI {stated(protocol.inversion_time, 'ms')}, "
        f"flip angle {stated(protocol.flip_angle, '°')}, "
        f"sequence {'/'.join(protocol.scanning_sequence) or 'not stated'}"
    ]
