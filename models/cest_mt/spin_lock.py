"""The two-pool pulsed spin-lock approximation, beside the exact :func:`simulate`.

Interleaved saturation and relaxation, ISAR2: Roeloffs, Meyer, Bachert & Zaiss, NMR Biomed.
28:40 (2015), doi 10.1002/nbm.3192, with the exchange-dependent relaxation of Zaiss & Bachert,
NMR Biomed. 26:507 (2013), doi 10.1002/nbm.2887. While locked, water decays with the one rate
R1ρ = Reff + Rex, the other pool following it; in the gaps both relax and exchange along z.

That a pool follows water at once does not hold for the semisolid pool, which exchanges as slowly
as the pulses are long: for it, both are followed through the pulse, water along the effective
field and the pool along z, saturated at the rate of its absorption line.
"""

from __future__ import annotations

import math

import torch

from models.cest_mt.lineshape import absorption
from models.cest_mt.pools import Lineshape, PoolModel, Value
from models.cest_mt.schedule import (
    GYROMAGNETIC_RATIO,
    Delay,
    Image,
    ReadoutTrain,
    SaturationSchedule,
    SpinLock,
    Spoiler,
)

_TURN = 2 * math.pi
_Rates = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def two_pool_spin_lock(
    schedule: SaturationSchedule,
    pools: PoolModel,
    *,
    b0_shift_ppm: Value = 0.0,
    b1_scale: Value = 1.0,
    teacher: torch.Tensor | None = None,
) -> torch.Tensor:
    """Longitudinal magnetisation of water at each acquisition, approximately.

    About 40 times faster than :func:`models.cest_mt.signal.simulate`; how close it comes is in
    ``tests/models/cest_mt/test_spin_lock.py``.

    Args:
        schedule: trains of equal :class:`SpinLock` pulses with equal gaps, each followed by a
            spoiler, with :class:`ReadoutTrain` without exchange and delays as recovery.
        pools: water and exactly one pool that exchanges with it. Numbers, or (voxels,)
            tensors in any mixture.
        b0_shift_ppm: local field minus nominal field, ppm; number or (voxels,).
        b1_scale: local B1 over nominal B1; number or (voxels,).
        teacher: (voxels, images) measured Mz/M0 from which each next image starts, or None.

    Returns:
        (voxels, images).

    Raises:
        ValueError: the schedule holds anything else, or there is not one exchanging pool.
    """
    if len(pools.exchanging) != 1:
        raise ValueError(
            f"the approximation is for water and one pool, not {len(pools.exchanging)}; use "
            "simulate"
        )
    pool = pools.exchanging[0]
    values = [
        torch.as_tensor(value)
        for value in (
            pools.water_t1,
            pools.water_t2,
            pool.fraction,
            pool.exchange_rate,
            pool.t1,
            pool.t2,
            pool.shift,
            b0_shift_ppm,
            b1_scale,
        )
    ]
    given = [value for value in values if value.dim() > 0]
    like = given[0] if given else torch.zeros((), dtype=torch.float64)
    line = None if pools.mt is None else pools.mt_lineshape
    if line is Lineshape.FULL:
        line = Lineshape.LORENTZIAN
    system = _TwoPools(
        line, *torch.broadcast_tensors(*[value.to(like).reshape(-1) for value in values])
    )
    water = torch.ones_like(system.fraction)
    signals = []
    for index, image in enumerate(schedule.images):
        start = torch.ones_like(water) if schedule.relaxed_start else water
        prepared = system.prepare(image, start, schedule.larmor_frequency)
        signals.append(prepared)
        water = system.recover(image, prepared if teacher is None else teacher[:, index])
    return torch.stack(signals, dim=-1)


