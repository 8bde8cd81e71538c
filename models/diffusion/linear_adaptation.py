"""A series of volumes, and the steps of the adaptation on it: data, signals, prior.

The steps are exact for any table of gradients, since the table enters through the linear model of
log signals and through the signals themselves alone.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from models.diffusion.channels import DTI, tensor_to_mandel
from models.diffusion.degradation import LARGEST_LOG_SIGNAL, POPULATION_WIDTH
from models.diffusion.noise import FLOOR_RATIO, high_pass_noise, residual_noise
from models.diffusion.normal_equations import factorise, inverse, lower_triangle, products, solve
from models.diffusion.prior import RunNetwork, correlation_with_s0, denoise
from models.diffusion.signal_design import log_design
from models.diffusion.symmetry import symmetry_of_slices
from models.diffusion.tensor_fit import TensorLeastSquares

# Volumes beyond the unknowns from which on residuals tell the noise.
_SMALLEST_FREEDOM = 2
# Voxels at a time: bounds the memory of matrices per voxel.
_CHUNK = 20_000
_DIAGONAL = [lower_triangle(len(DTI)).index((i, i)) for i in range(len(DTI))]


class LinearAdaptation:
    """A series, and the steps of the alternation on it.

    Args:
        signals: (slices, rows, columns, volumes), every value finite.
        brain: bool (slices, rows, columns); only these voxels are looked at.
        b_values: (volumes,) s/mm².
        directions: (volumes, 3) unit vectors in the frame of the array: x along columns, y along
            rows, z along slices.
        voxel: size along slices, rows and columns, mm.
        device: where the steps are computed; results are on the CPU.
    """

    def __init__(
        self,
        signals: np.ndarray,
        brain: np.ndarray,
        b_values: np.ndarray,
        directions: np.ndarray,
        voxel: tuple[float, float, float],
        device: torch.device | str = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.brain = brain
        self.voxel = voxel
        without = b_values < 50
        self.reference = float(np.median(signals[brain][:, without]))
        if not self.reference > 0:
            raise ValueError("the volumes without diffusion weighting hold no signal in the brain")
        self._signals = torch.as_tensor(signals[brain], dtype=torch.float32)
        self._design = torch.as_tensor(log_design(b_values, directions))
        self._weight = torch.empty_like(self._signals)
        self._tensor = TensorLeastSquares(b_values, directions)
        self.plain = torch.empty((len(self._signals), len(DTI)), dtype=torch.float64)
        self._fit()
        #: Whether too few volumes left the noise to be told from differences between neighbours.
        self.from_neighbours = len(b_values) < len(DTI) + _SMALLEST_FREEDOM
        self.noise = self._noise_level(signals, b_values)

    def _noise_level(self, signals: np.ndarray, b_values: np.ndarray) -> Tensor:
        """(voxels,) relative to the reference."""
        if not self.from_neighbours:
            residuals = torch.cat(
                [self._differences(part, self.plain).T.cpu() for part in self._chunks()]
            )
            level = residual_noise(residuals, len(DTI), self.brain, self.voxel)
        else:
            level = high_pass_noise(signals, self.brain, b_values, self.voxel, self.device)
            level = level / self.reference
        return torch.as_tensor(level, dtype=torch.float64)

    def with_noise(self, factor: np.ndarray) -> LinearAdaptation:
        """The same series with its noise multiplied by a (voxels,) factor."""
        other = copy.copy(self)
        other.noise = self.noise * torch.as_tensor(factor, dtype=torch.float64)
        return other

    def _differences(self, part: slice, maps: Tensor) -> Tensor:
        """(volumes, voxels) measured minus predicted, relative."""
        logarithm = self._design.to(self.device) @ self._to_device(maps[part])
        predicted = torch.exp(logarithm.clamp(max=LARGEST_LOG_SIGNAL))
        return self._relative(part) - predicted

    def _chunks(self) -> Iterator[slice]:
        for first in range(0, len(self._signals), _CHUNK):
            yield slice(first, first + _CHUNK)

    def _to_device(self, values: Tensor) -> Tensor:
        """(voxels, elements) as float64 (elements, voxels) on the device."""
        return values.to(self.device, torch.float64).T.contiguous()

    def _relative(self, part: slice) -> Tensor:
        """(volumes, voxels) signals over the reference, float64, on the device."""
        return self._to_device(self._signals[part]) / self.reference

    def _fit(self) -> None:
        """Weighted least squares; weights are the squared signals of the ordinary fit.

        The tensor is in the unit of the channels, so that plain maps are those of ``tensor_fit``.
        """
        design = self._design.to(self.device)
        for part in self._chunks():
            ordinary = self._tensor.ordinary(self._to_device(self._signals[part]))
            predicted = design @ self._channels(ordinary.parameters)
            weight = torch.exp(2 * predicted.clamp(max=LARGEST_LOG_SIGNAL))
            weight[ordinary.left_out] = 0
            self._weight[part] = weight.T.float().cpu()
            parameters, _ = self._tensor.parameters(ordinary)
            self.plain[part] = self._channels(parameters).T.cpu()

    def _channels(self, parameters: Tensor) -> Tensor:
        """(7, voxels) channels of tensors in µm²/ms and ln S0."""
        roots = torch.as_tensor(tensor_to_mandel(np.ones(6)), device=self.device)
        level = parameters[6:] - math.log(self.reference)
        return torch.cat((level, parameters[:6] * roots[:, None]))

    def data_step(
        self, mean: Tensor | None = None, precision: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Maps that suit the data and a Gaussian belief best, and their covariance.

        Args:
            mean: (voxels, channels) belief; by default the mean over brains, held weakly.
            precision: (voxels, channels) reciprocal variances of the belief.

        Returns:
            (voxels, channels) and (voxels, channels, channels), float64.
        """
        size = len(DTI)
        maps = torch.empty_like(self.plain)
        covariance = torch.empty((len(maps), size, size), dtype=torch.float64)
        pairs = products(self._design.to(self.device))
        population = torch.as_tensor(DTI.mean)[None]
        weak = torch.as_tensor(1 / (POPULATION_WIDTH * DTI.spread) ** 2)[None]
        for part in self._chunks():
            plain = self._to_device(self.plain[part])
            belief = self._to_device(weak if precision is None else precision[part])
            centre = self._to_device(population if mean is None else mean[part])
            information = pairs @ self._to_device(self._weight[part])
            information /= self.noise[part].to(self.device) ** 2
            information[_DIAGONAL] += belief
            factor = factorise(information, size)
            # The step away from the plain fit, which suits the data best.
            step = solve(factor, belief * (centre - plain))
            maps[part] = (plain + step).T.cpu()
            covariance[part] = inverse(factor).movedim(-1, 0).cpu()
        return maps, covariance

    def signal_step(self, maps: Tensor, mean: Tensor, precision: Tensor) -> Tensor:
        """A Gauss-Newton step towards what suits the signals themselves and a belief best.

        The logarithm of a weak signal is skewed: it takes free water for slower than it is, and
        its weight comes from the same noisy signals. Here the residuals are signals and their
        weights come from the maps. What the plain fit left out stays left out; a signal that it
        raised for want of others needs no logarithm here and counts as it was measured.

        Args:
            maps: (voxels, channels) to start from, such as those of ``data_step``.
            mean: (voxels, channels) belief.
            precision: (voxels, channels) reciprocal variances of the belief.

        Returns:
            (voxels, channels), float64.
        """
        size = len(DTI)
        design = self._design.to(self.device)
        pairs = products(design)
        refined = torch.empty_like(maps)
        for part in self._chunks():
            now, belief = self._to_device(maps[part]), self._to_device(precision[part])
            predicted = torch.exp((design @ now).clamp(max=LARGEST_LOG_SIGNAL))
            used = self._to_device(self._weight[part]) > 0
            slope = predicted * used / self.noise[part].to(self.device) ** 2
            information = pairs @ (slope * predicted)
            information[_DIAGONAL] += belief
            downhill = design.T @ (slope * (self._relative(part) - predicted))
            downhill += belief * (self._to_device(mean[part]) - now)
            step = solve(factorise(information, size), downhill)
            refined[part] = (now + step).T.cpu()
        return refined

    def prior_step(
        self,
        run: RunNetwork,
        maps: Tensor,
        covariance: Tensor,
        seed: int | None,
        disturbance: float,
    ) -> tuple[Tensor, Tensor]:
        """Posterior mean and SD of the maps, each (voxels, channels).

        Args:
            run: the denoiser.
            maps: (voxels, channels) from the data step.
            covariance: (voxels, channels, channels) of their noise.
            seed: which of the eight symmetries of a slice is used, and what disturbance is
                added; ``None`` for neither.
            disturbance: its SD relative to the noise.
        """
        sd = covariance.diagonal(dim1=1, dim2=2).sqrt()
        correlation = correlation_with_s0(covariance)
        if seed is not None and disturbance > 0:
            generator = torch.Generator().manual_seed(seed)
            noise = torch.randn(maps.shape, generator=generator, dtype=maps.dtype)
            factor = torch.linalg.cholesky(covariance)
            maps = maps + disturbance * (factor @ noise[..., None])[..., 0]
            sd = sd * math.sqrt(1 + disturbance**2)
        symmetry = symmetry_of_slices(0 if seed is None else seed % 8)
        mean, posterior = denoise(
            run,
            symmetry.apply(self._grid(maps)).numpy(),
            symmetry.apply(self._grid(sd), signed=False).numpy(),
            symmetry.apply_scalar(self._grid(correlation[:, None])[0]).numpy(),
            symmetry.apply_scalar(torch.from_numpy(self.brain)).numpy(),
        )
        return (
            self._voxels(symmetry.undo(torch.from_numpy(mean))),
            self._voxels(symmetry.undo(torch.from_numpy(posterior), signed=False)),
        )

    def at_noise_floor(self) -> Tensor:
        """Voxels of which most signals cannot be told from noise; bool (voxels,)."""
        middle = self._signals.median(dim=1).values / self.reference
        return middle < FLOOR_RATIO * self.noise

    def residual(self, maps: Tensor) -> Tensor:
        """Root mean square of measured minus predicted signal, relative; (voxels,)."""
        found = [
            self._differences(part, maps).square().mean(dim=0).sqrt().cpu()
            for part in self._chunks()
        ]
        return torch.cat(found)

    def _grid(self, values: Tensor) -> Tensor:
        grid = torch.zeros((values.shape[1], *self.brain.shape))
        grid[:, torch.from_numpy(self.brain)] = values.T.float()
        return grid

    def _voxels(self, grid: Tensor) -> Tensor:
        return grid[:, torch.from_numpy(self.brain)].T.double()
