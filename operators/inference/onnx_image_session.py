"""A network on whole slices through ONNX Runtime: one learned step of super-resolution."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from models.superres.network import Evidence
from operators.inference.onnx_network import OnnxNetwork

OUTPUT = "updated_maps"
#: Voxels given to the network at once: four slices of 256 × 256 stay below 1 GB.
TILE_VOXELS = 4 * 256 * 256


class OnnxImageSession(OnnxNetwork):
    """The network of super-resolution; arguments and errors as of :class:`OnnxNetwork`."""

    def step(self, told: Evidence) -> Tensor:
        """One learned step, a few slices at a time.

        Args:
            told: evidence on any number of slices.

        Returns:
            (images, 3, rows, columns) PD, T1 in ms, T2 in ms.
        """
        images, _, rows, columns = told.maps.shape
        tile = max(1, TILE_VOXELS // (rows * columns))
        results = []
        for start in range(0, images, tile):
            inputs = {
                name: np.ascontiguousarray(value[start : start + tile].numpy())
                for name, value in told._asdict().items()
            }
            results.append(torch.from_numpy(self.run(inputs)[OUTPUT]))
        return torch.cat(results)
