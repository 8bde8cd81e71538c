"""Pulseq ``.seq`` files as saturation schedules, read with pypulseq.

What is taken from the file: RF pulses, gradients as spoilers, delays, and ADC events as the
acquisition of one image each. See https://pulseq.github.io/specification.pdf.
"""

from __future__ import annotations

import math
import re
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from models.cest_mt.schedule import (
    GYROMAGNETIC_RATIO,
    Delay,
    Event,
    Image,
    Pulse,
    SaturationSchedule,
    Spoiler,
)

# Files of format 1.3 and older hold pulses at 1 µs, which pypulseq writes out for every RF
# event: 200 million samples take it about 20 s, and more are refused.
_MOST_OLD_SAMPLES = 200_000_000
# What pypulseq raises on files that are cut off or edited by hand.
_DAMAGED = (ValueError, RuntimeError, LookupError, TypeError, AttributeError, UnboundLocalError)


def read_pulseq(path: Path, maximum_samples: int = 500) -> SaturationSchedule:
    """Read a Pulseq file.

    Args:
        path: file of format 1.2 to 1.5.
        maximum_samples: shaped pulses of more samples are simulated with this many at most,
            each the complex mean of neighbours, which keeps the flip angle on resonance.

    Returns:
        the schedule; ``m0_images`` from the definition ``M0_offset``, if it is there;
        ``relaxed_start`` False; ``normalisation`` none. ``offsets`` and ``b1`` are those of
        the pulse with most energy of each image.

    Raises:
        ValueError: not a Pulseq file, no ADC, a pulse that cannot be simulated, or too many
            samples; names file and block.
    """
    _check(path)
    # Loading pypulseq takes more than a second, and few studies need it.
    import pypulseq

    sequence = pypulseq.Sequence(use_block_cache=False)
    with warnings.catch_warnings():
        # pypulseq warns of every file older than itself.
        warnings.simplefilter("ignore")
        try:
            # Removing duplicates would round every frequency and phase to six digits.
            sequence.read(str(path), detect_rf_use=False, remove_duplicates=False)
        except _DAMAGED as error:
            raise ValueError(f"{path} is damaged: pypulseq cannot read it ({error})") from error
    definitions = {key.lower(): value for key, value in sequence.definitions.items()}
    larmor_frequency = _larmor_frequency(definitions, path)

    reader = _Reader(path, maximum_samples)
    for number in sequence.block_events:
        reader.add(number, sequence.get_block(number), float(sequence.block_durations[number]))
    images = reader.finish()

    strongest = [_strongest(image) for image in images]
    offsets = np.array(
        [math.nan if pulse is None else pulse.offset / larmor_frequency for pulse in strongest]
    )
    b1 = np.array([0.0 if pulse is None else _root_mean_square(pulse) for pulse in strongest])
    stated = np.atleast_1d(np.asarray(definitions.get("offsets_ppm", []), dtype=float))
    if len(stated) and len(stated) != len(images):
        raise ValueError(
            f"{path}: {len(stated)} values of 'offsets_ppm' but {len(images)} ADC events; one "
            "ADC event must stand for one image"
        )
    m0_images: tuple[int, ...] = ()
    if "m0_offset" in definitions:
        m0_offset = float(np.ravel(definitions["m0_offset"])[0])
        m0_images = tuple(int(index) for index in np.flatnonzero(np.isclose(stated, m0_offset)))
    return SaturationSchedule(
        name=path.stem,
        field_strength=larmor_frequency / GYROMAGNETIC_RATIO,
        offsets=offsets,
        b1=b1,
        images=images,
        m0_images=m0_images,
        source=path.name,
    )


def _check(path: Path) -> None:
    """Refuse, before pypulseq reads it, what is no Pulseq file or too large."""
    text = path.read_text(encoding="utf-8", errors="replace")
    for section in ("VERSION", "BLOCKS", "RF", "ADC", "SHAPES"):
        if f"[{section}]" not in text:
            raise ValueError(f"{path} has no section [{section}]: is it a complete Pulseq file?")
    last = re.findall(r"^\[(\w+)\]", text, re.MULTILINE)[-1]
    # pypulseq reads on for ever when a shape is not closed by an empty line.
    if last != "SIGNATURE" and not text.endswith("\n\n"):
        raise ValueError(
            f"{path} ends inside section [{last}]: it was cut off, or lacks the empty line that "
            "closes a section"
        )
    version = re.search(r"^major\s+(\d+)\s+^minor\s+(\d+)", text, re.MULTILINE)
    if version is None:
        raise ValueError(f"{path}: section [VERSION] states no 'major' and 'minor'")
    if (int(version[1]), int(version[2])) >= (1, 4):
        return
    pairs = re.findall(
        r"^shape_id\s+(\d+)\s+num_samples\s+(\d+)", text, re.MULTILINE | re.IGNORECASE
    )
    lengths = {identifier: int(samples) for identifier, samples in pairs}
    events = [line.split() for line in text.split("[RF]", 1)[1].split("[", 1)[0].splitlines()]
    samples = sum(lengths.get(event[2], 0) for event in events if len(event) == 7)
    if samples > _MOST_OLD_SAMPLES:
        raise ValueError(
            f"{path}: its RF events have {samples:.1e} samples of 1 µs, too many to read; write "
            "the file in Pulseq 1.4 or newer, or describe the protocol in YAML"
        )


