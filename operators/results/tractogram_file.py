"""The tracks in the exchange format of research tools: TRX.

Points of a TRX file are mm in the frame of NIfTI (right, anterior, superior: RAS), and its header
holds the grid that they were tracked on as a NIfTI of the same series has it: columns, rows,
slices. https://tee-ar-ex.github.io/
"""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np

from operators.results.series_plan import ObjectKind, ResultPlan
from operators.vocabulary.run import WrittenObject
from operators.vocabulary.tracts import TrackSet

_RAS_OF_LPS = np.array([-1.0, -1.0, 1.0])


def write_tractogram_file(plan: ResultPlan, folder: Path) -> list[WrittenObject]:
    """Writes ``tracts.trx`` below ``folder``; nothing where the result has no tracks.

    Returns:
        The entry of the file, with its path relative to ``folder``, or an empty list.
    """
    if plan.result.tracks is None:
        return []
    path = plan.folder / "tracts.trx"
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    save_trx(plan.result.tracks, folder / path)
    return [WrittenObject(path=path, kind=ObjectKind.TRACTOGRAM_FILE)]


def save_trx(tracks: TrackSet, path: Path) -> None:
    """Writes points, FA at each point (``dpv/fa``), affine and dimensions of the grid."""
    # Imported here: nibabel takes most of a second, and few results have tracks.
    from nibabel.streamlines import ArraySequence, Tractogram
    from trx.trx_file_memmap import TrxFile, save

    points = tracks.points * _RAS_OF_LPS
    lines = ArraySequence(np.split(points.astype(np.float32), tracks.offsets[1:-1]))
    along = ArraySequence(np.split(tracks.anisotropy[:, None], tracks.offsets[1:-1]))
    tractogram = Tractogram(lines, data_per_point={"fa": along}, affine_to_rasmm=np.eye(4))
    affine, dimensions = nifti_grid(tracks.geometry)
    exchange = TrxFile.from_tractogram(tractogram, _reference(affine, dimensions))
    try:
        save(exchange, str(path))
    finally:
        exchange.close()


def nifti_grid(geometry: hd.VolumeGeometry) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Affine (4, 4) to mm, RAS, and dimensions of a grid in the order columns, rows, slices."""
    affine = np.eye(4)
    affine[:3] = geometry.affine[:3, [2, 1, 0, 3]] * _RAS_OF_LPS[:, None]
    slices, rows, columns = geometry.spatial_shape
    return affine, (columns, rows, slices)


def _reference(affine: np.ndarray, dimensions: tuple[int, int, int]) -> object:
    """The header of a NIfTI on the grid."""
    from nibabel.nifti1 import Nifti1Header

    header = Nifti1Header()
    header.set_data_shape(dimensions)
    header.set_sform(affine, code="scanner")
    header.set_qform(affine, code="scanner")
    return header
