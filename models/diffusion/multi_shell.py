"""Kurtosis and NODDI from few directions: the prior of the tensor, shell by shell.

Within one shell the apparent tensor describes the signal in every direction, and the prior, which
was trained on maps of single shells of b = 600 to 2600 s/mm², knows such maps. So each shell is
adapted by itself together with the volumes without weighting; the shells' predictions on a dense
set of directions are then what kurtosis and NODDI are fitted to. Angular detail beyond a tensor
(crossings at high b) is not recovered: ten directions do not determine it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.diffusion.adapt import AdaptationSettings, Adapted, adapt
from models.diffusion.kurtosis_fit import KurtosisFit, KurtosisLeastSquares, hemisphere
from models.diffusion.linear_adaptation import LinearAdaptation
from models.diffusion.noddi_fit import NoddiFit, NoddiGaussNewton, shells
from models.diffusion.prior import RunNetwork
from models.diffusion.signal_design import log_design

#: Directions of each shell on which predictions are fitted.
DENSE_DIRECTIONS = 45
#: A shell with fewer directions does not determine a tensor.
SMALLEST_SHELL = 6
_LARGEST_LOG_SIGNAL = 5.0


@dataclass(frozen=True)
class MultiShell:
    """A series of several shells with the prior adapted to each.

    Attributes:
        b_values: (shells,) mean b of each shell, s/mm², ascending.
        shells: the adapted apparent tensor of each shell.
    """

    b_values: np.ndarray
    shells: tuple[Adapted, ...]

    def predict(
        self, b_values: np.ndarray, directions: np.ndarray, channels: list[Tensor] | None = None
    ) -> Tensor:
        """Signals of every voxel for any table whose b-values are those of the shells or 0.

        Args:
            b_values: (volumes,) s/mm².
            directions: (volumes, 3) unit vectors in the frame of the adaptation.
            channels: (voxels, 7) of each shell, by default the adapted ones.

        Returns:
            (voxels, volumes) float64, in the unit of the signals.
        """
        channels = channels or [shell.channels for shell in self.shells]
        references = [shell.reference for shell in self.shells]
        signals = torch.empty((len(channels[0]), len(b_values)), dtype=torch.float64)
        level = torch.stack(
            [x[:, 0] + np.log(r) for x, r in zip(channels, references, strict=True)]
        ).mean(dim=0)
        nearest = np.abs(b_values[:, None] - self.b_values).argmin(axis=1)
        nearest[b_values < 50] = -1
        signals[:, nearest == -1] = torch.exp(level)[:, None]
        for number, (values, reference) in enumerate(zip(channels, references, strict=True)):
            chosen = nearest == number
            design = torch.as_tensor(log_design(b_values[chosen], directions[chosen]))
            logarithm = (values @ design.T).clamp(max=_LARGEST_LOG_SIGNAL)
            signals[:, chosen] = reference * torch.exp(logarithm)
        return signals

    def dense_table(self) -> tuple[np.ndarray, np.ndarray]:
        """b-values and directions on which the models are fitted."""
        directions = hemisphere(DENSE_DIRECTIONS)
        without = np.zeros((DENSE_DIRECTIONS // 10, 3))
        b = np.concatenate((np.zeros(len(without)), np.repeat(self.b_values, DENSE_DIRECTIONS)))
        return b, np.vstack((without, *([directions] * len(self.shells))))

    def kurtosis(self, channels: list[Tensor] | None = None) -> KurtosisFit:
        """Constrained kurtosis fit of the predictions."""
        b, g = self.dense_table()
        return KurtosisLeastSquares(b, g).fit(self.predict(b, g, channels))

    def noddi(self, channels: list[Tensor] | None = None) -> NoddiFit:
        """NODDI fit of the predictions."""
        b, g = self.dense_table()
        return NoddiGaussNewton(b, g).fit(self.predict(b, g, channels))

    def sample(self, seed: int) -> list[Tensor]:
        """Channels of each shell, drawn from its posterior.

        Refitting a few samples gives the SD of any quantity.
        """
        generator = torch.Generator().manual_seed(seed)
        drawn = []
        for shell in self.shells:
            noise = torch.randn(shell.channels.shape, generator=generator, dtype=torch.float64)
            factor = torch.linalg.cholesky(shell.covariance)
            drawn.append(shell.channels + (factor @ noise[..., None])[..., 0])
        return drawn


def adapt_shells(
    signals: np.ndarray,
    brain: np.ndarray,
    b_values: np.ndarray,
    directions: np.ndarray,
    voxel: tuple[float, float, float],
    run: RunNetwork,
    settings: AdaptationSettings | None = None,
) -> MultiShell:
    """Adapt the prior to each shell of a series.

    Args:
        signals: (slices, rows, columns, volumes).
        brain: bool (slices, rows, columns).
        b_values: (volumes,) s/mm².
        directions: (volumes, 3) unit vectors in the frame of the array.
        voxel: size along slices, rows and columns, mm.
        run: the denoiser of tensors.
        settings: what steers the adaptation.

    Raises:
        ValueError: fewer than two shells of six directions or more.
    """
    groups = shells(b_values)
    without = groups[0]
    usable = [group for group in groups[1:] if len(group) >= SMALLEST_SHELL]
    if b_values[without].max() > 50 or len(usable) < 2:
        found = ", ".join(f"{len(g)} at b = {b_values[g].mean():.0f}" for g in groups)
        raise ValueError(
            f"kurtosis and NODDI need b = 0 and two shells of {SMALLEST_SHELL} directions; "
            f"the series has {found}"
        )
    adapted = []
    for group in usable:
        chosen = np.concatenate((without, group))
        series = LinearAdaptation(
            signals[..., chosen], brain, b_values[chosen], directions[chosen], voxel
        )
        adapted.append(adapt(series, run, settings))
    levels = np.array([b_values[group].mean() for group in usable])
    return MultiShell(levels, tuple(adapted))
