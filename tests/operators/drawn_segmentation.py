"""Segmentations as a workstation would send them with a study, made for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import highdicom as hd
import numpy as np
from highdicom.seg import (
    SegmentAlgorithmTypeValues,
    Segmentation,
    SegmentationTypeValues,
    SegmentDescription,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

LESION = (codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Neoplasm)
TISSUE = (codes.SCT.Tissue, codes.SCT.GrayMatter)


def write_segmentation(
    path: Path,
    source: Dataset,
    masks: Sequence[np.ndarray],
    geometry: hd.VolumeGeometry,
    *,
    kinds: Sequence[tuple[Code, Code]] = (),
    labels: Sequence[str] = (),
    encoding: SegmentationTypeValues = SegmentationTypeValues.BINARY,
    manufacturer: str = "Workstation",
    series_number: int = 90,
) -> Segmentation:
    """Write one Segmentation of ``masks``, each (slices, rows, columns) on ``geometry``.

    Args:
        path: file to write; folders are made.
        source: header of an image of the study.
        masks: boolean, or fractions from 0 to 1 where the encoding is FRACTIONAL.
        geometry: their grid.
        kinds: (category, type) of each; lesions where not given.
        labels: Segment Label of each.
        encoding: BINARY, FRACTIONAL or LABELMAP.
        manufacturer: who is said to have made it.
        series_number: of its series.
    """
    count = len(masks)
    kinds = kinds or [LESION] * count
    labels = labels or [f"Region {number}" for number in range(1, count + 1)]
    fractional = encoding is SegmentationTypeValues.FRACTIONAL
    stacked = np.stack(masks, axis=-1).astype(np.float32 if fractional else np.uint8)
    template = Dataset()
    template.update(source)
    plane = geometry.get_plane_orientation()[0]
    template.ImageOrientationPatient = plane.ImageOrientationPatient
    template.ImagePositionPatient = geometry.get_plane_position(0)[0].ImagePositionPatient
    template.PixelSpacing = list(geometry.pixel_spacing)
    template.SliceThickness = geometry.spacing_between_slices
    template.SpacingBetweenSlices = geometry.spacing_between_slices
    template.Rows, template.Columns = geometry.spatial_shape[1:]
    template.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    for keyword in ("NumberOfFrames", "SharedFunctionalGroupsSequence",
                    "PerFrameFunctionalGroupsSequence", "DimensionIndexSequence"):  # fmt: skip
        if keyword in template:
            delattr(template, keyword)
    segmentation = Segmentation(
        source_images=[template],
        pixel_array=geometry.with_array(
            stacked, channels={"SegmentNumber": list(range(1, count + 1))}
        ),
        segmentation_type=encoding,
        segment_descriptions=[
            SegmentDescription(
                segment_number=number,
                segment_label=label,
                segmented_property_category=category,
                segmented_property_type=kind,
                algorithm_type=SegmentAlgorithmTypeValues.MANUAL,
            )
            for number, (label, (category, kind)) in enumerate(
                zip(labels, kinds, strict=True), start=1
            )
        ],
        series_instance_uid=generate_uid(),
        series_number=series_number,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer=manufacturer,
        manufacturer_model_name="Contour",
        software_versions="1",
        device_serial_number="1",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    segmentation.save_as(path)
    return segmentation
