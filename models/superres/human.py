"""A volunteer's acquired T1w, T2w and FLAIR, with low-resolution maps made from them.

Evaluation only. No public study has maps beside routine images, so the low-resolution maps are
made from the images: the maps that explain T1w, T2w and FLAIR together with tissue values of the
literature, truncated. The FLAIR is never a guide. Data: Landman et al. 2011, doi
10.1016/j.neuroimage.2010.11.047, subject 113, second visit.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
import torch
from scipy.cluster.vq import kmeans2
from scipy.optimize import least_squares
from torch import Tensor

from models.superres.degradation import KSpaceTruncation, low_resolution_shape
from models.superres.network import bounded, log_covariance
from models.superres.signal import FastSpinEcho, Flair, Mprage, WeightedSequence
from models.superres.study import Study

T1_WEIGHTED = Mprage(3000, 842, 8, 6.797, 240, 120, echo_time=3.13)
"""TI, flip angle, echo spacing and TE as acquired; shot TR, readouts and centre are not in the
records and are those of the vendor's usual protocol."""

T2_REPETITION_TIME, FLAIR_REPETITION_TIME, FLAIR_INVERSION_TIME = 2500.0, 8000.0, 2400.0
"""In ms, as acquired."""

T2_ECHO_TIME, FLAIR_ECHO_TIME = 287.2, 331.3
"""In ms, as in the header. Long trains of low refocusing angles make the contrast of a shorter TE
(Busse et al. 2006, doi 10.1002/mrm.20863): the share that counts is fitted to the T2w tissue
means, and taken for the FLAIR of the same readout."""

TISSUE = {
    "csf": (1.0, 4160.0, 1650.0),
    "grey matter": (0.8, 1331.0, 110.0),
    "white matter": (0.7, 832.0, 79.6),
}
"""PD, T1 and T2 in ms at 3 T (brain: Wansapura et al. 1999, doi
10.1002/(SICI)1522-2586(199904)9:4<531::AID-JMRI4>3.0.CO;2-L)."""


@dataclass(frozen=True)
class HumanSlices:
    """Acquired slices and the maps made from them.

    Attributes:
        study: low-resolution maps and the acquired guides, one image per slice.
        maps: (slices, 3, rows, columns) what the low-resolution maps were truncated from.
        flair: (slices, rows, columns) acquired, arbitrary units, zero outside the brain.
        flair_sequence: its sequence, with the fitted TE.
    """

    study: Study
    maps: Tensor
    flair: Tensor
    flair_sequence: WeightedSequence


def human_slices(
    folder: Path, indices: list[int], factor: float = 3.0, seed: int = 0
) -> HumanSlices:
    """Slices of ``t1w_t2w_flair_human``.

    Args:
        folder: of the data set.
        indices: axial slices.
        factor: of in-plane truncation of the maps.
        seed: of the 1 % noise that is added to the low-resolution maps.
    """
    acquired = np.stack(
        [_axial(folder, name, indices) for name in ("MPRAGE", "T2w", "FLAIR")], axis=1
    )
    mask = np.all(acquired > 0, axis=1)
    acquired *= mask[:, None]
    membership, means = _segment(acquired, mask)
    sequences, scales = _fitted_sequences(means)
    maps = _maps_from_images(acquired / scales[:, None, None], membership, mask, sequences)
    shape = tuple(mask.shape[1:])
    truncation = KSpaceTruncation(shape, low_resolution_shape(shape, (factor, factor)))
    inside = torch.from_numpy(mask).unsqueeze(1).float()
    noise = 0.01 * (maps * inside).sum((0, 2, 3)) / inside.sum()
    generator = torch.Generator().manual_seed(seed)
    low = truncation(maps)
    low = low + noise.view(1, 3, 1, 1) * torch.randn(low.shape, generator=generator)
    images = torch.from_numpy(acquired).float()
    study = Study(
        maps=low,
        guides=images[:, :2],
        sequences=(sequences[0], sequences[1]),
        mask=inside,
        guide_noise=torch.full((len(indices), 2), 0.01),
        map_noise=noise.expand(len(indices), 3),
    )
    return HumanSlices(study, maps, images[:, 2], sequences[2])


def _axial(folder: Path, name: str, indices: list[int]) -> npt.NDArray[np.float64]:
    image = nibabel.nifti1.Nifti1Image.from_filename(
        folder / f"visit_2_113-02-{name}_processed_reg.nii.gz"
    )
    values = np.asarray(image.dataobj)[:, :, indices].astype(np.float64)
    return np.moveaxis(values, 2, 0)


