"""Whether the signals of a series can be compared: one echo time, one scale, one component."""

from __future__ import annotations

from collections.abc import Sequence

from operators.ingest.elements import PHILIPS_SCALE_SLOPE
from operators.ingest.frames import MAGNITUDE, Frame, component_of, echo_time_of
from operators.vocabulary.finding import Finding, Severity
from operators.vocabulary.refusal import Refusal

_SAME_ECHO_TIME = 0.1
_SAME_SCALE = 1e-3


def originals(frames: Sequence[Frame]) -> tuple[list[Frame], list[Finding]]:
    """The frames without those that the scanner derived from others of the same series."""
    derived = [_image_type(frame)[:1] == ("DERIVED",) for frame in frames]
    if all(derived) or not any(derived):
        return list(frames), []
    kept = [frame for frame, is_derived in zip(frames, derived, strict=True) if not is_derived]
    finding = Finding(
        "derived-images-dropped",
        f"{sum(derived)} of {len(frames)} images are derived by the scanner and were not used",
        Severity.INFORMATION,
    )
    return kept, [finding]


def _image_type(frame: Frame) -> tuple[str, ...]:
    return frame.header.tokens("FrameType") or frame.header.tokens("ImageType")


def magnitudes(frames: Sequence[Frame]) -> tuple[list[Frame], list[Finding]]:
    """The magnitude frames, where a series holds phase, real or imaginary ones beside them."""
    components = [component_of(frame.header) for frame in frames]
    others = sum(component not in (MAGNITUDE, "") for component in components)
    if others in (0, len(frames)):
        return list(frames), []
    kept = [
        frame
        for frame, component in zip(frames, components, strict=True)
        if component in (MAGNITUDE, "")
    ]
    finding = Finding(
        "phase-images-dropped",
        f"{others} of {len(frames)} images are phase, real or imaginary and were not used",
        Severity.INFORMATION,
    )
    return kept, [finding]


def check_one_scale(frames: Sequence[Frame]) -> None:
    """Refuse frames of which the signals cannot be compared with each other.

    Rescaled values are comparable as long as all images are rescaled to one scale. Philips
    states its scale as Rescale Slope × Scale Slope (2005,100E), which must be one
    (doi 10.1593/tlo.13811).

    Raises:
        Refusal: mixed echo times or mixed scaling.
    """
    times = {echo_time_of(frame.header) for frame in frames} - {None}
    known = sorted(time for time in times if time is not None)
    if known and known[-1] - known[0] > _SAME_ECHO_TIME:
        raise Refusal(
            "mixed-echo-times",
            f"echo times range from {known[0]:g} to {known[-1]:g} ms",
            "Send images of one echo time as one series.",
        )
    remedy = "Send the series as the scanner stored it, not merged from several."
    slopes = [frame.header.number("RescaleSlope") for frame in frames]
    without = sum(slope is None for slope in slopes)
    if without not in (0, len(frames)):
        raise Refusal(
            "mixed-scaling", f"{without} of {len(frames)} images have no Rescale Slope", remedy
        )
    types = {frame.header.text("RescaleType") for frame in frames}
    if len(types) > 1:
        shown = ", ".join(sorted(f"'{text}'" for text in types))
        raise Refusal("mixed-scaling", f"Rescale Type differs between images: {shown}", remedy)
    scales = [
        slope * scale
        for slope, scale in (
            (slope, frame.header.number(PHILIPS_SCALE_SLOPE))
            for slope, frame in zip(slopes, frames, strict=True)
        )
        if slope is not None and scale is not None
    ]
    if scales and max(scales) - min(scales) > _SAME_SCALE * max(scales):
        raise Refusal(
            "mixed-scaling",
            f"the Philips scale (Rescale Slope × Scale Slope) ranges from {min(scales):.4g} to "
            f"{max(scales):.4g}",
            remedy,
        )
