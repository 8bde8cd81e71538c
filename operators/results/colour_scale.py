"""How values become colours and text: colour maps, units, numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from operators.vocabulary.quantity import Quantity

if TYPE_CHECKING:
    from matplotlib.colors import Colormap

# Relaxation times span decades: equal steps of colour stand for equal relative change.
_LOGARITHMIC = ("lipari", "navia")
_UNIT_TEXT = {
    "1": (1.0, ""),
    "%": (1.0, "%"),
    "/s": (1.0, "s⁻¹"),
    "ms": (1.0, "ms"),
    "s": (1.0, "s"),
    "Hz": (1.0, "Hz"),
    "[ppm]": (1.0, "ppm"),
    "mm2/s": (1e3, "10⁻³ mm²/s"),
    "um2/s": (1.0, "µm²/s"),
    "mmol/L": (1.0, "mmol/L"),
}


def shown_unit(quantity: Quantity) -> tuple[float, str]:
    """(factor, text): values times the factor are shown with this unit."""
    unit = quantity.unit.value
    return _UNIT_TEXT.get(unit, (1.0, unit))


def shown_number(value: float, largest: float) -> str:
    """A value with as many decimals as give ``largest`` three digits."""
    decimals = max(0, 2 - math.floor(math.log10(largest)))
    return f"{value:.{decimals}f}".replace("-", "−")


def shown_label(label: str) -> str:
    """A label with its subscript set as such: ``f_ss SD`` becomes f with index ss, SD."""
    symbol, _, rest = label.partition(" ")
    name, underscore, index = symbol.partition("_")
    if not underscore:
        return label
    return rf"$\mathbf{{{name}}}_{{\mathbf{{{index}}}}}$ {rest}".strip()


def colour_map(quantity: Quantity, window: tuple[float, float]) -> Colormap:
    """The colour map of a quantity over a window.

    Lipari and Navia are applied as recommended for relaxation times, on a logarithmic scale
    (Fuderer et al., Magn Reson Med 93:490, 2025, doi:10.1002/mrm.30290).
    """
    import cmcrameri.cm as scientific
    import matplotlib
    from matplotlib.colors import ListedColormap

    name = quantity.colour_map
    chosen = getattr(scientific, name, None) or matplotlib.colormaps[name]
    if name not in _LOGARITHMIC:
        return chosen
    positions = (np.arange(chosen.N) + 0.5) / chosen.N
    values = window[0] + positions * (window[1] - window[0])
    return ListedColormap(chosen(log_like(values, window)), name=f"{name}-logarithmic")


def log_like(values: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Place of values on the colour scale: linear up to 1/e of the upper end, then logarithmic.

    The two parts join with equal value and slope, 0 at the lower end and 1 at the upper one
    (doi:10.1002/mrm.30290, "logarithm-processed" scale).

    Args:
        values: within the window.
        window: (lowest, highest) value shown; the highest is positive.
    """
    low, high = window
    knee = max(high / math.e, low)
    # Slopes at the knee: linear share / (knee - low) equals logarithmic share / knee, as
    # log(high / knee) = 1 there; a window that starts above the knee is all logarithmic.
    linear_share = (knee - low) / (2 * knee - low) if knee > low else 0.0
    linear = linear_share * (values - low) / max(knee - low, np.finfo(float).tiny)
    span = math.log(high / knee)
    logarithmic = linear_share + (1 - linear_share) * (
        np.log(np.maximum(values, knee) / knee) / span
    )
    return np.clip(np.where(values < knee, linear, logarithmic), 0.0, 1.0)
