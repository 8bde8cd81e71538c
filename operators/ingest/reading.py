"""Reads the pixels of an assembled series into one float32 array."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from operators.ingest.pixels import UndecodablePixelsError, read_frames
from operators.ingest.study import StoredImage
from operators.vocabulary.refusal import Refusal


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the pixels of one frame go, and what they are worth.

    Attributes:
        frame: number of the frame in its file.
        corner: (row, column) of the first pixel in that frame.
        slice, volume: where it goes.
        slope, intercept: value = slope · stored + intercept.
    """

    frame: int
    corner: tuple[int, int]
    slice: int
    volume: int
    slope: float
    intercept: float


class PixelReader:
    """Reads a series: what an Acquisition calls when its pixels are asked for.

    Args:
        images: of the series.
        placements: for each image, what becomes of its frames.
        shape: (slices, rows, columns, volumes).
    """

    def __init__(
        self,
        images: Sequence[StoredImage],
        placements: Sequence[Sequence[Placement]],
        shape: tuple[int, int, int, int],
    ) -> None:
        self.images = images
        self.placements = placements
        self.shape = shape

    def __call__(self) -> np.ndarray:
        """Float32 (slices, rows, columns, volumes), rescaled.

        Values are computed as float64 and rounded once: float32(slope · stored + intercept).

        Raises:
            Refusal: pixels cannot be decoded.
        """
        volumes = np.empty(self.shape, dtype=np.float32)
        work = list(zip(self.images, self.placements, strict=True))
        if any(image.pixels.encapsulated for image in self.images):
            # The decoders are C code that works outside the interpreter lock.
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                for _ in pool.map(lambda one: self._read(volumes, *one), work):
                    pass
        else:
            for image, placements in work:
                self._read(volumes, image, placements)
        return volumes

    def _read(
        self, volumes: np.ndarray, image: StoredImage, placements: Sequence[Placement]
    ) -> None:
        """Put the frames of one image into ``volumes``."""
        by_frame: dict[int, list[Placement]] = defaultdict(list)
        for placement in placements:
            by_frame[placement.frame].append(placement)
        rows, columns = self.shape[1:3]
        try:
            for number, stored in enumerate(read_frames(image.path, image.pixels)):
                for placement in by_frame.get(number, ()):
                    top, left = placement.corner
                    plane = stored[top : top + rows, left : left + columns]
                    volumes[placement.slice, :, :, placement.volume] = _rescaled(plane, placement)
        except (UndecodablePixelsError, OSError) as error:
            raise Refusal(
                "undecodable-pixels",
                f"the pixels of an image cannot be decoded ({error})",
                "Send the series uncompressed, or again.",
                series_instance_uid=image.header.text("SeriesInstanceUID"),
            ) from error


def _rescaled(plane: np.ndarray, placement: Placement) -> np.ndarray:
    if placement.slope == 1 and placement.intercept == 0:
        return plane
    return plane * np.float64(placement.slope) + placement.intercept
