"""Diffusion and kurtosis tensor of many voxels at once by weighted least squares, constrained.

The unconstrained fit is DIPY's (``dipy.reconst.dki``, method "WLS"): linear in ln S0, D and
V = MD² W, weighted by the squared signal that the ordinary fit predicts. Noise and Gibbs ringing
then leave voxels with negative kurtosis ("holes"). The constraints of Tabesh, Jensen, Ardekani,
Helpern, Magn. Reson. Med. 65:823 (2011), doi 10.1002/mrm.22655 exclude them: along each of a set
of directions K ≥ 0, and the signal does not rise with b up to the highest b used (D ≥ 0 follows
from the two). They are imposed, on the voxels that break them alone, by the alternating
direction method of multipliers (Boyd, Parikh, Chu, Peleato, Eckstein, Found. Trends Mach.
Learn. 3:1 (2011), doi 10.1561/2200000016).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.diffusion.eigen import symmetric_eigen
from models.diffusion.kurtosis import kurtosis_scalars
from models.diffusion.normal_equations import lower_triangle, products
from models.diffusion.ordinary_fit import ordinary_fit
from models.diffusion.signal import kurtosis_basis, tensor_basis
from models.diffusion.tensor_fit import MINIMUM_ATTENUATION

#: A protocol of which the scaled design's singular values span more does not determine kurtosis.
LARGEST_CONDITION = 1e4
_PARAMETERS = 22
_CONSTRAINT_DIRECTIONS = 45
_ITERATIONS = 40
# What a voxel with hardly any diffusion would exceed without bound; DIPY's limit.
_LARGEST_KURTOSIS = 10.0


@dataclass(frozen=True)
class KurtosisFit:
    """Tensors of a batch of voxels; float64.

    Attributes:
        s0: (voxels,) fitted signal at b = 0, in the unit of the signals.
        tensor: (voxels, 6) diffusion tensor, mm²/s, LPS.
        kurtosis: (voxels, 15) kurtosis tensor W.
        eigenvalues: (voxels, 3) of the diffusion tensor, descending, mm²/s, raised to a positive
            minimum.
        principal: (voxels, 3) first eigenvector, LPS; sign arbitrary.
        mean_kurtosis: (voxels,) MK.
        axial_kurtosis: (voxels,) AK.
        radial_kurtosis: (voxels,) RK.
        residuals: (voxels, volumes) measured minus predicted signal.
        constrained: (voxels,) true where the plain solution broke a constraint.
        limited: (voxels,) true where MK, AK or RK lay outside 0 to 10 even so (diffusion next to
            none along some direction) and is that bound; never with ``constrained=False``.
    """

    s0: Tensor
    tensor: Tensor
    kurtosis: Tensor
    eigenvalues: Tensor
    principal: Tensor
    mean_kurtosis: Tensor
    axial_kurtosis: Tensor
    radial_kurtosis: Tensor
    residuals: Tensor
    constrained: Tensor
    limited: Tensor


def design_matrix(b_values: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Rows x with ln S = x · (ln S0, D, V); (volumes, 22), b in the reciprocal unit of D."""
    g = torch.as_tensor(directions, dtype=torch.float64)
    b = np.asarray(b_values, dtype=np.float64)[:, None]
    return np.column_stack(
        (np.ones(len(b)), -b * tensor_basis(g).numpy(), b**2 / 6 * kurtosis_basis(g).numpy())
    )


def condition(b_values: np.ndarray, directions: np.ndarray) -> float:
    """Ratio of largest to smallest singular value of the design, b in units of its maximum.

    Infinite where volumes are fewer than the 22 unknowns or b is zero throughout.
    """
    largest = float(np.max(b_values, initial=0.0))
    if len(b_values) < _PARAMETERS or largest == 0:
        return float("inf")
    return float(np.linalg.cond(design_matrix(np.asarray(b_values) / largest, directions)))


def hemisphere(number: int) -> np.ndarray:
    """(number, 3) unit vectors spread evenly over half a sphere (Fibonacci's spiral)."""
    index = np.arange(number) + 0.5
    z = index / number
    angle = np.pi * (1 + 5**0.5) * index
    radius = np.sqrt(1 - z**2)
    return np.column_stack((radius * np.cos(angle), radius * np.sin(angle), z))


