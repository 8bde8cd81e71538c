"""Directions and tensors keep their meaning between the patient and the array."""

from __future__ import annotations

import highdicom as hd
import numpy as np
import torch
from scipy.spatial.transform import Rotation

from models.diffusion.signal import dti_signal
from operators.inference.array_frame import (
    array_axes,
    directions_in_array,
    tensors_in_patient,
    vectors_in_patient,
)


def oblique(mirrored: bool) -> hd.VolumeGeometry:
    affine = np.eye(4)
    axes = Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix()
    if mirrored:
        axes[:, 2] *= -1
    affine[:3, :3] = axes @ np.diag([3.0, 2.0, 1.5])
    return hd.VolumeGeometry(
        affine, (4, 5, 6), "PATIENT", frame_of_reference_uid="1.2.826.0.1.3680043.8.498.1"
    )


def test_signals_are_the_same_in_either_frame_however_the_grid_lies() -> None:
    generator = np.random.default_rng(0)
    directions = generator.normal(size=(12, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    b = torch.full((12,), 1.0)
    in_array = generator.normal(size=(7, 6))
    for mirrored in (False, True):
        axes = array_axes(oblique(mirrored))
        np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)
        signals = [
            dti_signal(
                torch.ones(7, dtype=torch.float64),
                torch.from_numpy(tensor),
                b.double(),
                torch.from_numpy(table),
            )
            for tensor, table in (
                (in_array, directions_in_array(directions, axes)),
                (tensors_in_patient(in_array, axes), directions),
            )
        ]
        torch.testing.assert_close(*signals)


def test_the_first_axis_of_the_array_runs_along_columns() -> None:
    geometry = oblique(mirrored=False)
    along_columns = geometry.affine[:3, 2] / np.linalg.norm(geometry.affine[:3, 2])
    axes = array_axes(geometry)
    np.testing.assert_allclose(vectors_in_patient(np.eye(3)[:1], axes)[0], along_columns)
