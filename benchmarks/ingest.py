"""Ingest: 1,394 classic Philips diffusion slices to a float32 array with its gradient table.

The slices are those of the real series of ``dwi_philips_classic`` (680), twice over and a bit,
moved along the slice normal and given UIDs of their own: 82 slices of 17 volumes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pydicom

from benchmarks.table import Row, print_table

_SLICES = 82
_VOLUMES = 17
_REPEATS = 3


def run() -> list[Row]:
    """Time every reader on the same files; the best of three runs each."""
    source = Path(os.environ.get("QUANTMAP_DATA", Path(__file__).parents[2] / "shared" / "data"))
    series = source / "dwi_philips_classic" / "dicom"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "series")
        write_slices(series, folder)
        files = sorted(folder.iterdir())
        ours = _seconds(lambda: _ours(folder))
        peers: list[tuple[str, Callable[[], object]]] = [
            (f"SimpleITK {version('SimpleITK')} ImageSeriesReader", lambda: _simpleitk(files)),
            (f"dicom2nifti {version('dicom2nifti')}", lambda: _dicom2nifti(folder)),
            (f"highdicom {version('highdicom')}", lambda: _highdicom(files)),
            (f"pydicom {version('pydicom')} dcmread, headers alone", lambda: _pydicom(files)),
        ]
        if shutil.which("dcm2niix"):
            peers.append((f"dcm2niix {version('dcm2niix')}", lambda: _dcm2niix(folder)))
        name = f"ingest of {len(files)} classic slices"
        return [Row(name, ours, peer, _seconds(read)) for peer, read in peers]


def _seconds(read: Callable[[], object]) -> float:
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        read()
        times.append(time.perf_counter() - start)
    return min(times)


def write_slices(series: Path, folder: Path) -> None:
    """Numbered volume by volume, without which dicom2nifti finds files missing."""
    folder.mkdir()
    original = [pydicom.dcmread(path) for path in sorted(series.rglob("*")) if _is_dicom(path)]
    cosines = np.array(original[0].ImageOrientationPatient)
    normal = np.cross(cosines[:3], cosines[3:])
    spacing = float(original[0].SpacingBetweenSlices)
    slices = len(original) // _VOLUMES
    by_volume = defaultdict(list)
    for image in original:
        by_volume[image.DiffusionBValue, *image.DiffusionGradientOrientation].append(image)
    for volume, images in enumerate(by_volume.values()):
        images.sort(key=lambda image: float(normal @ np.array(image.ImagePositionPatient)))
        for index in range(_SLICES):
            image = images[index % slices]
            if index >= slices:
                moved = np.array(image.ImagePositionPatient) + spacing * slices * normal
                image.ImagePositionPatient = [f"{part:.10g}" for part in moved]
            image.InstanceNumber = volume * _SLICES + index + 1
            image.SOPInstanceUID = f"{image.SeriesInstanceUID[:48]}.{image.InstanceNumber}"
            image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
            image.save_as(folder / f"{image.InstanceNumber:04d}.dcm")


def _is_dicom(path: Path) -> bool:
    return path.is_file() and pydicom.misc.is_dicom(path)


def _ours(folder: Path) -> None:
    from operators.ingest.acquire import acquire
    from operators.ingest.settings import IngestSettings

    acquisition = acquire(folder, IngestSettings()).acquisitions[0]
    # The sixteenth weighted volume is a trace image, which is dropped.
    assert acquisition.volume().array.shape[::3] == (_SLICES, _VOLUMES - 1)


def _simpleitk(files: list[Path]) -> None:
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames([str(path) for path in files])
    SimpleITK.GetArrayFromImage(reader.Execute())


def _dicom2nifti(folder: Path) -> None:
    import dicom2nifti

    with tempfile.TemporaryDirectory() as out:
        dicom2nifti.dicom_series_to_nifti(folder, Path(out, "out.nii"), reorient_nifti=False)


def _highdicom(files: list[Path]) -> None:
    import highdicom

    volumes = defaultdict(list)
    for path in files:
        image = pydicom.dcmread(path)
        key = (image.DiffusionBValue, *image.DiffusionGradientOrientation)
        volumes[key].append(image)
    arrays = [highdicom.get_volume_from_series(images).array for images in volumes.values()]
    np.stack(arrays, axis=-1).astype(np.float32)


def _pydicom(files: list[Path]) -> None:
    for path in files:
        pydicom.dcmread(path)


def _dcm2niix(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as out:
        subprocess.run(
            ["dcm2niix", "-z", "n", "-o", out, str(folder)], check=True, capture_output=True
        )


if __name__ == "__main__":
    print_table(run())
