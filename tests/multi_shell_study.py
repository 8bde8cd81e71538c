"""A real two-shell series, of which only NIfTI is public, in the headers of an MR series."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from app.demo.mr_series import write_mr_series

NAME = "b1k_b2k_example_slices_24_38"
#: The two slices are numbers 24 and 38 of a stack, 2 mm apart each.
SLICE_DISTANCE = 28.0


def write_multi_shell_series(
    data: Path, folder: Path, volumes: Sequence[int] | None = None, number: int = 4
) -> list[Path]:
    """Write some volumes of ``dwi_multishell_human`` as a classic MR series.

    FSL's directions follow the axes of the array, the first one reversed where the affine is
    right-handed.
    """
    image = nib.nifti1.load(data / f"{NAME}.nii.gz")
    pixels = np.asarray(image.dataobj, dtype=np.float32)
    b_values = np.loadtxt(data / "b1k_b2k.bval").ravel()
    directions = np.loadtxt(data / "b1k_b2k.bvec")
    directions = directions.T if directions.shape[0] == 3 else directions
    to_patient = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine  # RAS to LPS
    axes = to_patient[:3, :3] / np.linalg.norm(to_patient[:3, :3], axis=0)
    if np.linalg.det(image.affine[:3, :3]) > 0:
        directions = directions * [-1, 1, 1]
    directions = directions @ axes.T
    norms = np.maximum(np.linalg.norm(directions, axis=1), 1e-9)
    affine = to_patient[:, [2, 1, 0, 3]]
    affine[:3, 0] *= SLICE_DISTANCE / np.linalg.norm(affine[:3, 0])
    chosen = list(range(len(b_values))) if volumes is None else list(volumes)
    return write_mr_series(
        folder,
        pixels.transpose(2, 1, 0, 3)[..., chosen],
        affine,
        uid_prefix="1.2.826.0.1.3680043.10.2",
        common={
            "SeriesNumber": number,
            "StudyDate": "20260101",
            "StudyTime": "120000",
            "BodyPartExamined": "HEAD",
            "ScanningSequence": "EP",
            "EchoTime": 92.0,
            "RepetitionTime": 8200.0,
        },
        per_volume=[
            {"DiffusionBValue": float(b), "DiffusionDirectionality": "DIRECTIONAL" if b else "NONE"}
            | ({"DiffusionGradientOrientation": (g / norm).tolist()} if b else {})
            for b, g, norm in zip(b_values[chosen], directions[chosen], norms[chosen], strict=True)
        ],
    )
