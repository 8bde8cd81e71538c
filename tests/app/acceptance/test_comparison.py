"""Acceptance: a right value passes; a wrong unit, place, frame or missing map does not."""

import highdicom as hd
import numpy as np
import pytest

from app.acceptance.comparison import compare
from app.acceptance.expectation import Ball, Expectation, read_expected_values
from app.settings_file import ConfigurationError

AFFINE = np.array([[0, 0, 2.0, -20], [0, 2, 0, -30], [3, 0, 0, 5], [0, 0, 0, 1]])


@pytest.fixture
def t1() -> hd.Volume:
    """T1 of 1000 ms, and 1500 ms in a cube around (0, -10, 20) mm."""
    values = np.full((10, 20, 20), 1000, np.float32)
    values[3:8, 8:13, 8:13] = 1500
    return hd.Volume(array=values, affine=AFFINE, coordinate_system="PATIENT")


def ball(**changes) -> Ball:
    given = {
        "name": "vial",
        "quantity": "t1",
        "centre": (0, -10, 20),
        "radius": 4,
        "value": 1490,
        "tolerance": 20,
    }
    return Ball(**(given | changes))


def test_a_ball_is_measured_in_patient_coordinates(t1):
    (line,) = compare({"t1": t1}, [ball()])
    assert line.passed
    assert line.measured == 1500
    assert line.unit == "ms"
    assert line.voxels > 10


def test_the_grid_may_be_stored_in_any_order(t1):
    flipped = t1.flip_spatial([0, 2])
    assert compare({"t1": flipped}, [ball()]) == compare({"t1": t1}, [ball()])


@pytest.mark.parametrize(
    "changes", [{"value": 1.5}, {"centre": (10, 5, 20)}, {"tolerance": 5}, {"quantity": "t2"}]
)
def test_a_wrong_unit_place_or_value_and_a_missing_map_fail(t1, changes):
    (line,) = compare({"t1": t1}, [ball(**changes)])
    assert not line.passed


def test_a_ball_outside_the_map_is_an_error(t1):
    with pytest.raises(ValueError, match="no voxel of the t1 map"):
        compare({"t1": t1}, [ball(centre=(500, 0, 0))])


def test_a_region_on_another_order_of_the_same_grid_is_matched(t1):
    inside = t1.with_array((t1.array > 1200).astype(np.uint8))
    expectation = Expectation("cube", "t1", inside.flip_spatial(1), 1500, 1)
    (line,) = compare({"t1": t1}, [expectation])
    assert line.passed
    assert line.voxels == 125


def test_a_sites_file_is_read_and_its_errors_are_named(tmp_path):
    file = tmp_path / "expected.yaml"
    file.write_text(
        "phantom: vials\nregions:\n"
        "  - {name: a, quantity: t1, centre: [0, -10, 20], radius: 4, value: 1500, tolerance: 9}\n"
    )
    assert read_expected_values(file).regions[0].value == 1500
    file.write_text(file.read_text().replace("quantity: t1", "quantity: T1 time"))
    with pytest.raises(ConfigurationError, match="not a quantity"):
        read_expected_values(file)
