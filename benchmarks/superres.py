"""Super-resolution beside voxelwise L-BFGS on the same losses, and against its bounds.

The slice has 256×256 voxels with factor 3 and 1 % noise. L-BFGS runs until its T1 HFEN, which
only a phantom shows, is as low as ours, until its objective stands still, or for 60 times our time.
Its best HFEN on the way is printed beside ours.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from dataclasses import replace

import torch

from benchmarks.table import Row
from models.superres.bundle import open_session, session_step
from models.superres.held_out import Phantom, figures, measured_study, procedural_phantom
from models.superres.reconstruction import initial_maps, super_resolve
from models.superres.refine import voxelwise_lbfgs
from models.superres.study import ScaledStudy, Study, cropped, uncropped

_SHAPE = (256, 256)
_VOLUME = (180, 256, 256)
_BOUND_S = 1.0
_BOUND_GB = 3.0
_REPEATS = 3
_LIMIT = 60.0
_ITERATIONS = 100


def run() -> list[Row]:
    """Times one slice and prints HFEN and memory beside."""
    phantom = procedural_phantom(_SHAPE, 3)
    study = measured_study(phantom, (3.0, 3.0))
    inside = cropped(study)
    step = session_step(open_session())
    stage = super_resolve(inside, step)
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        stage = super_resolve(inside, step)
        times.append(time.perf_counter() - start)
    ours = min(times)
    values = figures(uncropped(stage.maps, inside), phantom, study)
    reached, seconds, peer = _lbfgs(stage.scaled, phantom, study, values["t1 HFEN"], _LIMIT * ours)
    print(
        f"L-BFGS {'has' if reached else 'has not'} reached our T1 HFEN "
        f"after {seconds / ours:.0f} times our time"
    )
    for name in ("proton_density HFEN", "t1 HFEN", "t2 HFEN"):
        print(f"{name}: super-resolved {values[name]:.3f}, L-BFGS at best {peer[name]:.3f}")
    print(
        f"memory of {'×'.join(map(str, _VOLUME))}: {volume_memory():.2f} GB, bound {_BOUND_GB} GB"
    )
    return [
        Row("super-resolve one 256×256 slice", ours, "bound", _BOUND_S),
        Row("super-resolve one 256×256 slice", ours, "voxelwise L-BFGS, until stopped", seconds),
    ]


def _lbfgs(
    scaled: ScaledStudy, phantom: Phantom, study: Study, wanted: float, limit: float
) -> tuple[bool, float, dict[str, float]]:
    """L-BFGS until its T1 HFEN is as wanted, its objective stands still, or time is up.

    Returns:
        whether it got there, seconds, and each figure's lowest value on the way.
    """
    lowest: dict[str, float] = {}
    maps, seconds = initial_maps(scaled), 0.0
    previous = float("inf")
    while True:
        start = time.perf_counter()
        maps, objective = voxelwise_lbfgs(scaled, maps, _ITERATIONS)
        seconds += time.perf_counter() - start
        current = figures(uncropped(maps, scaled.study), phantom, study)
        lowest = {name: min(value, lowest.get(name, value)) for name, value in current.items()}
        if current["t1 HFEN"] <= wanted:
            return True, seconds, lowest
        if seconds > limit or objective > previous * (1 - 1e-3):
            return False, seconds, lowest
        previous = objective


def volume_memory() -> float:
    """Peak memory in GB of a process that super-resolves one volume of 256×256×180 voxels."""
    code = "from benchmarks.superres import _volume; _volume()"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def _volume() -> None:
    shape = _VOLUME
    coarse = procedural_phantom((45, 64, 64), 4)
    maps = torch.nn.functional.interpolate(coarse.maps, shape, mode="nearest")
    mask = (maps[:, :1] > 0).to(maps.dtype)
    study = cropped(measured_study(Phantom(maps, {}, mask), (3.0, 3.0, 3.0)))
    study = replace(study, guides=study.guides.clone(), mask=study.mask.clone())
    del maps, mask
    super_resolve(study, session_step(open_session()))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
