"""Numbers with their units, as findings and refusals say them."""

from __future__ import annotations

from collections.abc import Iterable

from operators.vocabulary.quantity import Quantity

# UCUM codes that people write otherwise.
_SPOKEN = {"1": "", "[ppm]": "ppm"}


def amount(value: float, quantity: Quantity) -> str:
    """``value`` with the unit of ``quantity``: "1084 ms", "0.3 ppm", "1"."""
    unit = _SPOKEN.get(quantity.unit.value, quantity.unit.value)
    return f"{value:.4g} {unit}".rstrip()


def span(low: float, high: float, quantity: Quantity) -> str:
    """A range with the unit of ``quantity``: "0 to 30 %"."""
    return f"{low:.4g} to {amount(high, quantity)}"


def lengths(values: Iterable[float]) -> str:
    """Lengths of several axes: "3 × 1 × 1 mm"."""
    return " × ".join(f"{value:.3g}" for value in values) + " mm"
