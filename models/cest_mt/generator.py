"""Bloch-McConnell generators of a batch of voxels.

The generator [A c] of dM/dt = A M + c is (n, n + 1, ..., voxels) in 1/s. Rows: x of every pool
that has transverse magnetisation (water first, then solutes, then a full semisolid pool),
their y, then z of every pool. Relaxation and exchange with detailed balance follow McConnell,
J. Chem. Phys. 28:430 (1958), doi 10.1063/1.1744152.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from models.cest_mt.lineshape import absorption
from models.cest_mt.pools import Lineshape, PoolModel
from models.cest_mt.schedule import GYROMAGNETIC_RATIO, Pulse, SpinLock, Tip

_TURN = 2 * math.pi


class Generators:
    """Generators with and without radio frequency.

    Args:
        pools: tells which pools there are and how the semisolid one is treated.
        columns: (voxels,) each: the values of ``pools`` in their order, B0 shift in ppm, B1
            scale.
        larmor_frequency: Hz per ppm.

    Attributes:
        transverse: number of pools with transverse magnetisation.
        fractions: (pools, voxels), water first.
        water_t1: (voxels,), s.
        free: (n, n + 1, voxels), without RF, in the frame of water at the nominal field.
    """

    def __init__(
        self, pools: PoolModel, columns: Sequence[torch.Tensor], larmor_frequency: float
    ) -> None:
        self._ppm = _TURN * larmor_frequency  # rad/s per ppm
        self.water_t1, water_t2, *rest = columns[:-2]
        self._b0, self._scale = columns[-2:]
        exchanging = [rest[start : start + 5] for start in range(0, len(rest), 5)]
        self._lineshape = pools.mt_lineshape if pools.mt is not None else Lineshape.FULL
        z_only = self._lineshape is not Lineshape.FULL
        self._mt = exchanging[-1] if z_only else None
        self.transverse = 1 + len(exchanging) - z_only
        self._size = 2 * self.transverse + 1 + len(exchanging)
        one = torch.ones_like(self._b0)
        self.fractions = torch.stack([one, *(pool[0] for pool in exchanging)])
        self.free = self._free(water_t2, exchanging)
        self._rotations = self._rotation_generators()

    def column(self, values: Sequence[float]) -> torch.Tensor:
        """(values, 1), to go with (voxels,)."""
        return self._b0.new_tensor(values)[:, None]

    def _free(
        self, water_t2: torch.Tensor, exchanging: Sequence[Sequence[torch.Tensor]]
    ) -> torch.Tensor:
        size, count = self._size, self.transverse
        zero = torch.zeros_like(self._b0)
        rows = [[zero] * (size + 1) for _ in range(size)]
        water = (torch.ones_like(zero), zero, self.water_t1, water_t2, zero)
        for pool, (fraction, rate, t1, t2, shift) in enumerate([water, *exchanging]):
            components = [2 * count + pool]  # z, and x and y where the pool has them
            rows[2 * count + pool][2 * count + pool] = -1 / t1
            rows[2 * count + pool][size] = fraction / t1
            if pool < count:
                x, y = pool, count + pool
                precession = self._ppm * (shift + self._b0)
                rows[x][x] = rows[y][y] = -1 / t2
                rows[x][y], rows[y][x] = -precession, precession
                components += [x, y]
            if pool == 0:
                continue
            for there in components:
                here = there - pool  # the same component of water
                rows[there][there] = rows[there][there] - rate
                rows[here][here] = rows[here][here] - fraction * rate
                rows[here][there], rows[there][here] = rate, fraction * rate
        return torch.stack([torch.stack(row) for row in rows])

    def _rotation_generators(self) -> tuple[torch.Tensor, ...]:
        """Unit rotations of all pools: of the RF frame, by RF of phase 0 and of phase 90°."""
        count = self.transverse
        about_z, about_x, about_y = self.free.new_zeros(3, self._size, self._size + 1, 1, 1)
        for x in range(count):
            y, z = count + x, 2 * count + x
            about_z[x, y], about_z[y, x] = 1.0, -1.0
            about_x[y, z], about_x[z, y] = 1.0, -1.0
            about_y[x, z], about_y[z, x] = -1.0, 1.0
        return about_z, about_x, about_y

    def driven(
        self, offsets: Sequence[float], amplitudes: Sequence[float], phases: Sequence[float]
    ) -> torch.Tensor:
        """Generators with RF on, in the frame of the RF.

        Args:
            offsets: frequency above nominal water, Hz.
            amplitudes: nominal B1, µT.
            phases: rad.

        Returns:
            (n, n + 1, as many as given, voxels).
        """
        turns = self.column([_TURN * offset for offset in offsets])
        omega = [_TURN * GYROMAGNETIC_RATIO * amplitude for amplitude in amplitudes]
        cosine = self.column([w * math.cos(p) for w, p in zip(omega, phases, strict=True)])
        sine = self.column([w * math.sin(p) for w, p in zip(omega, phases, strict=True)])
        about_z, about_x, about_y = self._rotations
        nutation = about_x * cosine + about_y * sine
        generator = self.free[:, :, None] + about_z * turns + nutation * self._scale
        if self._mt is None:
            return generator
        _, _, _, t2, shift = self._mt
        detuning = turns - self._ppm * (shift + self._b0)
        line = absorption(self._lineshape, detuning, t2, self._ppm)
        saturation = self.free.new_zeros(self._size, self._size + 1, 1, 1)
        saturation[-1, -2] = -1.0
        return generator + saturation * ((self.column(omega) * self._scale) ** 2 * line)

    def pulses(self, pulses: Sequence[Pulse], samples: Sequence[int]) -> torch.Tensor:
        """Generators times sample duration, (n, n + 1, samples × pulses, voxels)."""
        generator = self.driven(
            [pulse.offset for _ in samples for pulse in pulses],
            [pulse.amplitudes[sample] for sample in samples for pulse in pulses],
            [pulse.phases[sample] for sample in samples for pulse in pulses],
        )
        return generator * self.column([pulse.sample_duration for _ in samples for pulse in pulses])

    def spin_locks(self, locks: Sequence[SpinLock]) -> torch.Tensor:
        """Generators times duration between ideal tips, (n, n + 1, locks, voxels).

        Their exponential is tip-up after exp(A t) after tip-down. In these axes the locked
        magnetisation hardly couples to the rest, which float32 needs; and the tips cost
        nothing.
        """
        generator = self.driven(
            [lock.offset for lock in locks], [lock.amplitude for lock in locks], [0.0] * len(locks)
        )
        generator = generator * self.column([lock.duration for lock in locks])
        angle = self._tip_angle(locks)
        cos, sin = torch.cos(angle), torch.sin(angle)
        count, rest = self.transverse, self._size - 3 * self.transverse
        x, y, z, other = generator.split([count, count, count, rest])
        generator = torch.cat([cos * x - sin * z, y, sin * x + cos * z, other])
        x, y, z, other = generator.split([count, count, count, rest + 1], dim=1)
        return torch.cat([cos * x - sin * z, y, sin * x + cos * z, other], dim=1)

    def _tip_angle(self, locks: Sequence[SpinLock]) -> torch.Tensor:
        """Angle of the ideal tips, with the sign of the offset, rad, (locks, voxels)."""
        omega = self.column([_TURN * GYROMAGNETIC_RATIO * lock.amplitude for lock in locks])
        offset = self.column([_TURN * lock.offset for lock in locks])
        if locks[0].tip is Tip.PERFECT:
            offset, omega = offset - self._ppm * self._b0, omega * self._scale
        angle = torch.where(offset < 0, -1.0, 1.0) * torch.atan2(omega, offset.abs())
        return angle if locks[0].tip is Tip.PERFECT else angle * self._scale
