"""The window in which a map is shown and the step with which its viewable copy counts."""

from __future__ import annotations

import math

import numpy as np
from highdicom.content import VOILUTTransformation
from highdicom.enum import VOILUTFunctionValues

from operators.vocabulary.quantity import QuantityMap

STORED_LEVELS = 4096  # twelve bits: consoles and old viewers saturate above
_BRIGHT_PERCENTILE = 99.5


def display_window(quantity_map: QuantityMap) -> tuple[float, float]:
    """(lowest, highest) value shown, in the unit of the quantity; one for all slices.

    A quantity of arbitrary scale, such as a signal, is shown up to its 99.5th percentile
    over the analysed voxels, rounded up to two digits.
    """
    low, high = quantity_map.quantity.window
    if quantity_map.quantity.arbitrary_scale:
        values = quantity_map.volume.array
        analysed = values[values != quantity_map.background]
        bright = float(np.percentile(analysed, _BRIGHT_PERCENTILE)) if analysed.size else 0.0
        if bright > low:
            digit = 10.0 ** (math.floor(math.log10(bright - low)) - 1)
            high = low + math.ceil((bright - low) / digit) * digit
    return float(low), float(high)


def stored_step(quantity_map: QuantityMap) -> float:
    """Value of one stored unit of the viewable copy, in the unit of the quantity.

    The quantity's own step; for a quantity of arbitrary scale, that times the least power of
    ten with which every value fits in twelve bits.
    """
    step = quantity_map.quantity.viewer_step
    if quantity_map.quantity.arbitrary_scale:
        largest = float(np.abs(quantity_map.volume.array).max(initial=0.0))
        while largest > (STORED_LEVELS - 1) * step:
            step *= 10
    return step


def voi_lut(window: tuple[float, float]) -> VOILUTTransformation:
    """The window as VOI LUT LINEAR_EXACT, which alone allows widths below 1 (C.11.2.1.3)."""
    low, high = window
    return VOILUTTransformation(
        window_center=(low + high) / 2,
        window_width=high - low,
        voi_lut_function=VOILUTFunctionValues.LINEAR_EXACT,
    )
