"""Our own YAML description of a saturation protocol; ``docs/protocols.md`` explains it."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml

from models.cest_mt.schedule import (
    GYROMAGNETIC_RATIO,
    Analysis,
    Delay,
    Event,
    Image,
    Normalisation,
    Pulse,
    ReadoutTrain,
    SaturationSchedule,
    SeriesChecks,
    SpinLock,
    Spoiler,
    Tip,
)

_MISSING = object()
_Choice = TypeVar("_Choice", bound=StrEnum)


class _Section:
    """A mapping of the file that knows its place, so that every complaint can name it."""

    def __init__(self, value: Any, place: str) -> None:
        if not isinstance(value, dict):
            raise ValueError(f"{place} must be a mapping of keys to values, not {value!r}")
        self._values = dict(value)
        self.place = place

    def take(self, key: str, default: Any = _MISSING) -> Any:
        """The value of ``key``, which thereby counts as understood."""
        value = self._values.pop(key, default)
        if value is _MISSING:
            raise ValueError(f"{self.place}: '{key}' is missing; add it")
        return value

    def number(self, key: str, default: Any = _MISSING, minimum: float = -math.inf) -> float:
        """A finite number of at least ``minimum``."""
        return _number(self.take(key, default), f"{self.place}, '{key}'", minimum)

    def optional_number(self, key: str) -> float | None:
        """A number, or None where the key is absent."""
        value = self.take(key, None)
        return None if value is None else _number(value, f"{self.place}, '{key}'")

    def whole(self, key: str) -> int:
        """A whole number of at least one."""
        value = self.take(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{self.place}, '{key}' must be a whole number above 0, not {value!r}")
        return value

    def flag(self, key: str) -> bool:
        """True or false; false where the key is absent."""
        value = self.take(key, False)
        if not isinstance(value, bool):
            raise ValueError(f"{self.place}, '{key}' must be true or false, not {value!r}")
        return value

    def finish(self) -> None:
        """Refuse keys that nothing asked for."""
        if self._values:
            unknown = ", ".join(map(repr, self._values))
            raise ValueError(f"{self.place}: unknown key {unknown}; remove it or correct it")


def _number(value: Any, place: str, minimum: float = -math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{place} must be a number, not {value!r}")
    if value < minimum:
        raise ValueError(f"{place} must be at least {minimum:g}, not {value:g}")
    return float(value)


def _choice(kind: type[_Choice], value: Any, place: str) -> _Choice:
    try:
        return kind(value)
    except ValueError:
        names = ", ".join(kind)
        raise ValueError(f"{place} must be one of {names}, not {value!r}") from None


class _PerImage:
    """A value that the file gives once, or once per image."""

    def __init__(self, value: Any, place: str, number_of_images: int) -> None:
        if isinstance(value, list) and len(value) != number_of_images:
            raise ValueError(f"{place} lists {len(value)} values for {number_of_images} images")
        self._value, self._place = value, place

    def at(self, image: int) -> float:
        value = self._value[image] if isinstance(self._value, list) else self._value
        return _number(value, f"{self._place} of image {image}", 0.0)


def read_protocol_file(path: Path) -> SaturationSchedule:
    """Read a protocol from our YAML.

    Args:
        path: the file.

    Returns:
        the schedule, with every repetition written out.

    Raises:
        ValueError: a key is missing, unknown or has an impossible value; names file and key.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    root = _Section(content, f"{path}")
    field_strength = root.number("field_strength", minimum=1e-3)
    table = _Section(root.take("images"), f"{path}, images")
    b1 = table.take("b1")
    if not isinstance(b1, list) or not b1:
        raise ValueError(f"{table.place}, 'b1' must list one value per image, null for none")
    number = len(b1)
    offsets = table.take("offsets")
    offsets = offsets if isinstance(offsets, list) else [offsets] * number
    if len(offsets) != number:
        raise ValueError(f"{table.place}: {number} values of 'b1' but {len(offsets)} of 'offsets'")
    m0_images = table.take("m0", [])
    if not isinstance(m0_images, list) or not all(type(index) is int for index in m0_images):
        raise ValueError(f"{table.place}, 'm0' must list image numbers from 0, not {m0_images!r}")
    table.finish()

    saturated = [value is not None for value in b1]
    amplitudes = np.array(
        [
            _number(value, f"{table.place}, 'b1' of image {index}", 0.0) if on else 0.0
            for index, (value, on) in enumerate(zip(b1, saturated, strict=True))
        ]
    )
    shifts = np.array(
        [
            _number(value, f"{table.place}, 'offsets' of image {index}") if on else math.nan
            for index, (value, on) in enumerate(zip(offsets, saturated, strict=True))
        ]
    )
    preparation, recovery = root.take("preparation"), root.take("recovery", [])
    player = _Player(number, field_strength)
    images = []
    for b1_value, shift in zip(amplitudes.tolist(), shifts.tolist(), strict=True):
        player.start_image(b1_value, shift)
        images.append(
            Image(
                player.play(preparation, f"{path}, preparation"),
                player.play(recovery, f"{path}, recovery"),
            )
        )
    checks = _Section(root.take("checks", {}), f"{path}, checks")
    schedule = SaturationSchedule(
        name=str(root.take("name", path.stem)),
        field_strength=field_strength,
        offsets=shifts,
        b1=amplitudes,
        images=tuple(images),
        m0_images=tuple(m0_images),
        analysis=_choice(
            Analysis, root.take("analysis", Analysis.FINGERPRINT), f"{path}, 'analysis'"
        ),
        normalisation=_choice(
            Normalisation, root.take("normalisation"), f"{path}, 'normalisation'"
        ),
        relaxed_start=root.flag("relaxed_start"),
        checks=SeriesChecks(
            checks.optional_number("repetition_time"),
            checks.optional_number("flip_angle"),
            checks.optional_number("field_strength"),
        ),
        description=str(root.take("description", "")),
        source=str(root.take("source", "")),
    )
    checks.finish()
    root.finish()
    return schedule


