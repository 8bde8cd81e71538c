"""How much of each voxel a tissue fills, what that adds up to, and what values are usual."""

from __future__ import annotations

from dataclasses import dataclass

import highdicom as hd
import numpy as np
from pydicom.sr.coding import Code

MILLILITRE = Code("ml", "UCUM", "milliliter")


@dataclass(frozen=True)
class TissueFraction:
    """Share of each voxel that one tissue fills (partial volume).

    Attributes:
        name: Segment Label.
        category: segmented property category (SCT).
        type: segmented property type (SCT).
        volume: float32 0 to 1, (slices, rows, columns), LPS affine in mm.
    """

    name: str
    category: Code
    type: Code
    volume: hd.Volume

    @property
    def millilitres(self) -> float:
        """Volume of the tissue: fractions added up, so that mixed voxels count in part."""
        total = float(self.volume.array.sum(dtype=np.float64))
        return total * float(self.volume.voxel_volume) / 1000


@dataclass(frozen=True)
class RegionValue:
    """One number that describes a region as a whole.

    Attributes:
        segment: name of the segment that it belongs to.
        name: what it is.
        value: its value.
        unit: UCUM unit.
    """

    segment: str
    name: Code
    value: float
    unit: Code


@dataclass(frozen=True)
class TissueValue:
    """Median of one map in one tissue, and the values that are usual there.

    Attributes:
        tissue: name of the tissue.
        quantity: name of the quantity.
        median: over voxels that the tissue fills nearly alone, in the unit of the quantity.
        low: lowest usual value.
        high: highest usual value.
    """

    tissue: str
    quantity: str
    median: float
    low: float
    high: float

    @property
    def usual(self) -> bool:
        """Whether the median is a usual value."""
        return self.low <= self.median <= self.high
