"""Where the peers' programs are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def peer_program(name: str) -> str | None:
    """Path of a peer's program, or None where it is not installed.

    pynetdicom brings programs that are named as DCMTK's (storescu, storescp, findscu, …) and take
    other arguments. In an environment that comes first on the path they would be run in DCMTK's
    place, so what is installed outside of every Python environment goes first.
    """
    outside = [
        folder for folder in os.get_exec_path() if not (Path(folder).parent / "pyvenv.cfg").exists()
    ]
    return shutil.which(name, path=os.pathsep.join(outside)) or shutil.which(name)