def _larmor_frequency(definitions: dict[str, Any], path: Path) -> float:
    """Hz per ppm, from ``FREQ`` (MHz) or ``B0`` (T)."""
    for key, factor in (("freq", 1.0), ("b0", GYROMAGNETIC_RATIO)):
        if key in definitions:
            return float(np.ravel(definitions[key])[0]) * factor
    raise ValueError(f"{path}: section [DEFINITIONS] needs 'FREQ' (MHz) or 'B0' (T)")


def _strongest(image: Image) -> Pulse | None:
    pulses = [event for event in image.preparation if isinstance(event, Pulse)]
    return max(pulses, key=lambda p: _root_mean_square(p) ** 2 * p.duration, default=None)


def _root_mean_square(pulse: Pulse) -> float:
    return float(np.sqrt(np.mean(np.square(pulse.amplitudes))))


class _Reader:
    """Turns blocks into images; equal events share their samples."""

    def __init__(self, path: Path, maximum_samples: int) -> None:
        self._path, self._maximum = path, maximum_samples
        self._images: list[list[Event]] = []
        self._events: list[Event] = []
        self._recoveries: list[float] = []
        self._phase = 0.0

    def add(self, number: int, block: SimpleNamespace, duration: float) -> None:
        """Add a block that lasts ``duration`` s."""
        gradients = [getattr(block, name, None) for name in ("gx", "gy", "gz")]
        if getattr(block, "adc", None) is not None:
            self._images.append(self._events)
            self._recoveries.append(duration)
            self._events = []
        elif getattr(block, "rf", None) is not None:
            self._add_pulse(number, block.rf, duration)
        elif any(gradient is not None for gradient in gradients):
            self._events.append(Spoiler(duration))
        elif duration > 0:
            self._wait(duration)

    def _add_pulse(self, number: int, rf: SimpleNamespace, duration: float) -> None:
        samples, step, before = self._samples(number, rf)
        if before > 0:
            self._wait(before)
        amplitudes = np.abs(samples) / GYROMAGNETIC_RATIO  # Hz to µT
        # The file's phases are those of the transmitter. Each pulse's own frame is taken over
        # as the water frame, so the turns of all earlier pulses come off; those of earlier
        # images too, for magnetisation that outlives the recovery.
        phase = math.remainder(float(rf.phase_offset) - self._phase, 2 * math.pi)
        pulse = Pulse(
            tuple(amplitudes.tolist()),
            tuple(np.angle(samples).tolist()),
            step,
            float(rf.freq_offset),
            phase,
        )
        self._events.append(pulse)
        self._phase += 2 * math.pi * pulse.offset * pulse.duration
        after = duration - before - pulse.duration
        if after > 1e-9:
            self._wait(after)

    def _wait(self, duration: float) -> None:
        """Add a delay to the one before it, if there is one."""
        if self._events and isinstance(last := self._events[-1], Delay):
            self._events.pop()
            duration += last.duration
        self._events.append(Delay(float(duration)))

    def _samples(self, number: int, rf: SimpleNamespace) -> tuple[np.ndarray, float, float]:
        """Complex samples in Hz from the first to the last that is not zero.

        Returns:
            the samples, the duration of one, and the time before the first, in s.
        """
        signal, times = np.asarray(rf.signal), np.asarray(rf.t, dtype=float)
        if len(signal) == 2 and signal[0] == signal[1]:
            return signal[:1], float(times[1] - times[0]), float(rf.delay)
        steps = np.diff(times)
        if len(signal) < 2 or not np.allclose(steps, steps[0], rtol=1e-3):
            raise ValueError(
                f"{self._path}, block {number}: an RF pulse on an uneven time raster; write it "
                "with a constant sample time"
            )
        step = float(steps[0])
        played = np.flatnonzero(np.abs(signal) > 1e-6)
        if not len(played):
            return np.zeros(1, complex), step * len(signal), float(rf.delay)
        signal = signal[played[0] : played[-1] + 1]
        before = float(rf.delay) + step * played[0]
        if np.all(signal == signal[0]):
            return signal[:1], step * len(signal), before
        together = math.ceil(len(signal) / self._maximum)
        if together > 1:
            short = len(signal) % together
            signal = np.concatenate([signal, np.zeros((together - short) % together)])
            signal = signal.reshape(-1, together).mean(axis=1)
        return signal, step * together, before

    def finish(self) -> tuple[Image, ...]:
        """The images: events up to each ADC; what follows the last ADC is its recovery."""
        if not self._images:
            raise ValueError(f"{self._path} has no ADC event: nothing says when images are taken")
        images = []
        for index, events in enumerate(self._images):
            recovery = (Delay(self._recoveries[index]),) if self._recoveries[index] > 0 else ()
            images.append(Image(tuple(events), recovery))
        return tuple(images)
