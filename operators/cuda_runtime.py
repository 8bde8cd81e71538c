"""The CUDA runtime that Holoscan's libraries are linked with, on machines without CUDA too.

Holoscan 4.2 finds ``libcudart.so.13`` only where the system's loader does. Where CUDA is not
installed, the copy of the package ``nvidia-cuda-runtime`` (requirements.txt) is loaded first, and
the loader takes that.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
from pathlib import Path

_LIBRARY = "libcudart.so.13"
_FOLDER = "cu13/lib"


def load_cuda_runtime() -> bool:
    """Load the CUDA runtime from the system, or else from its package.

    Returns:
        Whether it is loaded. Without it, importing Holoscan fails and names it.
    """
    candidates = [_LIBRARY]
    package = importlib.util.find_spec("nvidia")
    if package is not None:
        folders = package.submodule_search_locations or []
        candidates += [str(Path(folder) / _FOLDER / _LIBRARY) for folder in folders]
    for candidate in candidates:
        with contextlib.suppress(OSError):
            ctypes.CDLL(candidate, mode=ctypes.RTLD_GLOBAL)
            return True
    return False
