"""Units in which scanners state maps, and the factors between them (UCUM codes)."""

from __future__ import annotations

UNITS: dict[str, tuple[str, float]] = {
    "s": ("time", 1.0),
    "ms": ("time", 1e-3),
    "us": ("time", 1e-6),
    "mm2/s": ("diffusivity", 1.0),
    "um2/s": ("diffusivity", 1e-6),
    "um2/ms": ("diffusivity", 1e-3),
    "10-3.mm2/s": ("diffusivity", 1e-3),
    "10-6.mm2/s": ("diffusivity", 1e-6),
    "1": ("ratio", 1.0),
    "10-3": ("ratio", 1e-3),
    "%": ("ratio", 1e-2),
    "/s": ("rate", 1.0),
    "1/s": ("rate", 1.0),
    "/ms": ("rate", 1e3),
    "[ppm]": ("relative frequency", 1.0),
    "Hz": ("frequency", 1.0),
}
"""UCUM code -> (dimension, size in the unit of the dimension)."""


def conversion_factor(given: str, wanted: str, imaging_frequency: float | None = None) -> float:
    """Factor that turns values in unit ``given`` into values in unit ``wanted``.

    Args:
        given: UCUM code of the values at hand.
        wanted: UCUM code of the quantity.
        imaging_frequency: Imaging Frequency (0018,0084) in MHz; needed from Hz to ppm.

    Raises:
        ValueError: a unit is unknown, or they measure different things.
    """
    for unit in (given, wanted):
        if unit not in UNITS:
            raise ValueError(f"unit '{unit}' is unknown; known are {', '.join(UNITS)}")
    (given_dimension, given_size), (wanted_dimension, wanted_size) = UNITS[given], UNITS[wanted]
    if given_dimension == wanted_dimension:
        return given_size / wanted_size
    if (given_dimension, wanted_dimension) == ("frequency", "relative frequency"):
        if not imaging_frequency:
            raise ValueError("values in Hz need Imaging Frequency (0018,0084) to become ppm")
        return given_size / wanted_size / imaging_frequency
    raise ValueError(f"values in '{given}' cannot become '{wanted}'")
