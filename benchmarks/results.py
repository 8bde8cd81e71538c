"""Writing results: four maps of 256 x 256 x 60 voxels, as every kind of object."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import highdicom as hd
import numpy as np
import SimpleITK
from highdicom.pm import ParametricMap, RealWorldValueMapping
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import MRImageStorage, generate_uid

from benchmarks.table import Row
from operators.results.measurement_report import write_measurement_report
from operators.results.parametric_map import write_parametric_maps
from operators.results.segmentation import write_segmentation
from operators.results.series_plan import ResultPlan, plan_results
from operators.results.value_window import display_window, voi_lut
from operators.results.viewer_image import stored_values, write_viewer_images
from operators.vocabulary.acquisition import SourceImage, SourceSeries
from operators.vocabulary.quantity import QUANTITIES, QuantityMap
from operators.vocabulary.result import Algorithm, PipelineResult, Segment

SHAPE = (60, 256, 256)
VOLUMES = 17
MAPS = ("mean_diffusivity", "fractional_anisotropy", "axial_diffusivity", "radial_diffusivity")
BOUND_SECONDS = 3.0


def run() -> list[Row]:
    """Times our writers, highdicom alone, and SimpleITK's series writer."""
    (plan,) = plan_results([_result()], datetime.now())
    maps = [m.volume.array for m in plan.result.maps]
    size = f"{len(maps)} maps {SHAPE[2]}x{SHAPE[1]}x{SHAPE[0]}"
    everything = (
        write_parametric_maps,
        write_viewer_images,
        write_segmentation,
        write_measurement_report,
    )
    _seconds(lambda folder: write_segmentation(plan, folder))  # imports and tables of the library
    return [
        Row(
            f"{size} as Parametric Maps, viewer copies, SEG and SR",
            _seconds(lambda folder: [write(plan, folder) for write in everything]),
            "bound of the issue",
            BOUND_SECONDS,
        ),
        Row(
            f"{size} as Parametric Maps, {SHAPE[0] * VOLUMES} source images",
            _seconds(lambda folder: write_parametric_maps(plan, folder)),
            f"highdicom {hd.__version__} alone, {SHAPE[0]} source images",
            _seconds(lambda folder: _highdicom_alone(plan, folder)),
        ),
        Row(
            f"{size} as {len(maps) * SHAPE[0]} MR Images",
            _seconds(lambda folder: write_viewer_images(plan, folder)),
            f"SimpleITK {SimpleITK.__version__}, pixels and position only",
            _seconds(lambda folder: _simpleitk_alone(plan, folder)),
        ),
    ]


def _seconds(write: Callable[[Path], object]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        write(Path(folder))
        return time.perf_counter() - start


def _header(geometry: hd.VolumeGeometry, index: int) -> Dataset:
    header = Dataset()
    header.SOPClassUID = MRImageStorage
    header.SOPInstanceUID = f"2.25.1.1.{index + 1}"
    header.StudyInstanceUID = "2.25.1"
    header.SeriesInstanceUID = "2.25.1.1"
    header.FrameOfReferenceUID = geometry.frame_of_reference_uid
    header.SeriesNumber = 1
    header.Modality = "MR"
    header.Manufacturer = "benchmark"
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate",
                    "StudyTime", "StudyID", "AccessionNumber"):  # fmt: skip
        setattr(header, keyword, None)
    measures = geometry.get_pixel_measures()[0]
    header.PixelSpacing = measures.PixelSpacing
    header.SliceThickness = measures.SliceThickness
    header.SpacingBetweenSlices = measures.SpacingBetweenSlices
    plane = geometry.get_plane_orientation()[0]
    header.ImageOrientationPatient = plane.ImageOrientationPatient
    position = geometry.get_plane_position(index)[0]
    header.ImagePositionPatient = position.ImagePositionPatient
    header.Rows, header.Columns = geometry.spatial_shape[1:]
    return header


def _geometry() -> hd.VolumeGeometry:
    affine = np.array([[0, 0, 1, -128], [0, 1, 0, -128], [2.5, 0, 0, -75], [0, 0, 0, 1]], float)
    return hd.VolumeGeometry(affine, SHAPE, "PATIENT", "2.25.2")


def _result() -> PipelineResult:
    geometry = _geometry()
    rng = np.random.default_rng(1)
    maps = []
    for name in MAPS:
        low, high = QUANTITIES[name].window
        values = rng.uniform(low, high, SHAPE).astype(np.float32)
        maps.append(QuantityMap(QUANTITIES[name], geometry.with_array(values)))
    ball = sum((np.indices(SHAPE) - np.reshape(SHAPE, (3, 1, 1, 1)) / 2) ** 2) < 60**2
    brain, tissue = ball.astype(np.uint8), (ball & (maps[1].volume.array > 0.5)).astype(np.uint8)
    segments = (
        Segment("Brain", codes.SCT.Organ, codes.SCT.Brain, geometry.with_array(brain)),
        Segment(
            "White matter", codes.SCT.Tissue, codes.SCT.WhiteMatter, geometry.with_array(tissue)
        ),
    )
    images = tuple(
        SourceImage(Path("x.dcm"), MRImageStorage, f"2.25.1.1.{v * SHAPE[0] + k + 1}", slices=(k,))
        for v in range(VOLUMES)
        for k in range(SHAPE[0])
    )
    return PipelineResult(
        pipeline="diffusion",
        maps=tuple(maps),
        segments=segments,
        findings=(),
        algorithm=Algorithm("QuantMAP diffusion", "0", {}, "torch cpu", {}, "benchmark"),
        source=SourceSeries(_header(geometry, 0), images),
    )


def _highdicom_alone(plan: ResultPlan, folder: Path) -> None:
    """The plain use of highdicom: one header per slice, nothing added afterwards."""
    for quantity_map in plan.result.maps:
        quantity, geometry = quantity_map.quantity, quantity_map.volume.get_geometry()
        values = quantity_map.volume.array
        ParametricMap(
            source_images=[_header(geometry, k) for k in range(SHAPE[0])],
            pixel_array=quantity_map.volume,
            series_instance_uid=generate_uid(),
            series_number=1,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer="benchmark",
            manufacturer_model_name="benchmark",
            software_versions="0",
            device_serial_number="0",
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[
                RealWorldValueMapping(
                    lut_label=quantity.label,
                    lut_explanation=quantity.code.meaning,
                    unit=quantity.unit,
                    value_range=(float(values.min()), float(values.max())),
                    slope=1.0,
                    intercept=0.0,
                    quantity_definition=quantity.code,
                )
            ],
            voi_lut_transformations=[voi_lut(display_window(quantity_map))],
        ).save_as(folder / f"{quantity.name}.dcm")


def _simpleitk_alone(plan: ResultPlan, folder: Path) -> None:
    """One file per slice through GDCM, as SimpleITK's DICOM series example does."""
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for quantity_map in plan.result.maps:
        image = SimpleITK.GetImageFromArray(stored_values(quantity_map).array)
        series = generate_uid()
        for index in range(image.GetDepth()):
            part = image[:, :, index]
            part.SetMetaData("0008|0060", "MR")
            part.SetMetaData("0020|000e", series)
            part.SetMetaData("0020|0032", f"-128\\-128\\{-75 + 2.5 * index}")
            part.SetMetaData("0020|0013", str(index + 1))
            writer.SetFileName(str(folder / f"{quantity_map.quantity.name}-{index}.dcm"))
            writer.Execute(part)
