"""Weighted images at any TR, TE and TI from PD, T1 and T2 maps."""

from __future__ import annotations

import highdicom as hd
import numpy as np
import torch

from models.superres.network import SMALLEST
from models.superres.protocol import make_sequence
from operators.inference.map_set import MapSet
from operators.inference.settings import ContrastSettings
from operators.vocabulary.result import Algorithm, PipelineResult
from operators.vocabulary.synthetic_image import SyntheticImage
from operators.vocabulary.version import VERSION

_LABELS = {"t1w": "T1w", "t2w": "T2w", "pdw": "PDw", "flair": "T2-FLAIR"}
_KINDS = {"t1w": "T1W", "t2w": "T2W", "pdw": "PDW", "flair": "FLAIR"}
_SCANNING_SEQUENCES = {"SE": ("SE",), "FSE": ("SE",), "SPGR": ("GR",), "FLAIR": ("SE", "IR")}


def synthesised(
    maps: np.ndarray, geometry: hd.VolumeGeometry, contrast: ContrastSettings
) -> SyntheticImage:
    """The image that a scanner would make of the maps, by the signal equation.

    Args:
        maps: (3, slices, rows, columns) PD, T1 in ms, T2 in ms; zero where there is no tissue.
        geometry: their grid.
        contrast: which image.
    """
    sequence = make_sequence(contrast.equation, _parameters(contrast))
    image = np.zeros(maps.shape[1:], np.float32)
    # Slice by slice, so that no more is in memory than the result.
    for number in range(maps.shape[1]):
        values = torch.from_numpy(np.ascontiguousarray(maps[:, number], np.float32))
        smallest = torch.tensor(SMALLEST).view(3, 1, 1)
        signal = sequence.signal(*torch.maximum(values, smallest).unbind(0))
        image[number] = signal.masked_fill((values <= 0).any(0), 0.0).numpy()
    return SyntheticImage(
        name=contrast.contrast,
        label=_LABELS[contrast.contrast],
        kind=_KINDS[contrast.contrast],
        sequence=contrast.equation,
        scanning_sequence=_SCANNING_SEQUENCES[contrast.equation],
        repetition_time=contrast.repetition_time,
        echo_time=contrast.echo_time,
        inversion_time=contrast.inversion_time,
        flip_angle=contrast.flip_angle,
        volume=geometry.with_array(image),
    )


def synthetic_result(maps: MapSet, image: SyntheticImage) -> PipelineResult:
    """An image on its own as a result, for the writers.

    Args:
        maps: what it was computed from.
        image: the image.
    """
    return PipelineResult(
        pipeline="synthetic",
        maps=(),
        segments=(),
        findings=(),
        algorithm=Algorithm(
            name="QuantMAP synthetic",
            version=VERSION,
            model_sha256={},
            execution_provider="torch cpu",
            configuration={image.name: f"{image.sequence} {image.parameters}"},
            source="arXiv 2512.17612",
        ),
        source=maps.members["t1"].source,
        further_sources=tuple(one.source for name, one in maps.members.items() if name != "t1"),
        synthetic_images=(image,),
    )


def _parameters(contrast: ContrastSettings) -> dict[str, float]:
    echo_time = "effective_echo_time" if contrast.equation in ("FSE", "FLAIR") else "echo_time"
    values = {
        "repetition_time": contrast.repetition_time,
        echo_time: contrast.echo_time,
        "inversion_time": contrast.inversion_time,
        "flip_angle": contrast.flip_angle,
    }
    return {name: float(value) for name, value in values.items() if value is not None}
