"""Signal equations of the weighted images that guide super-resolution, and their derivatives.

Times in ms, flip angles in degrees, T1 and T2 in ms, proton density (PD) relative to water.
Every argument is a number or a tensor; all broadcast, so that one call serves a batch of images
with one protocol each. Signals have the unit of PD: 1 is the fully relaxed signal of water.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

Number = float | Tensor

LOG_STEP = 0.02
"""Half width of the central difference in ln T1: the error of the derivative is below 0.1 %."""


class WeightedSequence(ABC):
    """A pulse sequence whose image is a known function of PD, T1 and T2."""

    @abstractmethod
    def signal(
        self,
        proton_density: Tensor,
        t1: Tensor,
        t2: Tensor,
        *,
        b1: Number = 1.0,
        t2_star: Number | None = None,
    ) -> Tensor:
        """Signal of voxels.

        Args:
            proton_density: relative to water, any shape.
            t1: in ms, same shape.
            t2: in ms, same shape.
            b1: transmit field relative to nominal; scales the excitation angle.
            t2_star: in ms; None leaves the T2* decay of gradient echoes, which is short and
                nearly uniform in tissue, to the guide scale. Spin echoes do not use it.

        Returns:
            signal in units of PD, same shape.
        """

    @property
    def transverse_decay_time(self) -> Number:
        """Time in ms over which the signal decays with T2; 0 where it does not depend on T2."""
        return 0.0

    def sensitivities(self, maps: Tensor, *, b1: Number = 1.0) -> tuple[Tensor, Tensor]:
        """Signal and its derivatives with respect to ln PD, ln T1 and ln T2.

        Args:
            maps: (images, 3, ...) PD, T1 in ms, T2 in ms; all positive.
            b1: transmit field relative to nominal.

        Returns:
            signal (images, ...) and derivatives (images, 3, ...), both in units of PD.
        """
        proton_density, t1, t2 = maps.unbind(1)
        step = float(torch.exp(torch.tensor(LOG_STEP)))
        signal = self.signal(proton_density, t1, t2, b1=b1)
        above = self.signal(proton_density, t1 * step, t2, b1=b1)
        below = self.signal(proton_density, t1 / step, t2, b1=b1)
        by_t2 = signal * self.transverse_decay_time / t2
        return signal, torch.stack([signal, (above - below) / (2 * LOG_STEP), by_t2], dim=1)


def _exponential(time: Number, constant: Tensor) -> Tensor:
    return torch.exp(-time / constant)


def _sine_cosine(flip_angle: Number, b1: Number, like: Tensor) -> tuple[Tensor, Tensor]:
    angle = torch.deg2rad(torch.as_tensor(flip_angle, dtype=like.dtype, device=like.device)) * b1
    return torch.sin(angle), torch.cos(angle)


def _t2_star_decay(echo_time: Number, t2_star: Number | None, like: Tensor) -> Tensor:
    if t2_star is None:
        return torch.ones((), dtype=like.dtype, device=like.device)
    return torch.exp(-torch.as_tensor(echo_time, dtype=like.dtype, device=like.device) / t2_star)


@dataclass(frozen=True)
class SpinEcho(WeightedSequence):
    """Spin echo, 90° and 180°.

    Attributes:
        repetition_time: TR in ms.
        echo_time: TE in ms.
    """

    repetition_time: Number
    echo_time: Number

    @property
    def transverse_decay_time(self) -> Number:
        """TE in ms."""
        return self.echo_time

    def signal(
        self,
        proton_density: Tensor,
        t1: Tensor,
        t2: Tensor,
        *,
        b1: Number = 1.0,
        t2_star: Number | None = None,
    ) -> Tensor:
        """PD (1 - 2 exp(-(TR - TE/2)/T1) + exp(-TR/T1)) exp(-TE/T2); see the base class."""
        refocused = self.repetition_time - self.echo_time / 2
        recovery = 1 - 2 * _exponential(refocused, t1) + _exponential(self.repetition_time, t1)
        return proton_density * recovery * _exponential(self.echo_time, t2)


@dataclass(frozen=True)
class FastSpinEcho(WeightedSequence):
    """Fast (turbo) spin echo: a spin echo of the effective TE that recovers after its train.

    Attributes:
        repetition_time: TR in ms.
        effective_echo_time: TE of the k-space centre in ms.
        echo_train_duration: time from the excitation to the end of the echo train in ms.
    """

    repetition_time: Number
    effective_echo_time: Number
    echo_train_duration: Number = 0.0

    @property
    def transverse_decay_time(self) -> Number:
        """Effective TE in ms."""
        return self.effective_echo_time

    def signal(
        self,
        proton_density: Tensor,
        t1: Tensor,
        t2: Tensor,
        *,
        b1: Number = 1.0,
        t2_star: Number | None = None,
    ) -> Tensor:
        """PD (1 - exp(-(TR - T_ET)/T1)) exp(-TE/T2); see the base class.

        The refocusing pulses hold the longitudinal magnetisation near zero during the train, so
        that it recovers from zero over what is left of TR.
        """
        recovery = 1 - _exponential(self.repetition_time - self.echo_train_duration, t1)
        return proton_density * recovery * _exponential(self.effective_echo_time, t2)


@dataclass(frozen=True)
class SpoiledGradientEcho(WeightedSequence):
    """Spoiled gradient echo in the steady state (SPGR, FLASH, T1-FFE).

    Attributes:
        repetition_time: TR in ms.
        flip_angle: nominal, in degrees.
        echo_time: TE in ms.
    """

    repetition_time: Number
    flip_angle: Number
    echo_time: Number = 0.0

    def signal(
        self,
        proton_density: Tensor,
        t1: Tensor,
        t2: Tensor,
        *,
        b1: Number = 1.0,
        t2_star: Number | None = None,
    ) -> Tensor:
        """PD sin α (1 - E1)/(1 - cos α E1) exp(-TE/T2*) (Ernst, doi 10.1063/1.1719961)."""
        sine, cosine = _sine_cosine(self.flip_angle, b1, t1)
        recovery = _exponential(self.repetition_time, t1)
        decay = _t2_star_decay(self.echo_time, t2_star, t1)
        return proton_density * sine * (1 - recovery) / (1 - cosine * recovery) * decay


@dataclass(frozen=True)
class Mprage(WeightedSequence):
    """Magnetisation-prepared rapid gradient echo in its steady state, magnitude image.

    Attributes:
        shot_repetition_time: time between inversions in ms. Siemens and GE headers give it as
            TR; a Philips header gives the echo spacing as TR.
        inversion_time: from the inversion to the readout of the k-space centre, in ms.
        flip_angle: nominal, in degrees.
        echo_spacing: time between readouts in ms.
        readouts: number of readouts after each inversion (turbo factor).
        centre_readout: readouts before the one of the k-space centre.
        inversion_efficiency: minus Mz after the inversion over Mz before it.
        echo_time: TE in ms.
    """

    shot_repetition_time: Number
    inversion_time: Number
    flip_angle: Number
    echo_spacing: Number
    readouts: Number
    centre_readout: Number
    inversion_efficiency: Number = 0.96
    echo_time: Number = 0.0

    def signal(
        self,
        proton_density: Tensor,
        t1: Tensor,
        t2: Tensor,
        *,
        b1: Number = 1.0,
        t2_star: Number | None = None,
    ) -> Tensor:
        """Magnitude of the signal of the k-space centre; see the base class.

        The steady state follows from one shot (after Deichmann et al. 2000, doi
        10.1006/nimg.2000.0601): inversion, recovery over T_A, readouts that drive Mz towards
        (1 - E)/(1 - E cos α), recovery over T_D.
        """
        sine, cosine = _sine_cosine(self.flip_angle, b1, t1)
        before = self.inversion_time - self.centre_readout * self.echo_spacing
        after = self.shot_repetition_time - before - self.readouts * self.echo_spacing
        recovery = _exponential(self.echo_spacing, t1)
        recovery_before, recovery_after = _exponential(before, t1), _exponential(after, t1)
        per_readout = cosine * recovery
        whole_train = per_readout**self.readouts
        to_centre = per_readout**self.centre_readout
        plateau = (1 - recovery) / (1 - per_readout)
        efficiency = self.inversion_efficiency
        steady = (
            (1 - recovery_after)
            + recovery_after * (plateau * (1 - whole_train) + whole_train * (1 - recovery_before))
        ) / (1 + efficiency * recovery_before * whole_train * recovery_after)
        at_readout = 1 - recovery_before - efficiency * steady * recovery_before
        at_centre = at_readout * to_centre + plateau * (1 - to_centre)
        return (
            proton_density * sine * _t2_star_decay(self.echo_time, t2_star, t1) * at_centre
        ).abs()


@dataclass(frozen=True)
class Flair(WeightedSequence):
    """Fluid-attenuated inversion recovery with a fast spin echo readout, magnitude image.

    Attributes:
        repetition_time: TR in ms.
        inversion_time: TI in ms.
        effective_echo_time: TE of the k-space centre in ms.
        echo_train_duration: duration of the echo train in ms.
    """

    repetition_time: Number
    inversion_time: Number
    effective_echo_time: Number
    echo_train_duration: Number = 0.0

    @property
    def transverse_decay_time(self) -> Number:
        """Effective TE in ms."""
        return self.effective_echo_time

    def signal(
        self,
        proton_density: Tensor,
        t1: Tensor,
        t2: Tensor,
        *,
        b1: Number = 1.0,
        t2_star: Number | None = None,
    ) -> Tensor:
        """PD |1 - 2 exp(-TI/T1) + exp(-(TR - T_ET)/T1)| exp(-TE/T2) (De Coene et al. 1992)."""
        shot = self.repetition_time - self.echo_train_duration
        recovery = 1 - 2 * _exponential(self.inversion_time, t1) + _exponential(shot, t1)
        return (proton_density * recovery * _exponential(self.effective_echo_time, t2)).abs()
