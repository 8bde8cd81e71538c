"""The denoiser of parameter maps that serves as prior.

A 2.5-D U-Net (MONAI's ``BasicUNet`` without normalisation layers, since those would make a value
depend on what else is in the picture) estimates the maps of the middle of three slices from
noisy ones. It is preconditioned after Karras, Aittala, Aila, Laine, NeurIPS 2022 (arXiv
2206.00364), except that the noise level is a map for each channel: where the data are already
certain the input passes unchanged, where they say nothing the network speaks alone.
"""

from __future__ import annotations

import torch
from monai.networks.nets.basic_unet import BasicUNet
from torch import Tensor, nn

from models.diffusion.channels import Stack

#: Slices that the network sees; it answers for the middle one.
SLICES = 3
#: Bounds of the predicted posterior SD relative to what one coefficient of the output stands for.
_LOG_SD = (-4.0, 1.0)


class PriorNetwork(nn.Module):
    """Posterior mean and standard deviation of parameter maps given noisy ones.

    Args:
        stack: the channels.
        features: widths of the five levels and of the last layer.
    """

    mean: Tensor
    spread: Tensor

    def __init__(
        self,
        stack: Stack,
        features: tuple[int, int, int, int, int, int] = (24, 32, 48, 64, 96, 24),
    ) -> None:
        super().__init__()
        channels = len(stack)
        self.channels = channels
        self.register_buffer("mean", torch.tensor(stack.mean, dtype=torch.float32)[:, None, None])
        self.register_buffer(
            "spread", torch.tensor(stack.spread, dtype=torch.float32)[:, None, None]
        )
        # Beside maps and SD: correlation, brain, presence of the slice below and above.
        self.unet = BasicUNet(
            spatial_dims=2,
            in_channels=SLICES * channels + channels + 1 + 1 + 2,
            out_channels=2 * channels,
            features=features,
            act=("LeakyReLU", {"negative_slope": 0.1, "inplace": True}),
            norm=None,  # type: ignore[arg-type]  # MONAI's layers take None, its hints do not
            upsample="deconv",
        )

    def forward(
        self, maps: Tensor, sd: Tensor, correlation: Tensor, brain: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Denoise the middle slice.

        Args:
            maps: (batch, 3, channels, rows, columns) noisy maps of three slices.
            sd: (batch, channels, rows, columns) SD of the noise of the middle slice.
            correlation: (batch, 1, rows, columns) of the noise of ln S0 and of the isotropic part
                of the tensor.
            brain: (batch, 3, rows, columns) 1 where there are data, 0 elsewhere; a slice that
                does not exist is 0 throughout.

        Returns:
            Posterior mean and SD, each (batch, channels, rows, columns).
        """
        total = torch.sqrt(self.spread**2 + sd**2)
        inside = brain[:, :, None]
        scaled = (maps - self.mean) / total[:, None] * inside
        presence = (brain[:, [0, 2]].amax(dim=(2, 3), keepdim=True) > 0) * torch.ones_like(
            brain[:, [0, 2]]
        )
        level = torch.log(sd / self.spread + 1e-3) / 3
        picture = torch.cat(
            (
                scaled.flatten(1, 2),
                level * brain[:, 1:2],
                correlation * brain[:, 1:2],
                brain[:, 1:2],
                presence,
            ),
            dim=1,
        )
        residual, log_sd = self.unet(picture).chunk(2, dim=1)
        keep = (self.spread / total) ** 2
        reach = sd * self.spread / total
        mean = self.mean + keep * (maps[:, 1] - self.mean) + reach * residual.to(maps.dtype)
        return mean, reach * torch.exp(log_sd.to(maps.dtype).clamp(*_LOG_SD))