class _TwoPools:
    """Water and one pool; every value (voxels,)."""

    def __init__(
        self,
        line: Lineshape | None,
        t1: torch.Tensor,
        t2: torch.Tensor,
        fraction: torch.Tensor,
        rate: torch.Tensor,
        pool_t1: torch.Tensor,
        pool_t2: torch.Tensor,
        shift: torch.Tensor,
        b0: torch.Tensor,
        scale: torch.Tensor,
    ) -> None:
        self.line = line
        self.r1, self.r2 = 1 / t1, 1 / t2
        self.fraction, self.rate = fraction, rate
        self.pool_r1, self.pool_r2 = 1 / pool_t1, 1 / pool_t2
        self.shift, self.b0, self.scale = shift, b0, scale

    def prepare(self, image: Image, water: torch.Tensor, larmor_frequency: float) -> torch.Tensor:
        """Water at the end of the preparation of ``image``, from ``water`` before it."""
        events = [event for event in image.preparation if not _is_nothing(event)]
        if not events:
            return water
        locks = [event for event in events[::2] if isinstance(event, SpinLock)]
        gaps = [event.duration for event in events[1::2] if isinstance(event, Delay)]
        if len({*locks}) != 1 or len({*gaps}) > 1 or len(locks) + len(gaps) != len(events):
            raise ValueError(
                "the approximation is for trains of equal spin-lock pulses with equal gaps; "
                "use simulate"
            )
        lock, gap = locks[0], gaps[0] if gaps else 0.0
        ppm = _TURN * larmor_frequency
        omega = _TURN * GYROMAGNETIC_RATIO * lock.amplitude * self.scale
        offset = _TURN * lock.offset - ppm * self.b0
        step = self._follow if self.line is None else self._saturate
        return step(water, omega, offset, ppm, (len(locks), lock.duration, gap))

    def _follow(
        self,
        water: torch.Tensor,
        omega: torch.Tensor,
        offset: torch.Tensor,
        ppm: float,
        train: tuple[int, float, float],
    ) -> torch.Tensor:
        """ISAR2: water after a train of (pulses, pulse duration, gap), angular frequencies."""
        pulses, duration, gap = train
        loss_per_rate = self._exchange_loss_per_rate(omega, offset, ppm)
        sine_squared = omega**2 / (omega**2 + offset**2)
        exchange_loss = self.rate * loss_per_rate
        r1_rho = self.r1 * (1 - sine_squared) + self.r2 * sine_squared + exchange_loss
        locked = torch.sqrt(1 - sine_squared) * self.r1 / r1_rho
        decay = torch.exp(-r1_rho * duration)
        (stay, come), _ = _exponential(self._free_rates(), gap)
        # The other pool over water at the end of a lock, where exchange has taken the loss.
        ratio = self.fraction - loss_per_rate
        rest = 1 - stay - self.fraction * come
        # Gap and lock together take z to slope z + intercept; the first lock has no gap.
        slope = (stay + come * ratio) * decay
        steady = (rest * decay + locked * (1 - decay)) / (1 - slope)
        first = water * decay + locked * (1 - decay)
        return steady + (first - steady) * slope ** (pulses - 1)

    def _exchange_loss_per_rate(
        self, omega: torch.Tensor, offset: torch.Tensor, ppm: float
    ) -> torch.Tensor:
        """Rex of Zaiss & Bachert 2013 divided by the exchange rate, which may be 0."""
        k, r2, effective = self.rate, self.pool_r2, omega**2 + offset**2
        separation = ppm * self.shift
        width = (k + r2) * omega**2 + k * (k + r2) ** 2 + k * (offset - separation) ** 2
        strength = k * separation**2 + effective * r2 + r2 * k * (k + r2)
        return self.fraction * omega**2 / effective * strength / width

    def _saturate(
        self,
        water: torch.Tensor,
        omega: torch.Tensor,
        offset: torch.Tensor,
        ppm: float,
        train: tuple[int, float, float],
    ) -> torch.Tensor:
        """Like :meth:`_follow`, for a pool without coherence that is followed itself."""
        pulses, duration, gap = train
        assert self.line is not None
        line = absorption(self.line, offset - ppm * self.shift, 1 / self.pool_r2, ppm)
        effective = omega**2 + offset**2
        sine_squared, cosine = omega**2 / effective, offset.abs() / torch.sqrt(effective)
        forward, back = self.fraction * self.rate, self.rate
        a = -(self.r1 * (1 - sine_squared) + self.r2 * sine_squared + forward)
        d = -(self.pool_r1 + back + omega**2 * line)
        b, c = back * cosine, forward * cosine
        # Steady state under the lock: A (w, m) = -(R1 cosθ, R1b f).
        source, pool_source = self.r1 * cosine, self.pool_r1 * self.fraction
        determinant = a * d - b * c
        steady = (b * pool_source - d * source) / determinant
        pool_steady = (c * source - a * pool_source) / determinant
        lock, free = _exponential((a, b, c, d), duration), _exponential(self._free_rates(), gap)
        pool = self.fraction * water
        for pulse in range(pulses):
            if pulse:
                x, y = water - 1, pool - self.fraction
                water = 1 + free[0][0] * x + free[0][1] * y
                pool = self.fraction + free[1][0] * x + free[1][1] * y
            x, y = water - steady, pool - pool_steady
            water = steady + lock[0][0] * x + lock[0][1] * y
            pool = pool_steady + lock[1][0] * x + lock[1][1] * y
        return water

    def _free_rates(self) -> _Rates:
        forward, back = self.fraction * self.rate, self.rate
        return -(self.r1 + forward), back, forward, -(self.pool_r1 + back)

    def recover(self, image: Image, water: torch.Tensor) -> torch.Tensor:
        """Water after the recovery of ``image``, from ``water`` at its acquisition."""
        for event in image.recovery:
            if isinstance(event, ReadoutTrain) and not event.exchange:
                lost = torch.exp(-event.repetition_time * self.r1)
                kept = math.cos(math.radians(event.flip_angle)) * lost
                power = kept**event.pulses
                water = power * water + (1 - lost) * (1 - power) / (1 - kept)
            elif isinstance(event, Delay | Spoiler):
                water = 1 - (1 - water) * torch.exp(-event.duration * self.r1)
            else:
                raise ValueError(f"the approximation does not know {event}; use simulate")
        return water


def _exponential(
    rates: _Rates, time: float
) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """exp([[a, b], [c, d]] time) for b c >= 0, where both eigenvalues are real."""
    a, b, c, d = rates
    # The last term, small beside any rate, keeps the division where the rates coincide.
    root = torch.sqrt((a - d) ** 2 + 4 * b * c + 1e-12)
    slow = torch.exp((a + d + root) / 2 * time)
    fast = torch.exp((a + d - root) / 2 * time)
    mean, mixed = (slow + fast) / 2, (slow - fast) / root
    half = (a - d) / 2 * mixed
    return (mean + half, b * mixed), (c * mixed, mean - half)


def _is_nothing(event: object) -> bool:
    return isinstance(event, Spoiler) and event.duration == 0
