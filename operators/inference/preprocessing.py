"""Optional steps before a diffusion fit, by DIPY: denoising, unringing, motion correction.

Each is off by default, changes values, and leaves a finding. Order after Tournier et al.,
Magn. Reson. Med. 73:1316 (2015) and Ades-Aron et al., NeuroImage 183:532 (2018),
doi 10.1016/j.neuroimage.2018.07.066: noise first, while it is independent between voxels.
"""

from __future__ import annotations

import logging

import highdicom as hd
import numpy as np

from operators.inference.gradient_check import UNWEIGHTED_BELOW
from operators.inference.settings import PreprocessingSettings
from operators.vocabulary.acquisition import GradientTable
from operators.vocabulary.finding import Finding, Severity
from operators.vocabulary.refusal import Refusal

#: Volumes below which local principal components cannot be told from noise.
FEWEST_VOLUMES_TO_DENOISE = 10
_SLICE_AXIS = 0
_RIGID = ["center_of_mass", "translation", "rigid"]


def preprocess(
    signals: np.ndarray,
    table: GradientTable,
    mask: np.ndarray,
    geometry: hd.VolumeGeometry,
    settings: PreprocessingSettings,
) -> tuple[np.ndarray, GradientTable, list[Finding]]:
    """Apply the steps that the settings ask for.

    Args:
        signals: float32 (slices, rows, columns, volumes).
        table: of the volumes.
        mask: boolean (slices, rows, columns), voxels with tissue.
        geometry: of the grid.
        settings: which steps.

    Returns:
        Signals, the table with directions turned along with the head, and what was done.

    Raises:
        Refusal: too few volumes to denoise, or no volume to register to.
    """
    findings: list[Finding] = []
    if settings.denoise:
        signals, finding = denoised(signals, mask)
        findings.append(finding)
    if settings.unring:
        signals, finding = unrung(signals)
        findings.append(finding)
    if settings.motion_correction:
        signals, table, finding = motion_corrected(signals, table, geometry)
        findings.append(finding)
    return signals, table, findings


def denoised(signals: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, Finding]:
    """Marchenko-Pastur PCA (Veraart et al., NeuroImage 142:394 (2016)).

    doi 10.1016/j.neuroimage.2016.08.016. Voxels outside the mask stay as they are.
    """
    if signals.shape[-1] < FEWEST_VOLUMES_TO_DENOISE:
        raise Refusal(
            "too-few-volumes-to-denoise",
            f"{signals.shape[-1]} volumes; denoising by principal components takes "
            f"{FEWEST_VOLUMES_TO_DENOISE}",
            "Set pipelines.diffusion.preprocessing.denoise to false.",
        )
    from dipy.denoise.localpca import mppca

    clean, sigma = mppca(
        signals, mask=mask, return_sigma=True, out_dtype=np.float32, suppress_warning=True
    )
    clean = np.where(mask[..., None], clean, signals)
    removed = float(np.sqrt(np.mean((clean - signals)[mask] ** 2)))
    return clean, Finding(
        "denoised",
        f"Images were denoised by local principal components: noise SD {np.median(sigma[mask]):.3g}"
        f", root mean square change {removed:.3g}. What is said of noise holds for the rest.",
        Severity.INFORMATION,
    )


def unrung(signals: np.ndarray) -> tuple[np.ndarray, Finding]:
    """Removal of Gibbs ringing (Kellner et al., Magn. Reson. Med. 76:1574 (2016)).

    doi 10.1002/mrm.26054. In the plane of the slices; not for images that the scanner
    interpolated or of partial Fourier sampling, which DICOM does not always tell.
    """
    from dipy.denoise.gibbs import gibbs_removal

    # Slice by slice, so that no second series in double precision is in memory.
    clean = np.empty_like(signals)
    for position, images in enumerate(signals):
        stack = np.moveaxis(images, -1, 0).astype(np.float64)
        clean[position] = np.moveaxis(
            gibbs_removal(stack, slice_axis=_SLICE_AXIS, inplace=False), 0, -1
        )
    change = float(np.sqrt(np.mean((clean - signals) ** 2)))
    return clean, Finding(
        "unrung",
        f"Gibbs ringing was removed in the plane: root mean square change {change:.3g}.",
        Severity.INFORMATION,
    )


def motion_corrected(
    signals: np.ndarray, table: GradientTable, geometry: hd.VolumeGeometry
) -> tuple[np.ndarray, GradientTable, Finding]:
    """Rigid registration to the mean unweighted volume; directions turn with the head.

    Leemans and Jones, Magn. Reson. Med. 61:1336 (2009), doi 10.1002/mrm.21890. Pixels are
    interpolated linearly.
    """
    if not (table.b_values < UNWEIGHTED_BELOW).any():
        raise Refusal(
            "no-volume-to-register-to",
            "motion correction registers to volumes without diffusion weighting, and there is none",
            "Set pipelines.diffusion.preprocessing.motion_correction to false.",
        )
    from dipy.align import motion_correction
    from dipy.core.gradients import gradient_table, reorient_bvecs

    quiet = logging.getLogger("dipy")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        gradients = gradient_table(
            table.b_values, bvecs=table.directions, b0_threshold=UNWEIGHTED_BELOW
        )
        image, moves = motion_correction(
            signals.astype(np.float64),
            gradients,
            affine=geometry.affine,
            pipeline=_RIGID,
            optimizer_options={"gtol": 1e-5, "ftol": 1e-8},
        )
        turned = reorient_bvecs(gradients, moves[..., ~gradients.b0s_mask])
    finally:
        quiet.setLevel(level)
    corrected = np.asarray(image.dataobj, np.float32)
    angles = np.degrees(np.arccos(np.clip((np.trace(moves[:3, :3]) - 1) / 2, -1, 1)))
    middle = geometry.map_indices_to_reference(
        (np.array([geometry.spatial_shape], dtype=np.float64) - 1) / 2
    )[0]
    shifts = np.linalg.norm(
        np.einsum("ijv,j->vi", moves[:3, :3], middle) + moves[:3, 3].T - middle, axis=1
    )
    return (
        corrected,
        GradientTable(table.b_values, np.asarray(turned.bvecs)),
        Finding(
            "motion-corrected",
            f"Volumes were registered to the mean unweighted one and interpolated; largest turn "
            f"{angles.max():.1f}° (volume {angles.argmax() + 1}), largest shift "
            f"{shifts.max():.1f} mm (volume {shifts.argmax() + 1}); directions were turned along.",
            Severity.INFORMATION,
        ),
    )
