"""A whole-brain diffusion series within bounded memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from app.demo.mr_series import write_mr_series

ROOT = Path(__file__).resolve().parents[3]

MEASURE = """
import re, sys
from pathlib import Path
from operators.ingest.acquire import acquire
from operators.ingest.settings import IngestSettings

(acquisition,) = acquire(Path(sys.argv[1]), IngestSettings()).acquisitions
array = acquisition.volume().array
# Not ru_maxrss, which a process inherits from the one that started it.
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(array.shape, array.nbytes, int(peak[1]) * 1024)
"""


def test_memory_is_that_of_one_series_at_float32(tmp_path, axial):
    shape = (82, 128, 128, 17)
    values = np.broadcast_to(np.arange(128.0)[:, np.newaxis], shape)
    angles = np.linspace(0, 3, 17)
    table = [
        {
            "DiffusionBValue": 1000.0 * (index > 0),
            "DiffusionGradientOrientation": [float(np.cos(a)), float(np.sin(a)), 0.0],
        }
        for index, a in enumerate(angles)
    ]
    write_mr_series(tmp_path, values, axial, uid_prefix="1.2.3", common={}, per_volume=table)
    command = [sys.executable, "-c", MEASURE, str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found, size, peak = ran.stdout.rsplit(" ", 2)
    assert found == str(shape)
    # The interpreter and its libraries take some 150 MB, the headers of 1,394 files 50 MB.
    assert int(peak) < int(size) + 400e6
