"""Diffusion tensor of many voxels at once by ordinary or weighted linear least squares.

Basser, Mattiello, Le Bihan, J. Magn. Reson. B 103:247 (1994), doi 10.1006/jmrb.1994.1037;
weights from the ordinary fit: Chung, Lu, Henry, NeuroImage 33:531 (2006),
doi 10.1016/j.neuroimage.2006.07.001. Signals that are not positive are left out
(``ordinary_fit.py``), or, where a minimum is given, fitted as that, as DIPY 1.12 and scanners do.
Eigenvalues that physics forbids are replaced as DIPY does (``dipy.reconst.dti``). Otherwise both
fits agree with DIPY in every voxel; each replacement is counted, for a quality finding.

Inside, arrays are (elements, voxels): every step then runs over contiguous voxels, and the
7×7 normal equations of all voxels are solved together, at some 2 million voxels/s a core.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from models.diffusion.design import LARGEST_CONDITION, PARAMETERS, condition, design_matrix
from models.diffusion.eigen import symmetric_eigen
from models.diffusion.normal_equations import factorise, products, solve
from models.diffusion.ordinary_fit import OrdinaryFit, ordinary_fit

Method = Literal["weighted", "ordinary"]

#: Smallest b·D that an eigenvalue may stand for (DIPY's tolerance); smaller ones are raised.
MINIMUM_ATTENUATION = 1e-6


@dataclass(frozen=True)
class TensorFit:
    """Tensors of a batch of voxels; float64.

    Attributes:
        s0: (voxels,) fitted signal at b = 0, in the unit of the signals.
        tensor: (voxels, 6) Dxx, Dyy, Dzz, Dxy, Dxz, Dyz in mm²/s, LPS, as fitted.
        eigenvalues: (voxels, 3) descending, mm²/s, raised to the minimum where below it.
        principal: (voxels, 3) unit eigenvector of the first eigenvalue, LPS; sign arbitrary.
        residuals: (voxels, volumes) measured minus predicted signal, of what was left out too.
        raised_signals: (voxels,) number of signals that were fitted as a larger one.
        left_out_signals: (voxels,) number of signals that are not positive and were left out.
        raised_eigenvalues: (voxels,) number of eigenvalues below the minimum.
        unweighted: (voxels,) true where the weighted equations were singular in double
            precision and the ordinary fit stands instead.
    """

    s0: Tensor
    tensor: Tensor
    eigenvalues: Tensor
    principal: Tensor
    residuals: Tensor
    raised_signals: Tensor
    left_out_signals: Tensor
    raised_eigenvalues: Tensor
    unweighted: Tensor


class TensorLeastSquares:
    """Fits tensors to signals of one gradient table.

    Args:
        b_values: (volumes,) s/mm².
        directions: (volumes, 3) unit vectors, LPS; zero rows where b is zero.
        method: "ordinary" least squares of ln S, or "weighted" by the squared signal that
            the ordinary fit predicts.
        minimum_signal: smaller signals are fitted as this one (DIPY's is 1e-4, that of Siemens
            one stored unit); None leaves out what is not positive.

    Raises:
        ValueError: the table does not determine the seven unknowns.
    """

    def __init__(
        self,
        b_values: np.ndarray,
        directions: np.ndarray,
        method: Method = "weighted",
        minimum_signal: float | None = None,
    ) -> None:
        found = condition(b_values, directions)
        if not found < LARGEST_CONDITION:
            raise ValueError(
                f"{len(b_values)} volumes do not determine a tensor and S0 "
                f"(condition {found:.3g}, at most {LARGEST_CONDITION:.0e})"
            )
        self.method = method
        self.minimum_signal = minimum_signal
        # With b in ms/µm² and D in µm²/ms every element is of the order of one.
        matrix = design_matrix(np.asarray(b_values, dtype=np.float64) / 1e3, directions)
        # DIPY divides by the largest element of its design instead of the largest b, which
        # makes its minimum depend, by parts in 1e9 mm²/s, on how the head lies.
        self.minimum_eigenvalue = MINIMUM_ATTENUATION / float(np.max(b_values))
        self._design = torch.as_tensor(matrix)
        self._pseudo_inverse = torch.as_tensor(np.linalg.pinv(matrix))
        self._products = products(self._design)

    def ordinary(self, measured: Tensor) -> OrdinaryFit:
        """The ordinary fit of (volumes, voxels) signals, float64; unknowns as of ``parameters``."""
        device = measured.device
        return ordinary_fit(
            measured,
            self._design.to(device),
            self._pseudo_inverse.to(device),
            self._products.to(device),
            self.minimum_signal,
        )

    def parameters(self, ordinary: OrdinaryFit) -> tuple[Tensor, Tensor]:
        """Unknowns of a batch of voxels.

        Args:
            ordinary: their ordinary fit.

        Returns:
            (7, voxels) Dxx, Dyy, Dzz, Dxy, Dxz, Dyz in µm²/ms and ln S0, float64; (voxels,) true
            where the weighted equations were singular and the ordinary fit stands instead.
        """
        parameters, log_signal, left_out, _ = ordinary
        unweighted = torch.zeros(parameters.shape[1], dtype=torch.bool, device=parameters.device)
        if self.method == "weighted":
            design = self._design.to(parameters.device)
            # The correction of the ordinary fit is solved for, not the parameters: residuals
            # are small, so an ill-conditioned voxel loses digits of little weight only.
            predicted = design @ parameters
            weights = torch.exp(2 * (predicted - predicted.amax(dim=0)))
            weights[left_out] = 0
            normal = self._products.to(parameters.device) @ weights
            right = design.T @ weights.mul_(predicted.neg_().add_(log_signal))
            correction = solve(factorise(normal, PARAMETERS), right)
            unweighted = ~correction.isfinite().all(dim=0)
            parameters = parameters + torch.where(unweighted, 0.0, correction)
        return parameters, unweighted

    def fit(self, signals: Tensor) -> TensorFit:
        """Fit a batch that fits into memory: some 3 kB a voxel.

        Args:
            signals: (voxels, volumes), every value finite; results are on their device.
        """
        measured = signals.T.to(torch.float64).contiguous()
        ordinary = self.ordinary(measured)
        parameters, unweighted = self.parameters(ordinary)
        predicted = self._design.to(signals.device) @ parameters
        values, principal = symmetric_eigen(parameters[:6])
        values = values * 1e-3
        return TensorFit(
            s0=parameters[6].exp(),
            tensor=(parameters[:6] * 1e-3).T,
            eigenvalues=values.clamp(min=self.minimum_eigenvalue).T,
            principal=principal.T,
            residuals=measured.sub_(predicted.exp_()).T,
            raised_signals=ordinary.raised,
            left_out_signals=ordinary.left_out_signals(),
            raised_eigenvalues=(values < self.minimum_eigenvalue).sum(dim=0),
            unweighted=unweighted,
        )
