"""Small results made for tests: an asymmetric object on a grid of any orientation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import MRImageStorage
from scipy.spatial.transform import Rotation

from operators.vocabulary.acquisition import GradientTable, SourceImage, SourceSeries
from operators.vocabulary.finding import Finding, Severity
from operators.vocabulary.quantity import QUANTITIES, QuantityMap
from operators.vocabulary.result import Algorithm, ColourMap, PipelineResult, Segment

SHAPE = (7, 12, 10)
SPACING = np.diag([3.0, 1.5, 2.0])  # mm between slices, rows, columns
STUDY_UID = "2.25.4000000000000000000000000000000000001"
FRAME_OF_REFERENCE_UID = "2.25.4000000000000000000000000000000000002"

# Direction (LPS) in which slice, row and column indices count, as columns.
DIRECTIONS = {
    "axial": np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], float),
    "descending": np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], float),
    "sagittal": np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], float),
    "coronal": np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0]], float),
}
DIRECTIONS["oblique"] = (
    Rotation.from_euler("xyz", [17, -24, 11], degrees=True).as_matrix() @ DIRECTIONS["axial"]
)
DIRECTIONS["single"] = DIRECTIONS["oblique"]
ORIENTATIONS = tuple(DIRECTIONS)


def made_geometry(orientation: str, shape: tuple[int, int, int] = SHAPE) -> hd.VolumeGeometry:
    affine = np.eye(4)
    affine[:3, :3] = DIRECTIONS[orientation] @ SPACING
    affine[:3, 3] = [-31.25, 12.5, 44.75]
    if orientation == "single":
        shape = (1, *shape[1:])
    return hd.VolumeGeometry(
        affine=affine,
        spatial_shape=shape,
        coordinate_system="PATIENT",
        frame_of_reference_uid=FRAME_OF_REFERENCE_UID,
    )


def asymmetric_object(shape: tuple[int, int, int]) -> np.ndarray:
    """Values in (0, 1], different in every voxel, zero outside an L-shaped region."""
    slices, rows, columns = np.indices(shape)
    ramp = 1 + slices * rows.size + rows * shape[2] + columns
    inside = (columns < shape[2] // 3 + 1) | (rows >= 2 * shape[1] // 3)
    return np.where(inside, (ramp / (ramp.max() + 1.0)), 0.0).astype(np.float32)


def made_header(geometry: hd.VolumeGeometry, series_number: int = 5) -> Dataset:
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 100"
    header.SOPClassUID = MRImageStorage
    header.SOPInstanceUID = f"{STUDY_UID}.{series_number}.1"
    header.ImageType = ["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE"]
    header.Modality = "MR"
    header.PatientName = "Grün^Anna"
    header.PatientID = "QM-0001"
    header.PatientBirthDate = "19700102"
    header.PatientSex = "F"
    header.PatientAge = "055Y"
    header.PatientWeight = "62"
    header.StudyInstanceUID = STUDY_UID
    header.StudyDate = "20260102"
    header.StudyTime = "101112"
    header.StudyID = "17"
    header.AccessionNumber = "A-17"
    header.ReferringPhysicianName = "Doe^Jane"
    header.StudyDescription = "Brain"
    header.SeriesInstanceUID = f"{STUDY_UID}.{series_number}"
    header.SeriesNumber = series_number
    header.SeriesDescription = "ep2d_diff"
    header.FrameOfReferenceUID = FRAME_OF_REFERENCE_UID
    header.PositionReferenceIndicator = ""
    header.PatientPosition = "HFS"
    header.BodyPartExamined = "BRAIN"
    header.Manufacturer = "SIEMENS"
    header.ManufacturerModelName = "Prisma"
    header.DeviceSerialNumber = "4711"
    header.SoftwareVersions = "syngo MR XA30"
    header.AcquisitionDate = "20260102"
    header.AcquisitionTime = "101500"
    header.MagneticFieldStrength = 3
    header.ScanningSequence = ["EP", "SE"]
    header.SequenceVariant = "SK"
    header.ScanOptions = "FS"
    header.MRAcquisitionType = "2D"
    header.RepetitionTime = 4000
    header.EchoTime = 70
    header.EchoTrainLength = 60
    plane = geometry.get_plane_orientation()[0]
    header.ImageOrientationPatient = plane.ImageOrientationPatient
    header.ImagePositionPatient = geometry.get_plane_position(0)[0].ImagePositionPatient
    header.PixelSpacing = geometry.get_pixel_measures()[0].PixelSpacing
    header.SliceThickness = 2.5
    header.SpacingBetweenSlices = geometry.spacing_between_slices
    return header


def made_source(
    geometry: hd.VolumeGeometry, series_number: int = 5, volumes: int = 2
) -> SourceSeries:
    slices = geometry.spatial_shape[0]
    return SourceSeries(
        header=made_header(geometry, series_number),
        images=tuple(
            SourceImage(
                path=Path(f"{volume}_{index}.dcm"),
                sop_class_uid=MRImageStorage,
                sop_instance_uid=f"{STUDY_UID}.{series_number}.{volume * slices + index + 1}",
                slices=(index,),
            )
            for volume in range(volumes)
            for index in range(slices)
        ),
    )


def made_map(name: str, geometry: hd.VolumeGeometry) -> QuantityMap:
    quantity = QUANTITIES[name]
    low, high = quantity.window
    pattern = asymmetric_object(geometry.spatial_shape)
    values = np.where(pattern > 0, low + pattern * (high - low), 0).astype(np.float32)
    return QuantityMap(quantity, geometry.with_array(values))


def made_result(
    orientation: str = "oblique",
    names: tuple[str, ...] = ("b0", "mean_diffusivity", "fractional_anisotropy"),
    pipeline: str = "diffusion",
    series_number: int = 5,
    shape: tuple[int, int, int] = SHAPE,
) -> PipelineResult:
    geometry = made_geometry(orientation, shape)
    pattern = asymmetric_object(geometry.spatial_shape)
    inside = (pattern > 0).astype(np.uint8)
    low = ((pattern > 0) & (pattern < 0.5)).astype(np.uint8)
    colours = np.stack([pattern * 255, pattern * 100, 255 - pattern * 255], -1) * inside[..., None]
    return PipelineResult(
        pipeline=pipeline,
        maps=tuple(made_map(name, geometry) for name in names),
        segments=(
            Segment(
                "Brain", codes.SCT.AnatomicalStructure, codes.SCT.Brain, geometry.with_array(inside)
            ),
            Segment(
                "White matter",
                codes.SCT.Tissue,
                codes.SCT.WhiteMatter,
                geometry.with_array(low),
            ),
        ),
        findings=(
            Finding("few-directions", "Only 6 directions: FA is noisy.", Severity.WARNING),
            Finding("b0-count", "1 image with b = 0 s/mm².", Severity.INFORMATION),
        ),
        algorithm=Algorithm(
            name=f"QuantMAP {pipeline}",
            version="0.1.0",
            model_sha256={"model.onnx": "5d" * 32},
            execution_provider="CPUExecutionProvider",
            configuration={"fit": "weighted"},
            source="doi:10.1006/jmrb.1994.1037",
        ),
        source=made_source(geometry, series_number),
        colour_maps=(
            ColourMap(
                "colour_fa",
                "Colour FA",
                geometry.with_array(
                    colours.astype(np.uint8),
                    channels={hd.RGB_COLOR_CHANNEL_DESCRIPTOR: ["R", "G", "B"]},
                ),
            ),
        ),
        protocol=GradientTable(np.array([0.0, 1000.0]), np.array([[0, 0, 0], [0, 0, 1.0]])),
    )


def with_values(result: PipelineResult, name: str, values: np.ndarray) -> PipelineResult:
    """The same result with other values in one of its maps."""
    return replace(
        result,
        maps=tuple(
            replace(m, volume=m.volume.with_array(values.astype(np.float32)))
            if m.quantity.name == name
            else m
            for m in result.maps
        ),
    )
