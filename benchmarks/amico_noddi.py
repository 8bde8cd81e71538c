"""NODDI by AMICO, a peer whose licence (research only) and pins keep it out of our environment.

AMICO runs in an environment of its own, made by ``make amico`` in ``build/amico``, or any other
whose interpreter ``QUANTMAP_AMICO`` names. This file is both ends: imported here, it runs itself
there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class AmicoNoddi:
    """What AMICO found.

    Attributes:
        maps: (x, y, z, 3) NDI, ODI, FWF.
        directions: (x, y, z, 3) mean orientation, in the frame of the b-vectors.
        seconds: of the fit, without kernels.
        version: of AMICO.
    """

    maps: np.ndarray
    directions: np.ndarray
    seconds: float
    version: str


def amico_python() -> Path | None:
    """Interpreter of the environment that holds AMICO; ``None`` where there is none."""
    found = Path(os.environ.get("QUANTMAP_AMICO", _ROOT / "build" / "amico" / "bin" / "python"))
    return found if found.exists() else None


def fit_noddi(
    series: tuple[Path, Path, Path, Path], volumes: np.ndarray, folder: Path, threads: int
) -> AmicoNoddi:
    """Fit some volumes of a series.

    Args:
        series: image and mask (NIfTI), b-values and b-vectors (FSL).
        volumes: which volumes.
        folder: an empty folder to work in.
        threads: how many threads.

    Raises:
        FileNotFoundError: there is no environment with AMICO.
    """
    python = amico_python()
    if python is None:
        raise FileNotFoundError("AMICO is not installed: `make amico`, or set QUANTMAP_AMICO")
    for source, name in zip(series, ("all.nii.gz", "mask.nii.gz", "b", "g"), strict=True):
        shutil.copy(source, folder / name)
    np.save(folder / "volumes.npy", volumes)
    command = [str(python), str(Path(__file__).resolve()), str(folder.resolve()), str(threads)]
    # The environment's own packages alone: none of ours.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    said = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=clean)
    if said.returncode:
        raise RuntimeError(f"AMICO failed: {said.stderr[-2000:]}")
    with np.load(folder / "noddi.npz") as found:
        return AmicoNoddi(
            found["maps"], found["directions"], float(found["seconds"]), str(found["version"])
        )


def _fit_here(folder: Path, threads: int) -> None:
    """In AMICO's environment: fit what :func:`fit_noddi` laid into the folder."""
    from importlib.metadata import version

    import amico
    import nibabel

    volumes = np.load(folder / "volumes.npy")
    image = nibabel.load(folder / "all.nii.gz")
    subject = folder / "subject"
    subject.mkdir()
    values = np.asarray(image.dataobj, dtype=np.float32)[..., volumes]
    nibabel.save(nibabel.Nifti1Image(values, image.affine), subject / "dwi.nii.gz")
    shutil.copy(folder / "mask.nii.gz", subject / "mask.nii.gz")
    np.savetxt(subject / "b.bval", np.loadtxt(folder / "b").ravel()[volumes][None])
    np.savetxt(subject / "b.bvec", np.loadtxt(folder / "g")[:, volumes])
    amico.setup()
    scheme = str(subject / "b.scheme")
    amico.util.fsl2scheme(str(subject / "b.bval"), str(subject / "b.bvec"), scheme)
    evaluation = amico.Evaluation(str(folder), "subject")
    evaluation.load_data("dwi.nii.gz", "b.scheme", mask_filename="mask.nii.gz", b0_thr=10)
    evaluation.set_model("NODDI")
    evaluation.generate_kernels(ndirs=500, regenerate=True)
    evaluation.load_kernels()
    evaluation.set_config("nthreads", threads)
    began = time.perf_counter()
    evaluation.fit()
    seconds = time.perf_counter() - began
    np.savez(
        folder / "noddi.npz",
        maps=evaluation.RESULTS["MAPs"],
        directions=evaluation.RESULTS["DIRs"],
        seconds=seconds,
        version=version("dmri-amico"),
    )


if __name__ == "__main__":
    _fit_here(Path(sys.argv[1]), int(sys.argv[2]))
