"""Mosaics: classic images that hold all slices of a volume as tiles (Siemens, UIH)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from operators.ingest.csa import read_csa
from operators.ingest.elements import (
    SIEMENS_CSA_IMAGE_HEADER,
    UIH_MOSAIC_IMAGES,
    UIH_MOSAIC_SEQUENCE,
)
from operators.ingest.header import Header, HeaderValueError


@dataclass(frozen=True, slots=True)
class Tile:
    """One slice of a mosaic.

    Attributes:
        corner: (row, column) of its first pixel in the mosaic.
        rows, columns: its size.
        position: (3,) LPS mm of the centre of its first pixel.
    """

    corner: tuple[int, int]
    rows: int
    columns: int
    position: np.ndarray


def tiles_of(header: Header, rows: int, columns: int) -> list[Tile] | None:
    """Tiles of a mosaic of ``rows`` × ``columns`` pixels, or None where it is a single slice.

    Raises:
        HeaderValueError: it is a mosaic, but its header does not tell its slices.
    """
    if "MOSAIC" in header.tokens("ImageType"):
        return _siemens(header, rows, columns)
    if header.items(UIH_MOSAIC_SEQUENCE):
        return _uih(header, rows, columns)
    return None


def _siemens(header: Header, rows: int, columns: int) -> list[Tile]:
    """Siemens: a square grid; one position, of the mosaic as if it were one large slice.

    The slices follow each other along Slice Normal Vector of the CSA header, which may point
    against row × column (nibabel, https://nipy.org/nibabel/dicom/dicom_mosaic.html).
    """
    csa = read_csa(header.raw(SIEMENS_CSA_IMAGE_HEADER))
    spacing_slices = header.number("SpacingBetweenSlices")
    try:
        number = int(csa["NumberOfImagesInMosaic"][0])
        normal = np.array([float(text) for text in csa["SliceNormalVector"]])
    except (KeyError, IndexError, ValueError):
        raise HeaderValueError("a Siemens mosaic has no CSA header that tells its slices") from None
    if number < 1 or normal.shape != (3,) or not spacing_slices:
        raise HeaderValueError("a Siemens mosaic does not tell the number or spacing of its slices")
    across = math.ceil(math.sqrt(number))
    position, orientation, spacing = (
        np.array(_vector(header, keyword, length))
        for keyword, length in (
            ("ImagePositionPatient", 3),
            ("ImageOrientationPatient", 6),
            ("PixelSpacing", 2),
        )
    )
    corners = _grid(number, across, across, rows, columns)
    height, width = rows // across, columns // across
    first = (
        position
        + orientation[:3] * spacing[1] * (columns - width) / 2
        + orientation[3:] * spacing[0] * (rows - height) / 2
    )
    return [
        Tile(corner, height, width, first + index * spacing_slices * normal)
        for index, corner in enumerate(corners)
    ]


def _uih(header: Header, rows: int, columns: int) -> list[Tile]:
    """UIH: only as many rows of tiles as are filled; the position of each slice in its item."""
    items = header.items(UIH_MOSAIC_SEQUENCE)
    stated = header.number(UIH_MOSAIC_IMAGES)
    if stated is not None and int(stated) != len(items):
        raise HeaderValueError(f"a UIH mosaic states {stated:g} slices but places {len(items)}")
    across = math.ceil(math.sqrt(len(items)))
    down = math.ceil(len(items) / across)
    corners = _grid(len(items), across, down, rows, columns)
    return [
        Tile(
            corner,
            rows // down,
            columns // across,
            np.array(_vector(item, "ImagePositionPatient", 3)),
        )
        for corner, item in zip(corners, items, strict=True)
    ]


def _grid(number: int, across: int, down: int, rows: int, columns: int) -> list[tuple[int, int]]:
    """Corner of each of ``number`` tiles that fill a grid row by row."""
    if rows % down or columns % across:
        raise HeaderValueError(
            f"a mosaic of {rows}×{columns} pixels does not divide into {down}×{across} tiles"
        )
    return [
        (index // across * (rows // down), index % across * (columns // across))
        for index in range(number)
    ]


def _vector(header: Header, keyword: str, length: int) -> tuple[float, ...]:
    values = header.vector(keyword, length)
    if values is None:
        raise HeaderValueError(f"a mosaic has no {keyword}")
    return values
