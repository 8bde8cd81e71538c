"""The contrast explorer: one slice of a weighted image of a job's maps, computed when asked for."""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydantic import ValidationError

from app.node.page.previews import KIND
from app.result_file import ResultFile
from operators.inference.settings import DEFAULT_CONTRASTS, ContrastSettings

_ROOT = Path(__file__).resolve().parents[3]
_MAPS = {"proton_density", "t1", "t2"}
_OPTIONS = {"repetition_time": "--tr", "echo_time": "--te", "inversion_time": "--ti"}
_COMPUTING_SECONDS = 120.0
_WAITING_SECONDS = 20.0
_ONE_AT_A_TIME = threading.Lock()


class ContrastError(Exception):
    """No picture, and why, in words for whoever asked."""


def can_be_explored(result: ResultFile) -> bool:
    """Whether a result holds PD, T1 and T2 maps."""
    return {one.quantity for one in result.outputs if one.kind == KIND} >= _MAPS


def asked_contrast(parameters: Mapping[str, str]) -> ContrastSettings:
    """The contrast of a form; what it leaves empty is as by default.

    Args:
        parameters: ``contrast`` and, in ms, ``repetition_time``, ``echo_time`` and
            ``inversion_time``, which only a FLAIR has.

    Raises:
        ContrastError: they do not go together.
    """
    default = DEFAULT_CONTRASTS.get(parameters.get("contrast", "flair"))
    if default is None:
        raise ContrastError(f"contrast must be one of {', '.join(DEFAULT_CONTRASTS)}")
    values = default.model_dump()
    for name in _OPTIONS:
        if parameters.get(name) and values[name] is not None:
            values[name] = parameters[name]
    try:
        return ContrastSettings(**values)
    except ValidationError as error:
        said = [f"{'.'.join(map(str, one['loc']))} {one['msg']}".strip() for one in error.errors()]
        raise ContrastError("; ".join(said).replace("Value error, ", "")) from None


def contrast_picture(results: Path, contrast: ContrastSettings) -> bytes:
    """PNG of the middle slice, by ``python -m app.synthetic``.

    A process of its own computes it, so that the node need not load torch; one at a time.

    Args:
        results: folder of a job's results.
        contrast: which image.

    Raises:
        ContrastError: it cannot be computed, or another one takes too long.
    """
    options = [
        word
        for name, option in _OPTIONS.items()
        if (value := getattr(contrast, name)) is not None
        for word in (option, f"{value:g}")
    ]
    if not _ONE_AT_A_TIME.acquire(timeout=_WAITING_SECONDS):
        raise ContrastError("another picture is being computed; ask again in a while")
    try:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "app.synthetic", str(results), "-o", folder]
            done = subprocess.run(
                [*command, "--contrast", contrast.contrast, *options],
                cwd=_ROOT,
                capture_output=True,
                text=True,
                timeout=_COMPUTING_SECONDS,
                check=False,
            )
            if done.returncode:
                raise ContrastError((done.stderr.strip().splitlines() or ["no reason given"])[-1])
            files = sorted(Path(folder).rglob("*.dcm"))
            return _png(files[len(files) // 2])
    except subprocess.TimeoutExpired:
        raise ContrastError(f"it took longer than {_COMPUTING_SECONDS:g} s") from None
    finally:
        _ONE_AT_A_TIME.release()


def _png(file: Path) -> bytes:
    """A slice in its own window, with square millimetres."""
    data_set = pydicom.dcmread(file)
    low = float(data_set.WindowCenter) - float(data_set.WindowWidth) / 2
    shares = np.clip((data_set.pixel_array - low) / float(data_set.WindowWidth), 0, 1)
    image = Image.fromarray((255 * shares).astype(np.uint8))
    rows, columns = map(float, data_set.PixelSpacing)
    scale = 480 / max(image.height * rows, image.width * columns)
    size = round(image.width * columns * scale), round(image.height * rows * scale)
    written = io.BytesIO()
    image.resize(size, Image.Resampling.NEAREST).save(written, "PNG")
    return written.getvalue()
