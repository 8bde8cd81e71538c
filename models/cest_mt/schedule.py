"""Saturation schedules: what the scanner plays before and after each image.

A schedule is read from our YAML (:func:`load_schedule`, explained in ``docs/protocols.md``)
or from a Pulseq ``.seq`` file. It needs numpy and yaml only, so that it can be recognised and
checked without loading any physics; ``models.cest_mt.signal.simulate`` plays it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import numpy as np

# Shielded proton, as fixed by the Bloch-McConnell simulation challenge (MHz/T).
GYROMAGNETIC_RATIO = 42.5764

PROTOCOLS = Path(__file__).with_name("protocols")


class Normalisation(StrEnum):
    """How the images of a voxel are scaled before they are compared with a simulation."""

    NONE = "none"
    MAXIMUM = "max"
    L2 = "L2"
    FIRST = "first"


class Analysis(StrEnum):
    """How a series of a protocol is turned into maps.

    ``FINGERPRINT``: all images together, by a network for the protocol.
    ``Z_SPECTRUM``: as M/M0 over the offset: asymmetry and Lorentzian lines.
    ``WASABI``: by the WASABI equation, into B0 and B1.
    """

    FINGERPRINT = "fingerprint"
    Z_SPECTRUM = "z_spectrum"
    WASABI = "wasabi"


class Tip(StrEnum):
    """Ideal rotations before and after a spin-lock pulse.

    ``NOMINAL``: by atan(ω1/Δω) of the schedule, scaled by B1 as a real pulse would be.
    ``PERFECT``: onto the effective field of each voxel, whatever its B0 and B1, as in the
    published method (doi 10.1038/s42005-025-02063-8).
    """

    NOMINAL = "nominal"
    PERFECT = "perfect"


@dataclass(frozen=True)
class Pulse:
    """A radio-frequency pulse of constant sample duration.

    Attributes:
        amplitudes: B1 of each sample in µT; a block pulse has one sample.
        phases: phase of each sample in rad, as many as ``amplitudes``.
        sample_duration: s.
        offset: frequency in Hz above that of water at the nominal field.
        phase: phase at the start in rad. Zero is the phase of the previous pulse of the image
            at its end: the pulse's own frame is taken over as the water frame (Pulseq-CEST).
    """

    amplitudes: tuple[float, ...]
    phases: tuple[float, ...]
    sample_duration: float
    offset: float
    phase: float = 0.0

    @property
    def duration(self) -> float:
        """Duration in s."""
        return self.sample_duration * len(self.amplitudes)


@dataclass(frozen=True)
class SpinLock:
    """A block pulse between an ideal tip-down and tip-up.

    Attributes:
        amplitude: B1 in µT.
        duration: s.
        offset: Hz above water.
        tip: which rotations.
    """

    amplitude: float
    duration: float
    offset: float
    tip: Tip = Tip.NOMINAL


@dataclass(frozen=True)
class Delay:
    """Free evolution for ``duration`` s."""

    duration: float


@dataclass(frozen=True)
class Spoiler:
    """Free evolution for ``duration`` s, after which no transverse magnetisation is left."""

    duration: float


@dataclass(frozen=True)
class ReadoutTrain:
    """Spoiled excitations of water that follow the acquisition.

    Attributes:
        flip_angle: degrees, scaled by nothing (B1 of the readout is not modelled).
        repetition_time: s between excitations.
        pulses: number of excitations.
        exchange: True lets the pools exchange and relax between excitations; False treats
            water alone and sets the other pools to their equilibrium with it, as published.
    """

    flip_angle: float
    repetition_time: float
    pulses: int
    exchange: bool = False


Event = Pulse | SpinLock | Delay | Spoiler | ReadoutTrain


@dataclass(frozen=True)
class Image:
    """What is played for one image.

    Attributes:
        preparation: events before the acquisition, in order.
        recovery: events after the acquisition, before the next image.
    """

    preparation: tuple[Event, ...]
    recovery: tuple[Event, ...] = ()


@dataclass(frozen=True)
class SeriesChecks:
    """Values that a DICOM series of this protocol must show, None where it does not matter.

    Attributes:
        repetition_time: Repetition Time (0018,0080) in ms.
        flip_angle: Flip Angle (0018,1314) in degrees.
        field_strength: Magnetic Field Strength (0018,0087) in T.
    """

    repetition_time: float | None = None
    flip_angle: float | None = None
    field_strength: float | None = None


@dataclass(frozen=True)
class SaturationSchedule:
    """A saturation-prepared protocol.

    Attributes:
        name: short name, as the file is called.
        field_strength: T; with ``GYROMAGNETIC_RATIO`` it converts ppm to Hz.
        offsets: (images,) saturation offset in ppm above water; NaN for images without
            saturation.
        b1: (images,) B1 amplitude while a pulse is on, in µT: the constant amplitude of block
            pulses, the root mean square over the pulse of shaped ones.
        images: (images,) what is played.
        m0_images: indices of images that serve as M0.
        analysis: how a series is turned into maps.
        normalisation: scaling of measured and simulated signals before comparison.
        relaxed_start: True if every image starts from thermal equilibrium; False if it
            starts from where the recovery of the image before it ends.
        checks: what a series of this protocol must show.
        description: one line for people.
        source: where the protocol comes from.
    """

    name: str
    field_strength: float
    offsets: np.ndarray
    b1: np.ndarray
    images: tuple[Image, ...] = field(repr=False)
    m0_images: tuple[int, ...] = ()
    analysis: Analysis = Analysis.FINGERPRINT
    normalisation: Normalisation = Normalisation.NONE
    relaxed_start: bool = False
    checks: SeriesChecks = SeriesChecks()
    description: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        number = len(self.images)
        for label, values in (("offsets", self.offsets), ("b1", self.b1)):
            if values.shape != (number,):
                raise ValueError(
                    f"schedule {self.name}: {number} images but {label} has shape {values.shape}"
                )
        outside = [index for index in self.m0_images if not 0 <= index < number]
        if outside:
            raise ValueError(
                f"schedule {self.name}: m0 images {outside} are outside 0…{number - 1}"
            )

    @property
    def number_of_images(self) -> int:
        """Number of images, M0 images included."""
        return len(self.images)

    @property
    def larmor_frequency(self) -> float:
        """Larmor frequency of water in MHz: Hz per ppm."""
        return GYROMAGNETIC_RATIO * self.field_strength


def builtin_schedules() -> dict[str, Path]:
    """Name and file of every protocol that comes with the project."""
    return {path.stem: path for path in sorted(PROTOCOLS.glob("*.yaml"))}


def load_schedule(path: str | Path) -> SaturationSchedule:
    """Read a schedule from our YAML or a Pulseq ``.seq`` file.

    Args:
        path: file that ends in ``.yaml``, ``.yml`` or ``.seq``, or the name of a protocol
            of :func:`builtin_schedules`.

    Returns:
        the schedule.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be understood; names the file, the key or block, and what
            to do.
    """
    builtin = builtin_schedules()
    path = builtin.get(str(path), Path(path))
    if not path.is_file():
        raise FileNotFoundError(
            f"no protocol {path}; give a .yaml or .seq file, or one of {', '.join(builtin)}"
        )
    if path.suffix in (".yaml", ".yml"):
        from models.cest_mt.protocol_file import read_protocol_file

        return read_protocol_file(path)
    if path.suffix == ".seq":
        from models.cest_mt.pulseq import read_pulseq

        return read_pulseq(path)
    raise ValueError(f"{path}: a protocol ends in .yaml, .yml or .seq, not in '{path.suffix}'")
