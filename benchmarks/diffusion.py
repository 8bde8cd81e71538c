"""Weighted least-squares tensor maps beside DIPY's and MRtrix3's, on the same voxels."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
from dipy import __version__ as dipy_version
from dipy.core.gradients import gradient_table
from dipy.reconst.dti import TensorModel

from benchmarks.table import Row
from operators.inference.brain_mask import foreground_mask
from operators.inference.diffusion_series import least_weighted_image
from operators.inference.volume_fit import fit_volume
from operators.ingest.acquire import acquire
from operators.ingest.settings import IngestSettings
from operators.vocabulary.acquisition import GradientTable, SeriesKind

_ROOT = Path(__file__).resolve().parents[1]
_DATA = Path(os.environ.get("QUANTMAP_DATA", _ROOT.parent / "shared" / "data"))
_SERIES = "dwi_siemens_xa30_enhanced"
_REPEATS = 5


def run() -> list[Row]:
    """Maps of b0, MD, FA, AD, RD and V1 from a real series; nothing where it is absent.

    Ours and DIPY run warm in this process; MRtrix3's two commands are measured with their
    start and their files, which lie in memory where /dev/shm is there.
    """
    if not (_DATA / _SERIES).exists():
        return []
    study = acquire(_DATA / _SERIES / "dicom", IngestSettings())
    series = next(one for one in study.acquisitions if one.kind is SeriesKind.DIFFUSION)
    signals = series.volume().array
    table = series.protocol
    assert isinstance(table, GradientTable)
    mask = foreground_mask(least_weighted_image(signals, table.b_values))
    name = f"DTI weighted, {mask.sum():,} voxels × {len(table.b_values)}"
    ours = _best(lambda: fit_volume(signals, table, mask, mask))

    gradients = gradient_table(table.b_values, bvecs=table.directions, b0_threshold=50)
    voxels = signals[mask]

    def dipy() -> None:
        fit = TensorModel(gradients, fit_method="WLS", return_S0_hat=True).fit(voxels)
        _ = fit.S0_hat, fit.md, fit.fa, fit.ad, fit.rd, fit.evecs

    rows = [Row(name, ours, f"DIPY {dipy_version}", _best(dipy))]
    dwi2tensor = shutil.which("dwi2tensor")
    if dwi2tensor and shutil.which("tensor2metric"):
        said = subprocess.run([dwi2tensor, "-version"], capture_output=True, text=True, check=True)
        found = re.search(r"\d+\.\d+\.\d+", said.stdout + said.stderr)
        peer = f"MRtrix3 {found[0] if found else ''} with start"
        affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ series.geometry.affine
        rows.append(Row(name, ours, peer, _mrtrix3(signals, mask, table, affine)))
    return rows


def _mrtrix3(
    signals: np.ndarray, mask: np.ndarray, table: GradientTable, affine: np.ndarray
) -> float:
    """Seconds of dwi2tensor and tensor2metric on the voxels of ``mask``."""
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        nib.save(nib.Nifti1Image(signals, affine), Path(folder, "dwi.nii"))
        nib.save(nib.Nifti1Image(mask.astype(np.uint8), affine), Path(folder, "mask.nii"))
        np.savetxt(Path(folder, "grad.b"), np.c_[table.directions * [-1, -1, 1], table.b_values])
        fit = "dwi2tensor dwi.nii tensor.mif -grad grad.b -mask mask.nii -b0 b0.mif"
        metrics = (
            "tensor2metric tensor.mif -mask mask.nii -fa fa.mif -adc md.mif -ad ad.mif "
            "-rd rd.mif -vector v1.mif"
        )

        def both() -> None:
            for command in (fit, metrics):
                subprocess.run([*command.split(), "-force", "-quiet"], cwd=folder, check=True)

        return _best(both)


def _best(task: Callable[[], object]) -> float:
    """Shortest of several runs, after one that loads what is loaded once; s."""
    task()
    times = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        task()
        times.append(time.perf_counter() - began)
    return min(times)
