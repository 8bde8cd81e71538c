"""Measured values of a result folder beside the expected ones."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import highdicom as hd
import numpy as np
from pydantic import BaseModel, ConfigDict

from app.acceptance.expectation import Ball, Expectation, ball_on
from app.result_file import FILE_NAME, ResultFile
from operators.vocabulary.quantity import QUANTITIES


class AcceptanceLine(BaseModel):
    """One region and quantity.

    Attributes:
        region: name.
        quantity: name of the quantity.
        unit: UCUM.
        voxels: how many lie in the region.
        expected: median that was expected.
        measured: median that was found; None where there is no such map.
        tolerance: largest accepted deviation.
        passed: whether the deviation is accepted.
    """

    model_config = ConfigDict(frozen=True)

    region: str
    quantity: str
    unit: str
    voxels: int
    expected: float
    measured: float | None
    tolerance: float
    passed: bool


def maps_of(folder: Path) -> dict[str, hd.Volume]:
    """The float maps of a result folder, by name of the quantity.

    Raises:
        ValueError: there is no ``result.json``.
    """
    result = ResultFile.read(folder / FILE_NAME)
    if result is None:
        raise ValueError(f"{folder} holds no {FILE_NAME}")
    return {
        output.quantity: hd.imread(folder / output.path).get_volume()
        for output in result.outputs
        if output.kind == "parametric map"
    }


def compare(
    maps: dict[str, hd.Volume], expected: Iterable[Expectation | Ball]
) -> list[AcceptanceLine]:
    """Compare medians over regions.

    Args:
        maps: float volumes by name of the quantity.
        expected: what must be found; a ball is put on the grid of the map.

    Raises:
        ValueError: a ball holds no voxel of its map.
    """
    return [_line(maps.get(one.quantity), one) for one in expected]


def _line(found: hd.Volume | None, wanted: Expectation | Ball) -> AcceptanceLine:
    unit = QUANTITIES[wanted.quantity].unit.value
    if found is None:
        return AcceptanceLine(
            region=wanted.name if isinstance(wanted, Ball) else wanted.region,
            quantity=wanted.quantity,
            unit=unit,
            voxels=0,
            expected=wanted.value,
            measured=None,
            tolerance=wanted.tolerance,
            passed=False,
        )
    one = ball_on(found, wanted) if isinstance(wanted, Ball) else wanted
    inside = one.inside.match_geometry(found).array > 0
    measured = float(np.median(found.array[inside]))
    return AcceptanceLine(
        region=one.region,
        quantity=one.quantity,
        unit=unit,
        voxels=int(np.count_nonzero(inside)),
        expected=one.value,
        measured=measured,
        tolerance=one.tolerance,
        passed=abs(measured - one.value) <= one.tolerance,
    )
