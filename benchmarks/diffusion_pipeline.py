"""The whole adapted pipeline of a large series, from pixels to maps, against the issue's bounds.

Memory is that of this process at its peak, so run it by itself:
``python -m benchmarks diffusion_pipeline``.
"""

from __future__ import annotations

import os
import resource
import time

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset

from benchmarks.table import Row
from models.diffusion.prior import NETWORKS
from models.diffusion.series import Series
from models.diffusion.timing import large_series
from operators.inference.bundle import read_bundle
from operators.inference.diffusion import analyse_diffusion
from operators.inference.prior_session import TENSOR_PRIOR, PriorNetwork
from operators.inference.settings import DiffusionSettings
from operators.vocabulary.acquisition import (
    Acquisition,
    GradientTable,
    SeriesKind,
    SourceSeries,
)

_SECONDS = 90.0
_GIBIBYTES = 4.0
_CORES = 2


def run() -> list[Row]:
    """Rows of this benchmark: wall time, processor time and memory, each beside its bound."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:_CORES])
    acquisition = acquisition_of(large_series())
    prior = PriorNetwork({TENSOR_PRIOR: read_bundle(NETWORKS / TENSOR_PRIOR)}, "cpu")
    began, worked = time.perf_counter(), time.process_time()
    analyse_diffusion(acquisition, DiffusionSettings(), prior)
    wall, processor = time.perf_counter() - began, time.process_time() - worked
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    shape = " x ".join(map(str, (*acquisition.geometry.spatial_shape, acquisition.volumes)))
    name = f"adapted pipeline, {shape}, {_CORES} cores"
    return [
        Row(f"{name}: wall time", wall, "bound of the issue", _SECONDS),
        Row(f"{name}: processor time", processor, "bound of the issue", _CORES * _SECONDS),
        Row(f"{name}: peak memory (GiB)", peak, "bound of the issue (GiB)", _GIBIBYTES),
    ]


def acquisition_of(series: Series) -> Acquisition:
    """A simulated series as ingest gives one."""
    header = Dataset()
    header.SeriesInstanceUID = "2.25.1"
    header.SeriesNumber = 1
    header.BodyPartExamined = "HEAD"
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2] = series.voxel
    affine[3, 3] = 1
    return Acquisition(
        kind=SeriesKind.DIFFUSION,
        protocol=GradientTable(series.b_values, series.directions),
        geometry=hd.VolumeGeometry(
            affine, series.brain.shape, "PATIENT", frame_of_reference_uid="2.25.2"
        ),
        source=SourceSeries(header, ()),
        volumes=len(series.b_values),
        read=lambda: series.signals,
    )
