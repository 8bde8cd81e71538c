"""Acquisitions: a 4-D volume, the protocol that made it, and the images it came from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset

from models.cest_mt.schedule import SaturationSchedule
from operators.vocabulary.finding import Finding
from operators.vocabulary.quantity import Quantity


class SeriesKind(StrEnum):
    """What a series was recognised as."""

    DIFFUSION = "diffusion"
    SATURATION = "saturation"
    QUANTITY_MAP = "quantity map"
    WEIGHTED_IMAGE = "weighted image"
    SEGMENTATION = "segmentation"
    UNRECOGNISED = "unrecognised"


@dataclass(frozen=True)
class GradientTable:
    """Diffusion weighting of each volume.

    Attributes:
        b_values: (volumes,), s/mm².
        directions: (volumes, 3), unit vectors in the patient frame (LPS); zero rows for
            volumes without a direction (b < 50 s/mm²).
    """

    b_values: np.ndarray
    directions: np.ndarray

    def __post_init__(self) -> None:
        if self.directions.shape != (len(self.b_values), 3):
            raise ValueError(
                f"directions must be ({len(self.b_values)}, 3), got {self.directions.shape}"
            )


@dataclass(frozen=True)
class MapProtocol:
    """A series that holds values of one quantity.

    Attributes:
        quantity: the quantity, with the unit to which the values are converted.
        scale: factor from the unit in the file to the unit of ``quantity``.
    """

    quantity: Quantity
    scale: float = 1.0


@dataclass(frozen=True)
class WeightedImage:
    """Sequence parameters of one or several weighted images (times in ms, angles in degrees).

    Attributes:
        repetition_time: TR as the vendor states it, or None.
        inversion_time: TI, or None.
        flip_angle: flip angle, or None.
        echo_times: (volumes,) TE of each volume; NaN where absent.
        temporal_positions: (volumes,) Temporal Position Index, 1-based; zeros where absent.
        scanning_sequence: tokens of Scanning Sequence (0018,0020), or what an Enhanced image
            says instead: SE, GR, EP, IR.
        sequence_variant: tokens of Sequence Variant (0018,0021).
        echo_train_length: echoes after one excitation, or None.
        acquisition_type: "2D" or "3D"; "" where absent.
        contrast_agent: whether a contrast agent is stated.
        fat_suppressed: whether fat was suppressed, or None where nothing says it.
    """

    repetition_time: float | None
    inversion_time: float | None
    flip_angle: float | None
    echo_times: np.ndarray
    temporal_positions: np.ndarray
    scanning_sequence: tuple[str, ...] = ()
    sequence_variant: tuple[str, ...] = ()
    echo_train_length: int | None = None
    acquisition_type: str = ""
    contrast_agent: bool = False
    fat_suppressed: bool | None = None


Protocol = GradientTable | SaturationSchedule | MapProtocol | WeightedImage


@dataclass(frozen=True)
class SourceImage:
    """One SOP Instance of which pixels were used.

    Attributes:
        path: the file.
        sop_class_uid: SOP Class UID (0008,0016).
        sop_instance_uid: SOP Instance UID (0008,0018).
        frames: number of frames.
        slices: indices of the slices of the acquisition's grid of which it holds pixels;
            empty where that is not known. Lets results name the images behind each slice.
    """

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    frames: int = 1
    slices: tuple[int, ...] = ()


@dataclass(frozen=True)
class SourceSeries:
    """The series that an acquisition or a result came from.

    Attributes:
        header: complete data set of the first instance, without pixel data: what results
            inherit Patient, Study, Frame of Reference and Equipment from.
        images: every instance used, in stored order.
    """

    header: Dataset
    images: tuple[SourceImage, ...]

    @property
    def series_instance_uid(self) -> str:
        """Series Instance UID (0020,000E)."""
        return str(self.header.SeriesInstanceUID)

    @property
    def series_number(self) -> int | None:
        """Series Number (0020,0011), or None."""
        number = self.header.get("SeriesNumber")
        return None if number is None else int(number)

    @property
    def description(self) -> str:
        """Series Description (0008,103E); may hold patient data, so it is never logged."""
        return str(self.header.get("SeriesDescription", ""))


@dataclass(frozen=True)
class Acquisition:
    """A checked series: geometry and protocol are known, pixels are read when asked for.

    Attributes:
        kind: what the series was recognised as.
        protocol: the protocol that made it, of the type that belongs to ``kind``.
        geometry: grid of one volume (slices, rows, columns), LPS affine in mm.
        source: where it came from.
        volumes: number of volumes in the last dimension.
        read: reads the pixels: float32 (slices, rows, columns, volumes), rescaled.
        findings: what was noticed while it was assembled.
    """

    kind: SeriesKind
    protocol: Protocol
    geometry: hd.VolumeGeometry
    source: SourceSeries
    volumes: int
    read: Callable[[], np.ndarray] = field(repr=False)
    findings: tuple[Finding, ...] = ()

    def volume(self) -> hd.Volume:
        """The pixels: float32 (slices, rows, columns, volumes), rescaled, LPS affine in mm.

        Reads anew at each call, so that no more than one series need be in memory.
        """
        array = self.read()
        expected = (*self.geometry.spatial_shape, self.volumes)
        if array.shape != expected:
            raise ValueError(f"series pixels have shape {array.shape}, expected {expected}")
        return hd.Volume(
            array=array,
            affine=self.geometry.affine,
            coordinate_system="PATIENT",
            frame_of_reference_uid=self.geometry.frame_of_reference_uid,
            channels={
                hd.ChannelDescriptor("Volume", is_custom=True, value_type=int): list(
                    range(self.volumes)
                )
            },
        )