def _segment(
    images: npt.NDArray[np.float64], mask: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Soft membership (slices, tissues, rows, columns) and mean images (tissues, images)."""
    voxels = np.moveaxis(images, 1, -1)[mask]
    scaled = voxels / np.percentile(voxels, 90, axis=0)
    quantiles = np.array([[5, 97, 5], [35, 60, 70], [80, 30, 45]])
    start = np.array(
        [[np.percentile(scaled[:, i], q) for i, q in enumerate(row)] for row in quantiles]
    )
    centres, _ = kmeans2(scaled, start, minit="matrix", seed=0)
    distance = ((scaled[:, None] - centres) ** 2).sum(-1)
    weight = 1 / (distance + 1e-4) ** 2
    weight /= weight.sum(1, keepdims=True)
    membership = np.zeros((len(mask), len(TISSUE), *mask.shape[1:]))
    np.moveaxis(membership, 1, -1)[mask] = weight
    means = np.stack([np.median(voxels[weight[:, t] > 0.9], axis=0) for t in range(len(TISSUE))])
    return membership, means


def _fitted_sequences(
    means: npt.NDArray[np.float64],
) -> tuple[tuple[WeightedSequence, WeightedSequence, WeightedSequence], npt.NDArray[np.float64]]:
    """Sequences with the effective TE, and the scales, that explain the tissue means best."""
    tissue = torch.tensor(list(TISSUE.values()), dtype=torch.float64)

    def signal(sequence: WeightedSequence) -> npt.NDArray[np.float64]:
        return np.asarray(sequence.signal(*tissue.unbind(1)))

    def mismatch(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        sequence = FastSpinEcho(T2_REPETITION_TIME, values[0])
        return np.asarray(np.log(signal(sequence)) + values[1] - np.log(means[:, 1]))

    echo_time, _ = least_squares(
        mismatch, [100.0, np.log(means[:, 1].mean() / 0.3)], x_scale=[50, 1]
    ).x
    flair_echo_time = FLAIR_ECHO_TIME * echo_time / T2_ECHO_TIME
    sequences = (
        T1_WEIGHTED,
        FastSpinEcho(T2_REPETITION_TIME, float(echo_time)),
        Flair(FLAIR_REPETITION_TIME, FLAIR_INVERSION_TIME, float(flair_echo_time)),
    )
    scales = [np.median(means[1:, i] / signal(s)[1:]) for i, s in enumerate(sequences)]
    return sequences, np.array(scales)


def _maps_from_images(
    images: npt.NDArray[np.float64],
    membership: npt.NDArray[np.float64],
    mask: npt.NDArray[np.bool_],
    sequences: tuple[WeightedSequence, ...],
    rounds: int = 8,
) -> Tensor:
    """Maps (slices, 3, rows, columns) that explain three images, near the tissue mixture."""
    values = np.array(list(TISSUE.values()))
    mixture = torch.from_numpy(np.einsum("stxy,tp->spxy", membership, values))
    inside = torch.from_numpy(mask).unsqueeze(1)
    start = torch.where(
        inside, mixture, torch.tensor([1.0, 1000.0, 100.0]).view(1, 3, 1, 1).double()
    )
    measured = torch.from_numpy(images)
    floor = 0.02 * (measured * inside).sum((0, 2, 3)) / inside.sum()
    precision = torch.linalg.inv(log_covariance((0.05, 0.25, 0.3), start))
    prior, logarithm = start.log(), start.log()
    for _ in range(rounds):
        current = bounded(logarithm.exp())
        normal = precision.expand(*current.shape[:1], *current.shape[2:], 3, 3)
        right = torch.einsum("pq,nqxy->nxyp", precision, prior - logarithm)
        for index, sequence in enumerate(sequences):
            signal, derivative = sequence.sensitivities(current)
            weight = 1 / (0.02 * signal + floor[index]) ** 2
            rows = derivative.movedim(1, -1)
            normal = normal + (weight.unsqueeze(-1) * rows).unsqueeze(-1) * rows.unsqueeze(-2)
            right = right + rows * (weight * (measured[:, index] - signal)).unsqueeze(-1)
        step = torch.linalg.solve(normal, right.unsqueeze(-1)).squeeze(-1).movedim(-1, 1)
        logarithm = logarithm + step.clamp(-0.5, 0.5)
    return (bounded(logarithm.exp()) * inside).float()
