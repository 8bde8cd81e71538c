"""The tensor of every voxel in the patient frame, for what follows fibres through it."""

from __future__ import annotations

from dataclasses import dataclass

import highdicom as hd
import numpy as np
import torch

from models.diffusion.scalars import direction_colour
from operators.inference.midsagittal_plane import MidsagittalPlane
from operators.vocabulary.result import PipelineResult


@dataclass(frozen=True)
class TensorField:
    """Tensors on the grid of a series, as its maps show them.

    Attributes:
        tensor: float32 (slices, rows, columns, 6) Dxx, Dyy, Dzz, Dxy, Dxz, Dyz in mm²/s, LPS; 0
            where nothing was fitted.
        principal: float32 (slices, rows, columns, 3) unit vector along the largest eigenvalue,
            LPS; its sign means nothing; 0 where nothing was fitted.
        anisotropy: float32 (slices, rows, columns) FA, 0 to 1.
        mask: boolean (slices, rows, columns): voxels of the brain, or of the body where there is
            none, with usable signal and possible values. Fibres are followed in these only.
        geometry: grid of all, LPS affine in mm.
    """

    tensor: np.ndarray
    principal: np.ndarray
    anisotropy: np.ndarray
    mask: np.ndarray
    geometry: hd.VolumeGeometry

    def colours(self) -> np.ndarray:
        """Colour FA: uint8 (slices, rows, columns, 3), red left-right, green front-back."""
        return direction_colour(
            torch.from_numpy(self.principal), torch.from_numpy(self.anisotropy)
        ).numpy()


@dataclass(frozen=True)
class DiffusionAnalysis:
    """What one diffusion series became.

    Attributes:
        result: maps, segments, findings.
        field: the tensors behind them.
        plane: the plane between the halves of the brain; None where there is none.
    """

    result: PipelineResult
    field: TensorField
    plane: MidsagittalPlane | None = None
