"""Frames: every plane of pixels of a series, whether classic, Enhanced or a tile of a mosaic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from operators.ingest import mosaic
from operators.ingest.elements import GE_IMAGE_COMPONENT
from operators.ingest.header import Header, HeaderValueError
from operators.ingest.study import MULTI_FRAME, StoredImage, StoredSeries

MAGNITUDE, PHASE, REAL, IMAGINARY = "MAGNITUDE", "PHASE", "REAL", "IMAGINARY"

_COMPONENTS = {
    **dict.fromkeys(("M", "MAGNITUDE", "M_FFE", "M_SE", "M_IR", "M_PCA"), MAGNITUDE),
    **dict.fromkeys(("P", "PHASE", "PHASE MAP", "P_FFE", "P_SE", "PHASE_CONTRAST_P"), PHASE),
    **dict.fromkeys(("R", "REAL", "R_FFE", "R_SE", "R_IR"), REAL),
    **dict.fromkeys(("I", "IMAGINARY", "I_FFE", "I_SE"), IMAGINARY),
}
"""Tokens of Image Type or Frame Type by which vendors tell the component of the signal."""

_HIGHEST_MEGAHERTZ = 10_000
_GE_COMPONENTS = (MAGNITUDE, PHASE, REAL, IMAGINARY)


@dataclass(frozen=True, slots=True)
class Frame:
    """One plane of pixels.

    Attributes:
        image: index of its image in the series.
        index: its number among the frames of the file, from 0.
        corner: (row, column) of its first pixel in that frame; (0, 0) unless it is a tile.
        rows, columns: its size.
        position: (3,) LPS mm of the centre of its first pixel.
        orientation: (6,) row and column cosines, LPS.
        spacing: (between rows, between columns) in mm.
        header: what is said of it, by its file or by its functional groups.
    """

    image: int
    index: int
    corner: tuple[int, int]
    rows: int
    columns: int
    position: np.ndarray
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    header: Header


def frames_of(series: StoredSeries) -> tuple[Frame, ...]:
    """Every frame of ``series``, in stored order.

    Raises:
        HeaderValueError: a frame does not say where it lies.
    """
    frames: list[Frame] = []
    for number, image in enumerate(series.images):
        if image.sop_class_uid in MULTI_FRAME:
            frames.extend(_functional_groups(number, image))
            continue
        tiles = mosaic.tiles_of(image.header, image.pixels.rows, image.pixels.columns)
        if tiles is None:
            header, pixels = image.header, image.pixels
            position = np.array(_plane(header, "ImagePositionPatient", 3))
            frames.append(_frame(number, 0, (0, 0), pixels.rows, pixels.columns, position, header))
        else:
            frames.extend(
                _frame(number, 0, tile.corner, tile.rows, tile.columns, tile.position, image.header)
                for tile in tiles
            )
    return tuple(frames)


def _functional_groups(number: int, image: StoredImage) -> list[Frame]:
    """Frames of an image that is described by functional groups (PS3.3 C.7.6.16)."""
    shared = image.header.flattened(*image.header.items("SharedFunctionalGroupsSequence")[:1])
    frames = []
    groups = image.header.items("PerFrameFunctionalGroupsSequence")
    for index, group in enumerate(groups):
        header = shared.flattened(group)
        position = np.array(_plane(header, "ImagePositionPatient", 3))
        rows, columns = image.pixels.rows, image.pixels.columns
        frames.append(_frame(number, index, (0, 0), rows, columns, position, header))
    return frames


def _frame(
    number: int,
    index: int,
    corner: tuple[int, int],
    rows: int,
    columns: int,
    position: np.ndarray,
    header: Header,
) -> Frame:
    orientation = _plane(header, "ImageOrientationPatient", 6)
    spacing = _plane(header, "PixelSpacing", 2)
    return Frame(number, index, corner, rows, columns, position, orientation, spacing, header)


def _plane(header: Header, keyword: str, length: int) -> tuple[float, ...]:
    values = header.vector(keyword, length)
    if values is None:
        raise HeaderValueError(f"a frame has no {keyword}")
    return values


def rescale_of(header: Header) -> tuple[float, float]:
    """Rescale Slope and Intercept (PS3.3 C.11.1); 1 and 0 where absent.

    Raises:
        HeaderValueError: the slope is zero.
    """
    slope = header.number("RescaleSlope")
    intercept = header.number("RescaleIntercept")
    if slope == 0:
        raise HeaderValueError("RescaleSlope (0028,1053) is zero")
    return 1.0 if slope is None else slope, intercept or 0.0


def component_of(header: Header) -> str:
    """Which component of the complex signal a frame shows; "" where nothing says it."""
    component = header.text("ComplexImageComponent").upper()
    if component in _COMPONENTS.values():
        return component
    tokens = (header.tokens("FrameType") or header.tokens("ImageType"))[2:]
    for token in tokens:
        if token in _COMPONENTS:
            return _COMPONENTS[token]
    number = header.number(GE_IMAGE_COMPONENT)
    return _GE_COMPONENTS[int(number)] if number in (0, 1, 2, 3) else ""


def echo_time_of(header: Header) -> float | None:
    """Effective Echo Time (0018,9082) or Echo Time (0018,0081) in ms, or None."""
    effective = header.number("EffectiveEchoTime")
    return header.number("EchoTime") if effective is None else effective


def inversion_time_of(header: Header) -> float | None:
    """Inversion Times (0018,9079) or Inversion Time (0018,0082) in ms, or None."""
    times = header.numbers("InversionTimes")
    return times[0] if times else header.number("InversionTime")


def imaging_frequency_of(header: Header) -> float | None:
    """Imaging Frequency (0018,0084) or Transmitter Frequency (0018,9098) in MHz, or None.

    UIH writes it in Hz (seen: uMR 770).
    """
    frequency = header.number("ImagingFrequency") or header.number("TransmitterFrequency")
    return frequency / 1e6 if frequency and frequency > _HIGHEST_MEGAHERTZ else frequency


def temporal_position_of(header: Header) -> int:
    """Temporal Position Index (0020,9128) or Identifier (0020,0100); 0 where absent."""
    index = header.number("TemporalPositionIndex")
    if index is None:
        index = header.number("TemporalPositionIdentifier")
    return 0 if index is None else int(index)
