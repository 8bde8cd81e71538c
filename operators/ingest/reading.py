"""Reads the pixels of an assembled series into one float32 array."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from operators.ingest.pixels import UndecodablePixelsError, read_frames
from operators.ingest.scan import UnreadableFileError
from operators.ingest.study import StoredImage, series_number
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
        # One file at a time: threads gain nothing, since the decoders of compressed frames
        # hold the interpreter lock, and native frames take less time than handing them over.
        for image, placements in zip(self.images, self.placements, strict=True):
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
        except (UndecodablePixelsError, UnreadableFileError, OSError) as error:
            # The text of an OSError names the file, and file names may name patients.
            reason = error.strerror if isinstance(error, OSError) else error
            raise Refusal(
                "undecodable-pixels",
                f"the pixels of an image cannot be read: {reason}",
                "Send the series uncompressed, or again.",
                series_instance_uid=image.header.text("SeriesInstanceUID"),
                series_number=series_number(image.header),
            ) from error


def _rescaled(plane: np.ndarray, placement: Placement) -> np.ndarray:
    if placement.slope == 1 and placement.intercept == 0:
        return plane
    return plane * np.float64(placement.slope) + placement.intercept
