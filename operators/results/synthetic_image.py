"""Weighted images computed from maps, as MR Images that say that nobody acquired them."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
from pydicom.uid import UID, MRImageStorage
from pydicom.valuerep import VR, DSfloat

from operators.results.mr_image import describe_pixels, mr_image
from operators.results.provenance import finish_object
from operators.results.references import slices_ascending
from operators.results.series_plan import ObjectKind, ResultPlan
from operators.results.source import template_image
from operators.results.value_text import short_text
from operators.results.value_window import STORED_LEVELS
from operators.vocabulary.run import WrittenObject
from operators.vocabulary.synthetic_image import SyntheticImage

_STEPS = (1.0, 2.0, 5.0)
_BRIGHT_PERCENTILE = 99.5


def write_synthetic_images(plan: ResultPlan, folder: Path) -> list[WrittenObject]:
    """Writes every synthetic image as a series of its own, one file per slice, below ``folder``.

    Returns:
        One entry per file, with paths relative to ``folder``.
    """
    return [
        entry
        for synthetic in plan.result.synthetic_images
        for entry in _write_series(plan, synthetic, folder)
    ]


def _write_series(plan: ResultPlan, synthetic: SyntheticImage, folder: Path) -> list[WrittenObject]:
    step = _stored_step(synthetic)
    stored = np.rint(synthetic.volume.array / np.float32(step)).astype(np.uint16)
    image = _series_header(plan, synthetic, step)
    geometry = synthetic.volume.get_geometry()
    series_folder = plan.folder / "synthetic" / synthetic.name
    (folder / series_folder).mkdir(parents=True, exist_ok=True)
    written = []
    for number, index in enumerate(slices_ascending(geometry), start=1):
        uid = plan.instance_uid(ObjectKind.SYNTHETIC_IMAGE, synthetic.name, number)
        image.SOPInstanceUID = uid
        image.file_meta.MediaStorageSOPInstanceUID = UID(uid)
        image.InstanceNumber = number
        image.ImagePositionPatient = geometry.get_plane_position(index)[0].ImagePositionPatient
        plan.references.name_images_of_slice(image, geometry, index)
        image.add_new("PixelData", VR.OW, stored[index].tobytes())
        path = series_folder / f"{number:04d}.dcm"
        image.save_as(folder / path, enforce_file_format=True)
        written.append(
            WrittenObject(
                path=path,
                kind=ObjectKind.SYNTHETIC_IMAGE,
                sop_class_uid=MRImageStorage,
                sop_instance_uid=uid,
                series_instance_uid=image.SeriesInstanceUID,
            )
        )
    return written


def _stored_step(synthetic: SyntheticImage) -> float:
    """Signal of one stored unit: 1, 2 or 5 times a power of ten with which all fits."""
    largest = float(synthetic.volume.array.max(initial=0.0)) / (STORED_LEVELS - 1)
    power = 10.0 ** np.floor(np.log10(max(largest, 1e-9)))
    return float(next(power * s for s in (*_STEPS, 10.0) if power * s >= largest))


def _series_header(plan: ResultPlan, synthetic: SyntheticImage, step: float) -> hd.SOPClass:
    """Everything that all slices of one series share."""
    result = plan.result
    image = mr_image(
        plan,
        plan.series_of(ObjectKind.SYNTHETIC_IMAGE, synthetic.name),
        plan.instance_uid(ObjectKind.SYNTHETIC_IMAGE, synthetic.name),
        template_image(result.source, synthetic.volume.get_geometry()),
    )
    image.ImageType = ["DERIVED", "PRIMARY", synthetic.kind, "SYNTHETIC"]
    image.ScanningSequence = list(synthetic.scanning_sequence)
    image.SequenceVariant = "NONE"
    image.ScanOptions = None
    image.EchoTrainLength = None
    image.RepetitionTime = DSfloat(synthetic.repetition_time, auto_format=True)
    image.EchoTime = DSfloat(synthetic.echo_time, auto_format=True)
    if synthetic.inversion_time is not None:
        image.InversionTime = DSfloat(synthetic.inversion_time, auto_format=True)
    if synthetic.flip_angle is not None:
        image.FlipAngle = DSfloat(synthetic.flip_angle, auto_format=True)
    image.ImageComments = short_text(
        f"SYNTHETIC {synthetic.label}, not acquired: computed from PD, T1 and T2 maps for "
        f"{synthetic.parameters}. It replaces no acquired image."
    )
    image.DerivationDescription = short_text(
        f"{synthetic.label} by the signal equation {synthetic.sequence} at {synthetic.parameters} "
        f"from PD, T1 and T2 maps; not acquired. One stored unit is {step:g} of the fully relaxed "
        f"signal of water. By {result.algorithm.name} {result.algorithm.version}"
    )
    plan.references.name_related_series(image)
    describe_pixels(image)
    values = synthetic.volume.array[synthetic.volume.array > 0]
    high = float(np.percentile(values, _BRIGHT_PERCENTILE)) if values.size else 1.0
    # No Rescale Slope: few viewers expect one in a weighted image, and some window without it.
    image.WindowCenter = DSfloat(round(high / step / 2), auto_format=True)
    image.WindowWidth = DSfloat(round(high / step), auto_format=True)
    image.VOILUTFunction = "LINEAR_EXACT"
    finish_object(image, plan)
    return image
