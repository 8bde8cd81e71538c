"""What a phantom must give: a value of a quantity in a region, within a tolerance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import highdicom as hd
import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.settings_file import read_settings
from operators.ingest.settings import QuantityName


def _finite(values: tuple[float, float, float]) -> tuple[float, float, float]:
    if not np.isfinite(values).all():
        raise ValueError("must be three finite numbers")
    return values


class Ball(BaseModel):
    """A ball in the phantom and what a map must hold there.

    Attributes:
        name: of the region, for the report.
        quantity: name of the quantity, as in ``result.json``.
        centre: patient coordinates (LPS), mm.
        radius: mm.
        value: the median that is expected, in the unit of the quantity.
        tolerance: largest deviation of the median that is accepted, in the same unit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    quantity: QuantityName
    centre: Annotated[tuple[float, float, float], AfterValidator(_finite)]
    radius: float = Field(gt=0)
    value: float
    tolerance: float = Field(gt=0)


class ExpectedValues(BaseModel):
    """A phantom's expected values: the file that a site writes for its own phantom.

    Attributes:
        phantom: what it is, for the report.
        regions: what must be found.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    phantom: str
    regions: tuple[Ball, ...] = Field(min_length=1)


def read_expected_values(file: Path) -> ExpectedValues:
    """Read and check a site's file.

    Raises:
        ConfigurationError: naming every problem with its line.
    """
    return read_settings(ExpectedValues, file)


@dataclass(frozen=True)
class Expectation:
    """One line of the acceptance.

    Attributes:
        region: name.
        quantity: name of the quantity.
        inside: uint8 volume, 1 inside the region.
        value: expected median, in the unit of the quantity.
        tolerance: largest accepted deviation, in the same unit.
    """

    region: str
    quantity: str
    inside: hd.Volume
    value: float
    tolerance: float


def ball_on(grid: hd.Volume, ball: Ball) -> Expectation:
    """The voxels of a map whose centres lie in a ball.

    Raises:
        ValueError: no voxel does.
    """
    indices = np.indices(grid.spatial_shape).reshape(3, -1).T
    centres = indices @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    inside = np.linalg.norm(centres - np.array(ball.centre), axis=1) <= ball.radius
    if not inside.any():
        raise ValueError(
            f"region {ball.name}: no voxel of the {ball.quantity} map lies within {ball.radius} mm "
            f"of {ball.centre}; give patient coordinates (LPS) in mm"
        )
    volume = grid.with_array(inside.reshape(grid.spatial_shape).astype(np.uint8))
    return Expectation(ball.name, ball.quantity, volume, ball.value, ball.tolerance)