class _Player:
    """Writes out the events of one image after the other."""

    def __init__(self, images: int, field_strength: float) -> None:
        self._images = images
        self._image = -1
        self._larmor_frequency = field_strength * GYROMAGNETIC_RATIO  # Hz per ppm
        # How far the frames of past pulses have turned from that of the transmitter, rad.
        self._turned = 0.0

    def start_image(self, b1: float, offset: float) -> None:
        """Go to the next image: ``b1`` in µT, ``offset`` in ppm, NaN without saturation."""
        self._image += 1
        self._b1, self._saturated = b1, not math.isnan(offset)
        self._offset = offset * self._larmor_frequency

    def play(self, steps: Any, place: str) -> tuple[Event, ...]:
        if not isinstance(steps, list):
            raise ValueError(f"{place} must be a list of events, not {steps!r}")
        events: list[Event] = []
        for position, step in enumerate(steps):
            where = f"{place}, event {position + 1}"
            if not isinstance(step, dict) or len(step) != 1:
                raise ValueError(f"{where} must be one 'kind: settings' pair, not {step!r}")
            ((kind, settings),) = step.items()
            events.extend(self._event(kind, settings, f"{where} ({kind})"))
        return tuple(events)

    def _event(self, kind: str, settings: Any, place: str) -> list[Event]:
        match kind:
            case "pulse_train":
                return self._pulse_train(_Section(settings, place))
            case "pulse":
                return [self._pulse(_Section(settings, place))]
            case "delay":
                return [Delay(self._value(settings, place))]
            case "spoiler":
                return [Spoiler(self._value(settings, place))]
            case "readout":
                return [self._readout(_Section(settings, place))]
            case "repeat":
                section = _Section(settings, place)
                times, steps = section.whole("times"), section.take("events")
                section.finish()
                return list(self.play(steps, place)) * times
        raise ValueError(
            f"{place}: unknown event '{kind}'; use pulse_train, pulse, delay, spoiler, readout "
            "or repeat"
        )

    def _value(self, value: Any, place: str) -> float:
        return _PerImage(value, place, self._images).at(self._image)

    @staticmethod
    def _readout(section: _Section) -> ReadoutTrain:
        train = ReadoutTrain(
            flip_angle=section.number("flip_angle"),
            repetition_time=section.number("repetition_time", minimum=0.0),
            pulses=section.whole("pulses"),
            exchange=section.flag("exchange"),
        )
        section.finish()
        return train

    def _pulse(self, section: _Section) -> Pulse:
        """A block pulse at the water frequency, given by its flip angle."""
        duration = section.number("duration", minimum=1e-9)
        amplitude = section.number("flip_angle") / 360 / duration / GYROMAGNETIC_RATIO
        phase = math.radians(section.number("phase", 0.0))
        section.finish()
        return Pulse((amplitude,), (0.0,), duration, 0.0, phase - self._turned)

    def _pulse_train(self, section: _Section) -> list[Event]:
        pulses, gap = section.whole("pulses"), section.number("gap", 0.0, minimum=0.0)
        duration = section.number("duration", minimum=1e-9)
        shape = section.take("shape", "block")
        lock = section.take("spin_lock", None)
        step = section.optional_number("phase_increment")
        amplitudes = _shape(shape, self._b1, section.place)
        tips = None
        if isinstance(lock, dict):
            tips = _Section(lock, f"{section.place}, spin_lock")
            tip_duration = tips.number("tip_duration", minimum=1e-9)
            tip_gap = tips.number("tip_gap", 0.0, minimum=0.0)
            tips.finish()
        elif lock is not None:
            tip = _choice(Tip, lock, f"{section.place}, 'spin_lock'")
        if lock is not None and len(amplitudes) > 1:
            raise ValueError(f"{section.place}: a spin-lock pulse must have shape 'block'")
        section.finish()
        if not self._saturated:
            return []

        # Hz per Hz: the tip is along the nominal effective field, on the side of Mz.
        angle = math.pi / 2
        if self._offset:
            angle = math.atan(self._b1 * GYROMAGNETIC_RATIO / self._offset)
        events: list[Event] = []
        for index in range(pulses):
            # Without a phase cycle each pulse takes up the phase at which the last one ended.
            phase = 0.0 if step is None else math.radians(step) * (index + 1) - self._turned
            self._turned += 2 * math.pi * self._offset * duration
            if lock is None:
                sample = duration / len(amplitudes)
                zeros = (0.0,) * len(amplitudes)
                events.append(Pulse(amplitudes, zeros, sample, self._offset, phase))
            elif tips is None:
                events.append(SpinLock(self._b1, duration, self._offset, tip))
            else:
                tip_b1 = angle / (2 * math.pi) / tip_duration / GYROMAGNETIC_RATIO
                # The effective field lies along the phase of the lock; the tip-down turns
                # about the axis a quarter turn behind, the tip-up a quarter turn ahead.
                down = Pulse((tip_b1,), (0.0,), tip_duration, 0.0, phase - math.pi / 2)
                up = Pulse((tip_b1,), (0.0,), tip_duration, 0.0, phase + math.pi / 2)
                locked = Pulse(amplitudes, (0.0,), duration, self._offset, phase)
                pause = [Delay(tip_gap)] if tip_gap else []
                events += [down, *pause, locked, *pause, up]
            if gap and index < pulses - 1:
                events.append(Delay(gap))
        return events


def _shape(shape: Any, b1: float, place: str) -> tuple[float, ...]:
    """Samples in µT whose root mean square is ``b1``."""
    if shape == "block":
        return (b1,)
    if not isinstance(shape, list) or len(shape) < 2:
        raise ValueError(f"{place}, 'shape' must be 'block' or a list of relative samples")
    relative = np.array([_number(value, f"{place}, 'shape'") for value in shape])
    mean_square = float(np.mean(relative**2))
    if mean_square == 0:
        raise ValueError(f"{place}, 'shape' is zero everywhere")
    return tuple((relative * b1 / math.sqrt(mean_square)).tolist())
