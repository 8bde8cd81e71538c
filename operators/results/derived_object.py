"""The part that objects built without a class of highdicom have in common."""

from __future__ import annotations

import highdicom as hd
from highdicom.base_content import ContributingEquipment
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from operators.results.provenance import (
    DEVICE_SERIAL_NUMBER,
    MANUFACTURER,
    contributing_equipment,
    private_coding_scheme,
)
from operators.results.series_plan import PlannedSeries, ResultPlan
from operators.results.value_text import long_string


def derived_object(
    plan: ResultPlan,
    series: PlannedSeries,
    template: Dataset,
    *,
    sop_class_uid: str,
    sop_instance_uid: str,
    modality: str,
) -> hd.SOPClass:
    """A data set with Patient, Study, Series, Equipment and SOP Common modules filled.

    Args:
        plan: the result and its plan.
        series: series that the object belongs to.
        template: header of the source, from `template_image`.
        sop_class_uid: class of the object.
        sop_instance_uid: its UID.
        modality: its Modality (0008,0060).
    """
    algorithm = plan.result.algorithm
    dataset = hd.SOPClass(
        study_instance_uid=template.StudyInstanceUID,
        series_instance_uid=series.uid,
        series_number=series.number,
        series_description=series.description,
        sop_instance_uid=sop_instance_uid,
        sop_class_uid=sop_class_uid,
        instance_number=1,
        modality=modality,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=long_string(algorithm.name),
        software_versions=long_string(algorithm.version),
        device_serial_number=DEVICE_SERIAL_NUMBER,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        patient_id=template.PatientID,
        patient_name=template.PatientName,
        patient_birth_date=template.PatientBirthDate,
        patient_sex=template.PatientSex,
        accession_number=template.AccessionNumber,
        study_id=template.StudyID,
        study_date=template.StudyDate,
        study_time=template.StudyTime,
        referring_physician_name=template.ReferringPhysicianName,
        specific_character_set=template.SpecificCharacterSet,
        coding_schemes=[private_coding_scheme()],
    )
    dataset.copy_patient_and_study_information(template)
    dataset.ContributingEquipmentSequence = [
        *_acquisition_equipment(template),
        contributing_equipment(algorithm),
    ]
    return dataset


def _acquisition_equipment(template: Dataset) -> list[ContributingEquipment]:
    try:
        return [ContributingEquipment.for_image_acquisition(template)]
    except (AttributeError, ValueError):
        return []  # the source names no manufacturer, or one that no item can hold
