"""The magnetisation of a batch of voxels, played through events.

The state is (n, images, voxels): x of every pool that has transverse magnetisation (water
first), then their y, then z of every pool. A batch of several images holds images of the same
structure: event by event of the same kind, of whatever amplitude, frequency and duration.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from models.cest_mt.lineshape import absorption
from models.cest_mt.pools import Lineshape, PoolModel
from models.cest_mt.propagator import apply, compose, exponential
from models.cest_mt.schedule import (
    GYROMAGNETIC_RATIO,
    Delay,
    Event,
    Pulse,
    ReadoutTrain,
    SpinLock,
    Spoiler,
    Tip,
)

_TURN = 2 * math.pi


class Evolution:
    """Plays events to voxels.

    Args:
        pools: tells which pools there are and how the semisolid one is treated.
        columns: (voxels,) each: the values of ``pools`` in their order, B0 shift in ppm, B1
            scale.
        larmor_frequency: Hz per ppm.
        gap_phase: see :func:`models.cest_mt.signal.simulate`.
        matrices: number of exponentials to compute at once.
    """

    def __init__(
        self,
        pools: PoolModel,
        columns: Sequence[torch.Tensor],
        larmor_frequency: float,
        gap_phase: str,
        matrices: int,
    ) -> None:
        self._rf_frame_gaps = gap_phase == "rf_frame"
        self._matrices = matrices
        self._ppm = _TURN * larmor_frequency  # rad/s per ppm
        t1, t2, *rest = columns[:-2]
        self._b0, self._scale = columns[-2:]
        exchanging = [rest[start : start + 5] for start in range(0, len(rest), 5)]
        self._lineshape = pools.mt_lineshape if pools.mt is not None else Lineshape.FULL
        z_only = self._lineshape is not Lineshape.FULL
        self._pools = 1 + len(exchanging)
        self._transverse = self._pools - z_only
        self._size = 2 * self._transverse + self._pools
        one = torch.ones_like(self._b0)
        self._fractions = torch.stack([one, *(pool[0] for pool in exchanging)])
        self._water_t1 = t1
        self._mt = exchanging[-1] if z_only else None
        self._free = self._free_generator(t1, t2, exchanging)
        self._known: dict[tuple, torch.Tensor] = {}
        self._expected: dict[tuple, Event] = {}

    # States

    def equilibrium(self, images: int) -> torch.Tensor:
        """Thermal equilibrium, (n, images, voxels)."""
        return self.in_equilibrium_with(self._fractions[:1].expand(images, -1))

    def in_equilibrium_with(self, water: torch.Tensor) -> torch.Tensor:
        """No transverse magnetisation; every pool at its fraction of ``water``, (images, voxels)."""
        longitudinal = self._fractions[:, None] * water
        transverse = torch.zeros_like(longitudinal[:1]).expand(2 * self._transverse, -1, -1)
        return torch.cat([transverse, longitudinal])

    def water(self, state: torch.Tensor) -> torch.Tensor:
        """Longitudinal magnetisation of water, (images, voxels)."""
        return state[2 * self._transverse]

    # Events

    @staticmethod
    def structure(events: Sequence[Event]) -> tuple:
        """What images must share to be played as one batch."""
        return tuple(
            (type(event), len(event.amplitudes))
            if isinstance(event, Pulse)
            else (type(event), event.tip)
            if isinstance(event, SpinLock)
            else event
            if isinstance(event, ReadoutTrain)
            else (type(event),)
            for event in events
        )

    def play(self, sequences: Sequence[Sequence[Event]], state: torch.Tensor) -> torch.Tensor:
        """Play one sequence of events per image.

        Args:
            sequences: events of each image, all of one :meth:`structure`.
            state: (n, images, voxels) at the start.

        Returns:
            (n, images, voxels) at the end.
        """
        frequency = [0.0] * len(sequences)
        for events in zip(*sequences, strict=True):
            first = events[0]
            if isinstance(first, ReadoutTrain):
                state = self._read_out(first, state)
                continue
            if isinstance(first, Pulse):
                phases = [event.phase for event in events]
                state = self._turn(state, [-phase for phase in phases])
                state = apply(self._maps(events), state)
                state = self._turn(state, phases)
                frequency = [event.offset for event in events]
            elif isinstance(first, SpinLock):
                state = apply(self._maps(events), state)
                frequency = [event.offset for event in events]
            else:
                state = apply(self._maps(events), state)
                if self._rf_frame_gaps:
                    state = self._turn(
                        state,
                        [
                            -_TURN * f * event.duration
                            for f, event in zip(frequency, events, strict=True)
                        ],
                    )
                if isinstance(first, Spoiler):
                    longitudinal = state[2 * self._transverse :]
                    nothing = torch.zeros_like(state[: 2 * self._transverse])
                    state = torch.cat([nothing, longitudinal])
        return state

    def _turn(self, state: torch.Tensor, angles: Sequence[float]) -> torch.Tensor:
        """Rotate transverse magnetisation about z by an angle per image."""
        if not any(angles):
            return state
        cos = state.new_tensor([math.cos(angle) for angle in angles])[:, None]
        sin = state.new_tensor([math.sin(angle) for angle in angles])[:, None]
        count = self._transverse
        x, y = state[:count], state[count : 2 * count]
        return torch.cat([cos * x - sin * y, sin * x + cos * y, state[2 * count :]])

    def _read_out(self, train: ReadoutTrain, state: torch.Tensor) -> torch.Tensor:
        cosine = math.cos(math.radians(train.flip_angle))
        longitudinal = state[2 * self._transverse :]
        water = longitudinal[0]
        if not train.exchange:
            recovery = -torch.expm1(-train.repetition_time / self._water_t1)
            kept = cosine * (1 - recovery)
            power = kept**train.pulses
            return self.in_equilibrium_with(power * water + recovery * (1 - power) / (1 - kept))
        step = exponential(
            self._free[2 * self._transverse :, 2 * self._transverse :], train.repetition_time
        )[:, :, None]
        for _ in range(train.pulses):
            longitudinal = torch.cat([cosine * longitudinal[:1], longitudinal[1:]])
            longitudinal = apply(step, longitudinal)
        nothing = torch.zeros_like(state[: 2 * self._transverse])
        return torch.cat([nothing, longitudinal])

    # Maps of events

    def expect(self, events: Sequence[Event]) -> None:
        """Announce events, so that few voxels can have many maps computed at once."""
        if 2 * self._b0.shape[0] <= self._matrices:
            for event in events:
                if not isinstance(event, ReadoutTrain):
                    self._expected.setdefault(_key(event), event)

    def _maps(self, events: Sequence[Event]) -> torch.Tensor:
        """Affine maps of the events of all images, (n, n + 1, 1 or images, voxels)."""
        keys = [_key(event) for event in events]
        unique = dict(zip(keys, events, strict=True))
        if len(unique) == 1:
            return self._map(keys[0], events[0])
        whole = tuple(keys)
        if whole not in self._known:
            maps = self._solve(list(unique.values()))
            if len(unique) < len(keys):
                position = {key: index for index, key in enumerate(unique)}
                maps = maps[:, :, [position[key] for key in keys]]
            self._known[whole] = maps
        return self._known[whole]

    def _map(self, key: tuple, event: Event) -> torch.Tensor:
        if key not in self._known:
            batch = {key: event}
            for other, expected in self._expected.items():
                if (len(batch) + 1) * self._b0.shape[0] > self._matrices:
                    break
                if self.structure([expected]) == self.structure([event]):
                    batch[other] = expected
            for other in batch:
                self._expected.pop(other, None)
            maps = self._solve(list(batch.values()))
            for index, other in enumerate(batch):
                self._known[other] = maps[:, :, index : index + 1]
        return self._known[key]

    def _solve(self, events: Sequence[Event]) -> torch.Tensor:
        """Maps of events of one structure, (n, n + 1, events, voxels)."""
        first = events[0]
        if isinstance(first, Delay | Spoiler):
            duration = self._column([event.duration for event in events])
            return exponential(self._free[:, :, None] * duration, 1.0)
        if isinstance(first, SpinLock):
            generator = self._generator(
                [event.offset for event in events],
                [event.amplitude for event in events],
                [0.0] * len(events),
            )
            angle = self._tip(events)
            duration = self._column([event.duration for event in events])
            return exponential(self._tilted(generator, angle) * duration, 1.0)
        duration = self._column([event.sample_duration for event in events])
        result = None
        for sample in range(len(first.amplitudes)):
            generator = self._generator(
                [event.offset for event in events],
                [event.amplitudes[sample] for event in events],
                [event.phases[sample] for event in events],
            )
            piece = exponential(generator * duration, 1.0)
            result = piece if result is None else compose(piece, result)
        assert result is not None
        return result

    def _column(self, values: Sequence[float]) -> torch.Tensor:
        return self._b0.new_tensor(values)[:, None]

    def _free_generator(
        self,
        t1: torch.Tensor,
        t2: torch.Tensor,
        exchanging: Sequence[Sequence[torch.Tensor]],
    ) -> torch.Tensor:
        """Relaxation, exchange and precession in the nominal water frame, (n, n + 1, voxels)."""
        size, count = self._size, self._transverse
        zero = torch.zeros_like(self._b0)
        rows = [[zero] * (size + 1) for _ in range(size)]
        z = 2 * count
        rows[z][z] = -1 / t1
        rows[z][size] = 1 / t1
        transverse = [(0, t2, zero)]
        for number, (fraction, rate, pool_t1, pool_t2, shift) in enumerate(exchanging, start=1):
            rows[z + number][z + number] = -1 / pool_t1 - rate
            rows[z + number][size] = fraction / pool_t1
            rows[z][z + number] = rate
            rows[z + number][z] = fraction * rate
            rows[z][z] = rows[z][z] - fraction * rate
            if number < count:
                transverse.append((number, pool_t2, shift))
        for number, pool_t2, shift in transverse:
            x, y = number, count + number
            precession = self._ppm * (shift + self._b0)
            rows[x][y] = -precession
            rows[y][x] = precession
            for row in (x, y):
                rows[row][row] = -1 / pool_t2
        for number in range(1, count):
            fraction, rate = exchanging[number - 1][:2]
            for water, other in ((0, number), (count, count + number)):
                rows[other][other] = rows[other][other] - rate
                rows[water][other] = rate
                rows[other][water] = fraction * rate
                rows[water][water] = rows[water][water] - fraction * rate
        return torch.stack([torch.stack(row) for row in rows])

    def _generator(
        self, offsets: Sequence[float], amplitudes: Sequence[float], phases: Sequence[float]
    ) -> torch.Tensor:
        """Generator in the frame of the RF, (n, n + 1, events, voxels).

        Args:
            offsets: Hz of each event.
            amplitudes: µT of each event.
            phases: rad of each event.
        """
        size, count = self._size, self._transverse
        frame = torch.zeros(size, size + 1, len(offsets), 1, dtype=torch.float64)
        nutation = torch.zeros_like(frame)
        turns = torch.tensor(offsets, dtype=torch.float64)[:, None] * _TURN
        for index, (amplitude, phase) in enumerate(zip(amplitudes, phases, strict=True)):
            omega = _TURN * GYROMAGNETIC_RATIO * amplitude
            for x in range(count):
                y, z = count + x, 2 * count + x
                nutation[x, z, index] = -omega * math.sin(phase)
                nutation[z, x, index] = omega * math.sin(phase)
                nutation[y, z, index] = omega * math.cos(phase)
                nutation[z, y, index] = -omega * math.cos(phase)
        for x in range(count):
            frame[x, count + x] = turns
            frame[count + x, x] = -turns
        generator = (
            self._free[:, :, None] + frame.to(self._free) + nutation.to(self._free) * self._scale
        )
        if self._mt is None:
            return generator
        detuning = turns.to(self._free) - self._ppm * (self._mt[4] + self._b0)
        line = absorption(self._lineshape, detuning, self._mt[3], self._ppm / _TURN)
        omega = self._column([_TURN * GYROMAGNETIC_RATIO * amplitude for amplitude in amplitudes])
        last = torch.zeros(size, size + 1, 1, 1).to(self._free)
        last[-1, -2] = 1.0
        return generator - last * ((omega * self._scale) ** 2 * line)

    def _tip(self, events: Sequence[SpinLock]) -> torch.Tensor:
        """Angle of the ideal tips in rad, (events, voxels)."""
        omega = self._column([_TURN * GYROMAGNETIC_RATIO * event.amplitude for event in events])
        offset = self._column([_TURN * event.offset for event in events])
        if events[0].tip is Tip.NOMINAL:
            return (
                torch.where(offset < 0, -torch.atan2(omega, -offset), torch.atan2(omega, offset))
                * self._scale
            )
        offset = offset - self._ppm * self._b0
        omega = omega * self._scale
        return torch.where(offset < 0, -torch.atan2(omega, -offset), torch.atan2(omega, offset))

    def _tilted(self, generator: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
        """The generator between ideal tips: exp of it is tip-up after exp(A t) after tip-down.

        In these axes the locked magnetisation hardly couples to the rest, which float32
        needs; and the tips cost nothing.
        """
        cos, sin = torch.cos(angle), torch.sin(angle)
        count = self._transverse
        x, y, z, rest = generator.split([count, count, count, self._size - 3 * count])
        rows = torch.cat([cos * x - sin * z, y, sin * x + cos * z, rest])
        x, y, z, rest = rows.split([count, count, count, self._size - 3 * count + 1], dim=1)
        return torch.cat([cos * x - sin * z, y, sin * x + cos * z, rest], dim=1)


def _key(event: Event) -> tuple:
    """What makes two events have the same map: everything but the phase at the start."""
    if isinstance(event, Pulse):
        return (Pulse, event.amplitudes, event.phases, event.sample_duration, event.offset)
    if isinstance(event, Delay | Spoiler):
        return (Delay, event.duration)
    return (event,)
