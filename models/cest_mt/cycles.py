"""Long runs of the same events, which need one propagator raised to a power."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.cest_mt.schedule import Delay, Event, Pulse

# Below this the events are cheaper to play one by one.
_FEWEST = 16


@dataclass(frozen=True)
class Cycle:
    """A pulse and a delay, played ``times`` times."""

    pulse: Pulse
    delay: Delay
    times: int

    @property
    def phase(self) -> float:
        """Phase of every pulse, rad."""
        return self.pulse.phase


def with_cycles(events: Sequence[Event]) -> tuple[Event | Cycle, ...]:
    """The same events, with every long run of one pulse and one delay as a :class:`Cycle`."""
    found: list[Event | Cycle] = []
    position = 0
    while position < len(events):
        pulse, *rest = events[position : position + 2]
        times = 0
        if isinstance(pulse, Pulse) and rest and isinstance(delay := rest[0], Delay):
            while tuple(events[position + 2 * times : position + 2 * times + 2]) == (pulse, delay):
                times += 1
            if times >= _FEWEST:
                found.append(Cycle(pulse, delay, times))
                position += 2 * times
                continue
        found.append(pulse)
        position += 1
    return tuple(found)
