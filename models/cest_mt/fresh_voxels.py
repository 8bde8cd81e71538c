"""Voxels that are exchanged for newly simulated ones while a network is trained on them."""

from __future__ import annotations

from collections.abc import Callable

import torch

from models.cest_mt.specification import NetworkSpecification
from models.cest_mt.training_set import VoxelSet, draw_values, simulate_values


class FreshVoxels:
    """A set of simulated voxels of which one part after the other is drawn anew.

    Which voxels it holds depends on the training step alone, so that a run that was interrupted
    goes on with the same ones.

    Args:
        specification: of the network that is trained.
        parts: how many parts there are.
        size: voxels of a part.
        every: steps after which the oldest part is exchanged.
        seed: of the first part; each further one has the next.
        device: where they are simulated and kept.
        first_stage: specification of an earlier stage for which the same voxels are simulated,
            too, or None.
        progress: told the share of the first voxels that is there.

    Attributes:
        voxels: the voxels; changes in place.
        first_signal: (voxels, images) noise-free signal in the protocol of ``first_stage``.
    """

    def __init__(
        self,
        specification: NetworkSpecification,
        parts: int,
        size: int,
        every: int,
        seed: int,
        device: torch.device | str,
        first_stage: NetworkSpecification | None = None,
        progress: Callable[[float], None] = lambda done: None,
    ) -> None:
        self._specification = specification
        self._first_stage = first_stage
        self._size, self._every, self._seed = size, every, seed
        self._held: list[int | None] = [None] * parts
        count = parts * size
        self.voxels = VoxelSet(
            torch.empty(count, len(specification.varied), device=device),
            torch.empty(count, specification.images, device=device),
        )
        images = 0 if first_stage is None else first_stage.images
        self.first_signal = torch.empty(count, images, device=device)
        self._progress = progress
        self.at(0)

    def at(self, step: int) -> None:
        """Brings the voxels to what they are at a training step."""
        parts = len(self._held)
        newest = parts - 1 + step // self._every
        for place in range(parts):
            wanted = newest - (newest - place) % parts
            if self._held[place] != wanted:
                self._fill(place, wanted)
                if step == 0:
                    self._progress((place + 1) / parts)

    def _fill(self, place: int, number: int) -> None:
        rows = slice(place * self._size, (place + 1) * self._size)
        values = draw_values(self._specification, self._size, self._seed + number)
        values = values.to(self.voxels.values.device)
        self.voxels.values[rows] = values
        self.voxels.signal[rows] = simulate_values(self._specification, values)
        if self._first_stage is not None:
            names = [quantity.name for quantity in self._specification.varied]
            columns = [names.index(quantity.name) for quantity in self._first_stage.varied]
            self.first_signal[rows] = simulate_values(self._first_stage, values[:, columns])
        self._held[place] = number
