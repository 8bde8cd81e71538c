"""What training slabs are made of, in one file that can be carried to another machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Inputs:
    """What training slabs are made of.

    Attributes:
        anatomies: uint8 (3, x, y, z) of each head on a 1 mm grid: fractions of grey matter, white
            matter and brain, 255 is all.
        real: float16 (8, slices, rows, columns) of each real series: DTI channels, zero outside
            the brain, and the brain.
        voxels: (3,) size of its voxels along slices, rows and columns, mm.
    """

    anatomies: list[np.ndarray]
    real: list[np.ndarray]
    voxels: list[np.ndarray]

    def save(self, path: Path) -> None:
        """Write one compressed file."""
        arrays: dict[str, Any] = {f"anatomy{i}": one for i, one in enumerate(self.anatomies)}
        arrays |= {f"real{i}": one for i, one in enumerate(self.real)}
        arrays |= {f"voxel{i}": one for i, one in enumerate(self.voxels)}
        np.savez_compressed(path, **arrays)

    @classmethod
    def load(cls, path: Path) -> Inputs:
        """Read what :meth:`save` wrote."""
        with np.load(path) as found:
            groups = [
                [found[name] for name in found.files if name.startswith(kind)]
                for kind in ("anatomy", "real", "voxel")
            ]
        return cls(*groups)

    def tensors(
        self, device: torch.device | str = "cpu"
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Anatomies as fractions 0 to 1, real maps and voxels, float32 on a device."""

        def on_device(arrays: list[np.ndarray]) -> list[Tensor]:
            return [torch.as_tensor(one, dtype=torch.float32).to(device) for one in arrays]

        anatomies = [one / 255 for one in on_device(self.anatomies)]
        return anatomies, on_device(self.real), on_device(self.voxels)
