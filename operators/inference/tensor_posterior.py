"""The tensor of a region with its uncertainty, with or without the prior adapted to the series."""

from __future__ import annotations

from dataclasses import dataclass, replace

import highdicom as hd
import numpy as np
import torch

from models.diffusion.adapt import AdaptationSettings, Adapted, adapt
from models.diffusion.linear_adaptation import LinearAdaptation
from models.diffusion.posterior import SMALLEST_EIGENVALUE, TensorMaps, tensor_maps
from models.diffusion.prior import RunNetwork
from operators.inference.array_frame import (
    array_axes,
    directions_in_array,
    tensors_in_patient,
    vectors_in_patient,
)
from operators.inference.settings import PriorSettings
from operators.inference.threads import single_threaded
from operators.inference.volume_fit import VolumeFit, put_scalars
from operators.vocabulary.acquisition import GradientTable

#: Share of the data in the precision of a voxel's tensor below which the prior decides it.
PRIOR_DRIVEN_BELOW = 0.5
#: Slices that lie farther apart, mm, are no neighbours.
LARGEST_SLICE_DISTANCE = 8.0


@dataclass(frozen=True)
class TensorPosterior:
    """Tensors of the voxels of a region; vectors and tensors in the patient frame.

    Attributes:
        region: boolean (slices, rows, columns), the voxels.
        maps: scalars of each and their SD.
        s0_sd: (voxels,) SD of the signal at b = 0, in the unit of the signals.
        data_share: (voxels,) 1 where the data decide, near 0 where the prior does.
        noise: (voxels,) SD of the noise, in the unit of the signals.
        residual: (voxels,) root mean square of measured minus predicted signal.
        unsupported: (voxels,) most signals cannot be told from noise.
        with_prior: whether the prior had a say.
    """

    region: np.ndarray
    maps: TensorMaps
    s0_sd: np.ndarray
    data_share: np.ndarray
    noise: np.ndarray
    residual: torch.Tensor
    unsupported: np.ndarray
    with_prior: bool

    def grid(self, values: np.ndarray | torch.Tensor) -> np.ndarray:
        """(voxels,) values on the grid, float32, 0 outside the region and where not finite."""
        single = np.asarray(values, dtype=np.float32)
        array = np.zeros(self.region.shape, np.float32)
        array[self.region] = np.where(np.isfinite(single), single, np.float32(0))
        return array

    def mask(self, chosen: np.ndarray) -> np.ndarray:
        """(voxels,) booleans on the grid."""
        array = np.zeros(self.region.shape, dtype=bool)
        array[self.region] = chosen
        return array

    @property
    def prior_driven(self) -> np.ndarray:
        """(voxels,) true where the prior has more weight than the data."""
        return self.data_share < PRIOR_DRIVEN_BELOW

    def standard_deviations(self) -> dict[str, np.ndarray]:
        """SD maps on the grid, by quantity name."""
        return {
            "b0_sd": self.grid(self.s0_sd),
            "mean_diffusivity_sd": self.grid(self.maps.mean_diffusivity_sd),
            "fractional_anisotropy_sd": self.grid(self.maps.anisotropy_sd),
            "axial_diffusivity_sd": self.grid(self.maps.axial_diffusivity_sd),
            "radial_diffusivity_sd": self.grid(self.maps.radial_diffusivity_sd),
        }


def adaptation_settings(settings: PriorSettings, with_prior: bool) -> AdaptationSettings:
    """What steers the adaptation; without the prior its weight is 0."""
    return AdaptationSettings(
        prior_weight=settings.weight if with_prior else 0.0,
        seeds=settings.seeds,
        first_seed=settings.first_seed,
    )


def tensor_posterior(
    signals: np.ndarray,
    table: GradientTable,
    region: np.ndarray,
    geometry: hd.VolumeGeometry,
    settings: PriorSettings,
    network: RunNetwork | None,
) -> TensorPosterior:
    """Adapt the prior to a series, or fit its data alone where there is no network.

    Args:
        signals: (slices, rows, columns, volumes), every value finite; volumes with b = 0 among
            them.
        table: of the volumes.
        region: boolean (slices, rows, columns), not empty.
        geometry: of the grid.
        settings: weight and seeds of the prior.
        network: the prior, or None without it.
    """
    axes = array_axes(geometry)
    with single_threaded():
        series = LinearAdaptation(
            neighbours_only(signals, geometry),
            neighbours_only(region, geometry),
            table.b_values,
            directions_in_array(table.directions, axes),
            geometry.spacing,
        )
        with_prior = network is not None and settings.weight > 0
        adapted = adapt(series, network or _no_network, adaptation_settings(settings, with_prior))
        return patient_posterior(adapted, region, axes, with_prior)


def neighbours_only(array: np.ndarray, geometry: hd.VolumeGeometry) -> np.ndarray:
    """Empty slices between slices that lie too far apart to be neighbours to the prior.

    It looks at three slices at a time and takes them to be what they were in training. The voxels
    of a region keep their order.

    Args:
        array: (slices, ...).
        geometry: of its grid.
    """
    if geometry.spacing[0] <= LARGEST_SLICE_DISTANCE or len(array) < 2:
        return array
    apart = np.zeros((2 * len(array) - 1, *array.shape[1:]), array.dtype)
    apart[::2] = array
    return apart


def patient_posterior(
    adapted: Adapted, region: np.ndarray, axes: np.ndarray, with_prior: bool
) -> TensorPosterior:
    """What an adaptation found, in the patient frame.

    Args:
        adapted: in the frame of the array.
        region: boolean (slices, rows, columns), the voxels of ``adapted``.
        axes: (3, 3) of :func:`array_axes`.
        with_prior: whether the prior had a say.
    """
    maps = tensor_maps(adapted)
    maps = replace(
        maps,
        tensor=torch.from_numpy(tensors_in_patient(maps.tensor.numpy(), axes)),
        principal=torch.from_numpy(vectors_in_patient(maps.principal.numpy(), axes)),
    )
    return TensorPosterior(
        region=region,
        maps=maps,
        s0_sd=(maps.s0 * adapted.covariance[:, 0, 0].sqrt()).numpy(),
        data_share=adapted.data_share.numpy(),
        noise=adapted.noise.numpy(),
        residual=adapted.residual,
        unsupported=adapted.unsupported.numpy(),
        with_prior=with_prior,
    )


def put_posterior(fit: VolumeFit, posterior: TensorPosterior) -> None:
    """Let adapted tensors replace those of the plain fit, where there are data to speak of.

    Voxels at the noise floor keep the plain fit: there the prior would only guess.

    Args:
        fit: changed in place.
        posterior: with the prior.
    """
    chosen = torch.from_numpy(~posterior.unsupported)
    maps = posterior.maps
    place = np.nonzero(posterior.mask(~posterior.unsupported))
    put_scalars(
        fit,
        (place[0], place[1], place[2]),
        maps.s0[chosen],
        maps.eigenvalues[chosen],
        posterior.residual[chosen],
        (maps.tensor[chosen], maps.principal[chosen]),
    )
    fit.raised_eigenvalues[place] = (
        maps.eigenvalues[chosen].amin(dim=1) <= SMALLEST_EIGENVALUE
    ).numpy()


def _no_network(*_: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    raise AssertionError("a prior of weight 0 runs no network")
