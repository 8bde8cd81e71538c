from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.results.colour_scale import (
    colour_map,
    log_like,
    shown_label,
    shown_number,
    shown_unit,
)
from operators.vocabulary.quantity import QUANTITIES

WINDOWS = st.tuples(st.floats(0, 500), st.floats(1, 3000)).map(lambda w: (w[0], w[0] + w[1]))


@given(WINDOWS)
def test_the_relaxation_scale_rises_from_0_to_1_without_a_kink(
    window: tuple[float, float],
) -> None:
    values = np.linspace(*window, 400)
    place = log_like(values, window)
    assert place[0] == pytest.approx(0, abs=1e-9)
    assert place[-1] == pytest.approx(1)
    steps = np.diff(place)
    assert np.all(steps > 0)
    assert np.all(np.diff(steps) < 1e-6)  # never convex: the slope is continuous and falls


def test_equal_relative_change_is_equal_colour_above_the_knee() -> None:
    window = (0.0, 3000.0)
    first, second, third = log_like(np.array([1200.0, 1800.0, 2700.0]), window)
    assert third - second == pytest.approx(second - first)


@pytest.mark.parametrize("name", QUANTITIES)
def test_every_quantity_has_a_colour_map_of_many_colours(name: str) -> None:
    quantity = QUANTITIES[name]
    colours = colour_map(quantity, quantity.window)(np.linspace(0, 1, 256))
    assert len(np.unique(colours, axis=0)) > 100


@pytest.mark.parametrize("name", [n for n in QUANTITIES if QUANTITIES[n].colour_map != "vik"])
def test_lightness_rises_with_the_value(name: str) -> None:
    quantity = QUANTITIES[name]
    colours = colour_map(quantity, quantity.window)(np.linspace(0, 1, 256))
    linear = np.where(
        colours[:, :3] <= 0.04045, colours[:, :3] / 12.92, ((colours[:, :3] + 0.055) / 1.055) ** 2.4
    )
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    assert np.all(np.diff(luminance) > -2e-3)
    assert luminance[-1] > 10 * luminance[0]


def test_units_and_numbers_are_readable() -> None:
    assert shown_unit(QUANTITIES["mean_diffusivity"]) == (1e3, "10⁻³ mm²/s")
    assert shown_unit(QUANTITIES["t1"]) == (1.0, "ms")
    assert shown_unit(QUANTITIES["fractional_anisotropy"]) == (1.0, "")
    assert shown_number(1234.5, 3000) == "1234"
    assert shown_number(0.2345, 1.0) == "0.23"
    assert shown_number(-0.12, 0.5) == "−0.120"


def test_labels_show_their_index() -> None:
    assert shown_label("FA") == "FA"
    assert shown_label("k_ssw SD").endswith(" SD")
    assert "_{" in shown_label("k_ssw SD")
