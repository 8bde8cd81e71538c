"""Saturation schedules of configured protocols, checked against the series that names them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from models.cest_mt.schedule import SaturationSchedule, load_schedule
from operators.ingest.frames import Frame
from operators.vocabulary.refusal import Refusal

_SAME_SETTING = 0.01
"""Relative difference between protocol and header that is put down to rounding."""
_SAME_FIELD = 0.05
"""A magnet of "3 T" has 2.89 T at one vendor and 3.0 T at others."""


@lru_cache(maxsize=32)
def _load(protocol: str) -> SaturationSchedule:
    return load_schedule(protocol)


def schedule_of(protocol: str, volumes: Sequence[Sequence[Frame]]) -> SaturationSchedule:
    """The schedule of ``protocol``, once the series is found to agree with it.

    No vendor writes saturation to DICOM, so a rule of the configuration names the protocol,
    and everything else that the protocol states is compared with the headers.

    Args:
        protocol: name of a protocol of the project, or path of a .yaml or .seq file.
        volumes: frames of each volume, in acquisition order.

    Raises:
        Refusal: the protocol cannot be read, or does not fit the series.
    """
    try:
        schedule = _load(protocol)
    except (OSError, ValueError) as error:
        raise Refusal(
            "unusable-saturation-protocol",
            f"the saturation protocol of this series cannot be read: {error}",
            "Correct the file, or the rule that names it.",
        ) from error
    remedy = "Name the protocol that was run, or acquire with the one that is named."
    if schedule.number_of_images != len(volumes):
        raise Refusal(
            "saturation-protocol-mismatch",
            f"protocol '{schedule.name}' has {schedule.number_of_images} images, the series "
            f"{len(volumes)} volumes",
            remedy,
        )
    header = volumes[0][0].header
    checks = schedule.checks
    for name, unit, expected, keyword, tolerance in (
        ("repetition time", "ms", checks.repetition_time, "RepetitionTime", _SAME_SETTING),
        ("flip angle", "°", checks.flip_angle, "FlipAngle", _SAME_SETTING),
        ("field strength", "T", checks.field_strength, "MagneticFieldStrength", _SAME_FIELD),
    ):
        if expected is None:
            continue
        found = header.number(keyword)
        if found is None or abs(found - expected) > tolerance * abs(expected):
            shown = "not stated" if found is None else f"{found:g} {unit}"
            raise Refusal(
                "saturation-protocol-mismatch",
                f"protocol '{schedule.name}' has a {name} of {expected:g} {unit}, in the series "
                f"it is {shown}",
                remedy,
            )
    _check_order(volumes)
    return schedule


def _check_order(volumes: Sequence[Sequence[Frame]]) -> None:
    """Refuse volumes of which the acquisition times contradict their order."""
    for keywords in (
        ("FrameAcquisitionDateTime",),
        ("AcquisitionDateTime",),
        ("AcquisitionDate", "AcquisitionTime"),
    ):
        texts = [
            ["".join(frame.header.text(keyword) for keyword in keywords) for frame in volume]
            for volume in volumes
        ]
        if not all(text for volume in texts for text in volume):
            continue
        earliest = [min(volume) for volume in texts]
        if earliest != sorted(earliest):
            raise Refusal(
                "contradictory-acquisition-order",
                f"the volumes ordered by temporal position, acquisition and instance number are "
                f"not in the order of their {keywords[-1]}",
                "Send the series as the scanner numbered it.",
            )
        return