class KurtosisLeastSquares:
    """Fits diffusion and kurtosis tensors to signals of one gradient table.

    Args:
        b_values: (volumes,) s/mm².
        directions: (volumes, 3) unit vectors, LPS; zero rows where b is zero.
        constrained: impose the constraints; without them the fit is DIPY's.
        minimum_signal: smaller signals are fitted as this one (DIPY's is 1e-4); None leaves out
            what is not positive.

    Raises:
        ValueError: the table does not determine the 22 unknowns (needs two shells).
    """

    def __init__(
        self,
        b_values: np.ndarray,
        directions: np.ndarray,
        constrained: bool = True,
        minimum_signal: float | None = None,
    ) -> None:
        found = condition(b_values, directions)
        if not found < LARGEST_CONDITION:
            raise ValueError(
                f"{len(b_values)} volumes do not determine S0, a tensor and its kurtosis "
                f"(condition {found:.3g}, at most {LARGEST_CONDITION:.0e})"
            )
        self.constrained = constrained
        self.minimum_signal = minimum_signal
        b = np.asarray(b_values, dtype=np.float64) / 1e3
        matrix = design_matrix(b, directions)
        self._design = torch.as_tensor(matrix)
        self._pseudo_inverse = torch.as_tensor(np.linalg.pinv(matrix))
        rows, columns = zip(*lower_triangle(_PARAMETERS), strict=True)
        self._lower = (torch.as_tensor(rows), torch.as_tensor(columns))
        self._pairs = products(self._design)
        self._smallest_eigenvalue = MINIMUM_ATTENUATION / float(b.max())
        self._constraints = torch.as_tensor(_constraints(float(b.max())))

    def fit(self, signals: Tensor) -> KurtosisFit:
        """Fit a batch that fits into memory: some 10 kB a voxel.

        Args:
            signals: (voxels, volumes), every value finite.
        """
        measured = signals.to(torch.float64)
        ordinary = ordinary_fit(
            measured.T.contiguous(),
            self._design,
            self._pseudo_inverse,
            self._pairs,
            self.minimum_signal,
        )
        parameters, log_signal = ordinary.parameters.T, ordinary.log_signal.T
        predicted = parameters @ self._design.T
        weights = torch.exp(2 * (predicted - predicted.amax(dim=1, keepdim=True)))
        weights[ordinary.left_out[::-1]] = 0
        normal = self._normal(weights)
        right = (weights * (log_signal - predicted)) @ self._design
        factor, failed = torch.linalg.cholesky_ex(normal)
        correction = torch.cholesky_solve(right[..., None], factor)[..., 0]
        usable = (failed == 0) & correction.isfinite().all(dim=1)
        parameters = parameters + torch.where(usable[:, None], correction, 0.0)
        broken = torch.zeros(len(parameters), dtype=torch.bool)
        if self.constrained:
            broken = (parameters[:, 1:] @ self._constraints.T).amin(dim=1) < 0
            if broken.any():
                parameters[broken] = self._constrain(parameters[broken], normal[broken])
        return self._result(parameters, measured, broken)

    def _normal(self, weights: Tensor) -> Tensor:
        lower = weights @ self._pairs.T
        normal = lower.new_zeros((len(lower), _PARAMETERS, _PARAMETERS))
        normal[:, self._lower[0], self._lower[1]] = lower
        normal[:, self._lower[1], self._lower[0]] = lower
        return normal

    def _constrain(self, start: Tensor, normal: Tensor) -> Tensor:
        """Nearest parameters, in the metric of ``normal``, that meet the constraints."""
        # Single precision halves the time of what is iterative anyway. A weight that is too small
        # for it changes nothing that the constraints leave open.
        rows = torch.nn.functional.pad(self._constraints, (1, 0)).float()
        scale = normal.diagonal(dim1=1, dim2=2).mean(dim=1)
        normal, start = (normal / scale[:, None, None]).float(), start.float()
        # A penalty of the size of what the data say of the constrained combinations.
        scale = normal.diagonal(dim1=1, dim2=2)[:, 1:].mean(dim=1) / len(rows)
        system = normal + (scale * 3)[:, None, None] * (rows.T @ rows)
        system += (
            1e-6
            * normal.diagonal(dim1=1, dim2=2).amax(dim=1)[:, None, None]
            * torch.eye(_PARAMETERS)
        )
        inverse = torch.linalg.inv(system)
        fixed = torch.einsum("vij,vj->vi", normal, start)
        penalty = (scale * 3)[:, None]
        auxiliary = (start @ rows.T).clamp(min=0)
        multiplier = torch.zeros_like(auxiliary)
        for _ in range(_ITERATIONS):
            right = fixed + penalty * ((auxiliary - multiplier) @ rows)
            parameters = torch.bmm(inverse, right[..., None])[..., 0]
            values = parameters @ rows.T
            auxiliary = (values + multiplier).clamp(min=0)
            multiplier = multiplier + values - auxiliary
        return _without_holes(parameters.double(), self._constraints)

    def _result(self, parameters: Tensor, measured: Tensor, broken: Tensor) -> KurtosisFit:
        tensor = parameters[:, 1:7]
        values, first = symmetric_eigen(tensor.T.contiguous())
        values = values.clamp(min=self._smallest_eigenvalue).T
        kurtosis = parameters[:, 7:] / values.mean(dim=1, keepdim=True) ** 2
        scalars = torch.stack(kurtosis_scalars(values, eigenframe(tensor, first.T), kurtosis))
        limited = torch.zeros_like(broken)
        if self.constrained:
            bounded = scalars.clamp(0, _LARGEST_KURTOSIS)
            limited = (bounded != scalars).any(dim=0)
            scalars = bounded
        mean, axial, radial = scalars
        return KurtosisFit(
            s0=parameters[:, 0].exp(),
            tensor=tensor * 1e-3,
            kurtosis=kurtosis,
            eigenvalues=values * 1e-3,
            principal=first.T,
            mean_kurtosis=mean,
            axial_kurtosis=axial,
            radial_kurtosis=radial,
            residuals=measured - torch.exp(parameters @ self._design.T),
            constrained=broken,
            limited=limited,
        )


