"""Small pictures of the maps in a result folder, in the colours and windows of the results."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image

from operators.results.colour_scale import colour_map, shown_number, shown_unit
from operators.vocabulary.quantity import QUANTITIES, Quantity

#: Kind of output that is shown.
KIND = "parametric map"
_LARGEST_SIDE = 320
_SMALLEST_SIDE = 160
_KEPT = 256


@dataclass(frozen=True)
class Preview:
    """One map.

    Attributes:
        number: of the output in ``result.json``.
        label: of the quantity.
        meaning: full name of the quantity.
        window: lowest and highest value shown, with the unit.
        group: what the output belongs to (its folder).
    """

    number: int
    label: str
    meaning: str
    window: str
    group: str


def window_text(file: Path, quantity: Quantity) -> str:
    """The window and unit in which a map is shown, such as ``0 to 3.00 10⁻³ mm²/s``."""
    low, high = window_of(file, file.stat().st_mtime_ns, quantity.name)
    factor, unit = shown_unit(quantity)
    largest = max(abs(low), abs(high)) * factor or 1.0
    numbers = [shown_number(value * factor, largest) for value in (low, high)]
    return f"{numbers[0]} to {numbers[1]} {unit}".strip()


def picture(file: Path, quantity: Quantity) -> bytes:
    """PNG of the middle slice of a Parametric Map.

    Args:
        file: the map; float pixels.
        quantity: of its values.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no float map.
    """
    return _picture(file, file.stat().st_mtime_ns, quantity.name)


@lru_cache(maxsize=_KEPT)
def window_of(file: Path, changed: int, quantity: str) -> tuple[float, float]:
    """The window of a map: that of the quantity, or of the values where their scale is free."""
    known = QUANTITIES[quantity]
    if not known.arbitrary_scale:
        return known.window
    _, frames = _frames(file)
    inside = frames[frames != 0]
    high = float(np.percentile(inside, 99)) if inside.size else known.window[1]
    return 0.0, max(high, float(np.finfo(np.float32).tiny))


@lru_cache(maxsize=_KEPT)
def _picture(file: Path, changed: int, quantity: str) -> bytes:
    known = QUANTITIES[quantity]
    low, high = window_of(file, changed, quantity)
    data_set, frames = _frames(file)
    values = frames[len(frames) // 2]
    shares = np.clip((values - low) / (high - low), 0, 1)
    colours = colour_map(known, (low, high))(shares, bytes=True)[..., :3]
    image = Image.fromarray(np.ascontiguousarray(colours))
    rows, columns = _spacing(data_set)
    width, height = image.width * columns, image.height * rows
    scale = min(_LARGEST_SIDE / max(width, height), max(1.0, _SMALLEST_SIDE / min(width, height)))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    written = io.BytesIO()
    image.resize(size, Image.Resampling.NEAREST).save(written, "PNG")
    return written.getvalue()


def _frames(file: Path) -> tuple[pydicom.Dataset, np.ndarray]:
    data_set = pydicom.dcmread(file)
    if "FloatPixelData" not in data_set:
        raise ValueError(f"{file.name} holds no float pixels")
    values = np.frombuffer(data_set.FloatPixelData, "<f4")
    return data_set, values.reshape(-1, int(data_set.Rows), int(data_set.Columns))


def _spacing(data_set: pydicom.Dataset) -> tuple[float, float]:
    measures = data_set.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    row, column = map(float, measures.PixelSpacing)
    return row, column
