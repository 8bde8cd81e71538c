"""The magnetisation of a batch of voxels, played through the events of a schedule.

The state is (n, images, voxels), rows as in :mod:`models.cest_mt.generator`. A batch of
several images holds images of the same structure: event by event of the same kind, of
whatever amplitude, frequency and duration.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence

import torch

from models.cest_mt.cycles import Cycle
from models.cest_mt.generator import Generators
from models.cest_mt.propagator import apply, compose, exponential, power
from models.cest_mt.schedule import Delay, Event, Pulse, ReadoutTrain, SpinLock, Spoiler

Step = Event | Cycle

_TURN = 2 * math.pi


class Evolution:
    """Plays events to voxels; equal pieces of a schedule share their propagator.

    Args:
        generators: of the voxels.
        rf_frame_gaps: True if gaps evolve in the frame of the pulse before them.
        matrices: number of exponentials to compute at once.
    """

    def __init__(self, generators: Generators, rf_frame_gaps: bool, matrices: int) -> None:
        self._generators = generators
        self._rf_frame_gaps = rf_frame_gaps
        self._matrices = matrices
        self._voxels = generators.free.shape[-1]
        self._transverse = generators.transverse
        self._known: dict[Hashable, torch.Tensor] = {}
        self._expected: dict[Hashable, Event] = {}

    def equilibrium(self, images: int) -> torch.Tensor:
        """Thermal equilibrium, (n, images, voxels)."""
        return self.in_equilibrium_with(self._generators.fractions[:1].expand(images, -1))

    def in_equilibrium_with(self, water: torch.Tensor) -> torch.Tensor:
        """Every pool at its fraction of ``water`` (images, voxels), nothing transverse."""
        longitudinal = self._generators.fractions[:, None] * water
        transverse = torch.zeros_like(longitudinal[:1]).expand(2 * self._transverse, -1, -1)
        return torch.cat([transverse, longitudinal])

    def water(self, state: torch.Tensor) -> torch.Tensor:
        """Longitudinal magnetisation of water, (images, voxels)."""
        return state[2 * self._transverse]

    def expect(self, events: Iterable[Step]) -> None:
        """Announce events, so that few voxels can have many propagators computed at once."""
        if 2 * self._voxels <= self._matrices:
            for event in events:
                if not isinstance(event, ReadoutTrain | Cycle):
                    self._expected.setdefault(_key(event), event)

    def play(self, sequences: Sequence[Sequence[Step]], state: torch.Tensor) -> torch.Tensor:
        """Play one sequence of events per image.

        Args:
            sequences: events of each image, all of one :func:`structure`.
            state: (n, images, voxels) at the start.

        Returns:
            (n, images, voxels) at the end.
        """
        none = [0.0] * len(sequences)
        # The state is kept in a frame turned about z by this much: free evolution does not
        # care, so that turning waits until a pulse of another phase comes.
        frame, frequency = none, none
        for events in zip(*sequences, strict=True):
            first = events[0]
            if isinstance(first, ReadoutTrain):
                state, frame = self._read_out(first, state), none
                continue
            if not isinstance(first, Delay | Spoiler):
                phases = [getattr(event, "phase", 0.0) for event in events]
                state = self._turn(state, frame, phases)
                frame = phases
            if isinstance(first, Pulse | SpinLock):
                frequency = [event.offset for event in events]
            state = apply(self._propagators(events), state)
            if isinstance(first, Spoiler):
                state, frame = self._spoiled(state), none
            elif isinstance(first, Delay) and self._rf_frame_gaps:
                frame = [
                    angle - _TURN * hertz * event.duration
                    for angle, hertz, event in zip(frame, frequency, events, strict=True)
                ]
        return self._turn(state, frame, none)

    def _spoiled(self, state: torch.Tensor) -> torch.Tensor:
        count = 2 * self._transverse
        return torch.cat([torch.zeros_like(state[:count]), state[count:]])

    def _turn(
        self, state: torch.Tensor, old: Sequence[float], new: Sequence[float]
    ) -> torch.Tensor:
        """From the frames at the angles ``old`` to those at ``new``, one per image, rad."""
        angles = [before - after for before, after in zip(old, new, strict=True)]
        if not any(angles):
            return state
        cos = self._generators.column([math.cos(angle) for angle in angles])
        sin = self._generators.column([math.sin(angle) for angle in angles])
        count = self._transverse
        x, y = state[:count], state[count : 2 * count]
        return torch.cat([cos * x - sin * y, sin * x + cos * y, state[2 * count :]])

    def _read_out(self, train: ReadoutTrain, state: torch.Tensor) -> torch.Tensor:
        cosine = math.cos(math.radians(train.flip_angle))
        count = 2 * self._transverse
        if not train.exchange:
            recovery = -torch.expm1(-train.repetition_time / self._generators.water_t1)
            kept = cosine * (1 - recovery)
            power = kept**train.pulses
            water = power * self.water(state) + recovery * (1 - power) / (1 - kept)
            return self.in_equilibrium_with(water)
        longitudinal = state[count:]
        # Without transverse magnetisation z evolves alone.
        step = exponential(self._generators.free[count:, count:, None] * train.repetition_time)
        for _ in range(train.pulses):
            longitudinal = torch.cat([cosine * longitudinal[:1], longitudinal[1:]])
            longitudinal = apply(step, longitudinal)
        return torch.cat([torch.zeros_like(state[:count]), longitudinal])

    def _propagators(self, events: Sequence[Step]) -> torch.Tensor:
        """Affine maps of the events of all images, (n, n + 1, 1 or images, voxels)."""
        keys = tuple(_key(event) for event in events)
        unique = dict(zip(keys, events, strict=True))
        if len(unique) == 1:
            return self._propagator(keys[0], events[0])
        if keys not in self._known:
            maps = self._solve(list(unique.values()))
            if len(unique) < len(keys):
                position = {key: index for index, key in enumerate(unique)}
                maps = maps[:, :, [position[key] for key in keys]]
            self._known[keys] = maps
        return self._known[keys]

    def _propagator(self, key: Hashable, event: Step) -> torch.Tensor:
        if key not in self._known:
            batch: dict[Hashable, Step] = {key: event}
            for other, expected in self._expected.items():
                if (len(batch) + 1) * self._voxels > self._matrices:
                    break
                if _kind(expected) == _kind(event):
                    batch[other] = expected
            for other in batch:
                self._expected.pop(other, None)
            maps = self._solve(list(batch.values()))
            for index, other in enumerate(batch):
                self._known[other] = maps[:, :, index : index + 1]
        return self._known[key]

    def _solve(self, events: Sequence[Step]) -> torch.Tensor:
        """Affine maps of events of one structure, (n, n + 1, 1 or events, voxels)."""
        cycles = [event for event in events if isinstance(event, Cycle)]
        if cycles:
            pulse = self._propagators([cycle.pulse for cycle in cycles])
            delay = self._propagators([cycle.delay for cycle in cycles])
            return power(compose(delay, pulse), cycles[0].times)
        locks = [event for event in events if isinstance(event, SpinLock)]
        if locks:
            return exponential(self._generators.spin_locks(locks))
        pulses = [event for event in events if isinstance(event, Pulse)]
        if pulses:
            return self._shaped(pulses)
        gaps = [event.duration for event in events if isinstance(event, Delay | Spoiler)]
        return exponential(self._generators.free[:, :, None] * self._generators.column(gaps))

    def _shaped(self, pulses: Sequence[Pulse]) -> torch.Tensor:
        """Maps of pulses of equally many samples, (n, n + 1, pulses, voxels)."""
        samples, result = range(len(pulses[0].amplitudes)), None
        together = max(1, self._matrices // (len(pulses) * self._voxels))
        for start in range(0, len(samples), together):
            maps = exponential(self._generators.pulses(pulses, samples[start : start + together]))
            for sample in maps.split(len(pulses), dim=2):
                result = sample if result is None else compose(sample, result)
        assert result is not None
        return result


def structure(events: Sequence[Step]) -> Hashable:
    """What the events of images must share to be played as one batch."""
    return tuple(_kind(event) for event in events)


def _kind(event: Step) -> Hashable:
    if isinstance(event, Pulse):
        return (Pulse, len(event.amplitudes))
    if isinstance(event, SpinLock):
        return (SpinLock, event.tip)
    if isinstance(event, Cycle):
        return (Cycle, _kind(event.pulse), event.times)
    return (type(event), event if isinstance(event, ReadoutTrain) else None)


def _key(event: Step) -> Hashable:
    """What makes two events have the same propagator: everything but the phase at the start."""
    if isinstance(event, Pulse):
        return (event.amplitudes, event.phases, event.sample_duration, event.offset)
    if isinstance(event, Delay | Spoiler):
        return event.duration
    if isinstance(event, Cycle):
        return (_key(event.pulse), _key(event.delay), event.times)
    return event