def eigenframe(tensor: Tensor, first: Tensor) -> Tensor:
    """All three eigenvectors, from the first one.

    Args:
        tensor: (voxels, 6).
        first: (voxels, 3) unit first eigenvectors.

    Returns:
        (voxels, 3, 3) eigenvectors in columns, of descending eigenvalues.
    """
    smallest = first.abs().argmin(dim=1)
    helper = torch.nn.functional.one_hot(smallest, 3).to(first.dtype)
    u = torch.nn.functional.normalize(torch.linalg.cross(first, helper), dim=1)
    v = torch.linalg.cross(first, u)
    basis = tensor_basis(torch.stack((u, v, (u + v) / 2**0.5), dim=1))
    uu, vv, ss = (basis * tensor[:, None, :]).sum(dim=-1).unbind(dim=1)
    turn = torch.atan2(ss - (uu + vv) / 2, (uu - vv) / 2)[:, None] / 2
    second = torch.cos(turn) * u + torch.sin(turn) * v
    return torch.stack((first, second, torch.linalg.cross(first, second)), dim=2)


def _without_holes(parameters: Tensor, constraints: Tensor) -> Tensor:
    """Lift V by the isotropic amount that is still missing where iterations fell short."""
    kurtosis_rows = constraints[: len(constraints) // 2]
    missing = (-(parameters[:, 1:] @ kurtosis_rows.T).amin(dim=1)).clamp(min=0)
    isotropic = parameters.new_zeros(_PARAMETERS)
    isotropic[7:10] = 1
    isotropic[16:19] = 1 / 3
    return parameters + missing[:, None] * isotropic


def _constraints(largest_b: float) -> np.ndarray:
    """Rows c with c · (D, V) ≥ 0: V(g) ≥ 0, then 3 D(g) / b_max ≥ V(g)."""
    g = torch.as_tensor(hemisphere(_CONSTRAINT_DIRECTIONS))
    diffusion, kurtosis = tensor_basis(g).numpy(), kurtosis_basis(g).numpy()
    return np.vstack(
        (
            np.hstack((np.zeros_like(diffusion), kurtosis)),
            np.hstack((3 / largest_b * diffusion, -kurtosis)),
        )
    )
