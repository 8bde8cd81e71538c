"""Who made an object: equipment, algorithm, coding schemes, dates; the same in all objects."""

from __future__ import annotations

from datetime import datetime

import highdicom as hd
from highdicom.base_content import ContributingEquipment
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.charset import convert_encodings, default_encoding
from pydicom.dataset import Dataset
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.sr.codedict import codes
from pydicom.valuerep import DA, DT, TM

from operators.results.series_plan import ResultPlan
from operators.results.value_text import long_string, short_text
from operators.vocabulary.quantity import PRIVATE_SCHEME, PRIVATE_SCHEME_NAME
from operators.vocabulary.result import Algorithm
from operators.vocabulary.version import MANUFACTURER

# No unit is numbered: the attribute is Type 1 in enhanced objects and may not be empty.
DEVICE_SERIAL_NUMBER = "none"


def contributing_equipment(algorithm: Algorithm) -> ContributingEquipment:
    """Contributing Equipment item that names algorithm, version and network digests.

    The digests are values of Software Versions, each followed by the file that it belongs to.
    A value holds 64 characters, as many as a digest has, so that a digest must not stand last,
    where a padding space may follow.
    """
    versions = [long_string(algorithm.version)]
    for file_name, digest in sorted(algorithm.model_sha256.items()):
        versions += [long_string(digest), long_string(file_name)]
    settings = ", ".join(
        f"{name}={value}" for name, value in sorted(algorithm.configuration.items())
    )
    description = (
        f"Processing Algorithm {algorithm.name} {algorithm.version} ({algorithm.source}) "
        f"on {algorithm.execution_provider}; {settings}"
    )
    return ContributingEquipment(
        manufacturer=MANUFACTURER,
        purpose_of_reference=codes.DCM.ProcessingEquipment,
        manufacturer_model_name=long_string(algorithm.name),
        software_versions=versions,
        contribution_description=short_text(description),
    )


def algorithm_identification(algorithm: Algorithm) -> hd.AlgorithmIdentificationSequence:
    """Algorithm Identification Sequence (PS3.3 10.16) of a Segmentation.

    The family is required there and its list (CID 7162) has no model fitting: regions that
    no network made are taken to come from intensity statistics.
    """
    network = bool(algorithm.model_sha256)
    return hd.AlgorithmIdentificationSequence(
        name=long_string(algorithm.name),
        family=codes.DCM.ArtificialIntelligence if network else codes.DCM.HistogramAnalysis,
        version=long_string(algorithm.version),
        source=long_string(algorithm.source),
        parameters=dict(sorted(algorithm.configuration.items())),
    )


def private_coding_scheme() -> CodingSchemeIdentificationItem:
    """Coding Scheme Identification of the private codes (PS3.3 C.12.1)."""
    return CodingSchemeIdentificationItem(
        designator=PRIVATE_SCHEME,
        name=PRIVATE_SCHEME_NAME,
        responsible_organization=MANUFACTURER,
    )


def finish_object(dataset: Dataset, plan: ResultPlan) -> None:
    """Enters the patient's name, and the plan's time and UIDs for those that a library drew.

    Without the latter, two runs on the same input would give objects of the same UID and
    different bytes, even when they are told the same time.

    Args:
        dataset: an object that lacks nothing but references to its sources, which are
            entered afterwards (`SourceReferences`); changed in place.
        plan: gives time and UIDs.
    """
    dataset.PatientName = plan.result.source.header.get("PatientName")
    created = plan.created
    _state_date_and_time(dataset, "InstanceCreation", created)
    if "ContentDate" in dataset:
        _state_date_and_time(dataset, "Content", created)
    for item in dataset.get("ContributingEquipmentSequence", []):
        if item.get("Manufacturer") == "Highdicom open-source contributors":
            item.ContributionDateTime = DT(created)
    organization = plan.identifiers.other("dimension organization", dataset.SOPInstanceUID)
    for keyword in ("DimensionOrganizationSequence", "DimensionIndexSequence"):
        for item in dataset.get(keyword, []):
            item.DimensionOrganizationUID = organization
    _declare_encoding(dataset)


def _declare_encoding(dataset: Dataset) -> None:
    """Lets pydicom copy encoded references into the file instead of decoding them first.

    It does so for data sets that it takes to be written as they were read. Value
    representations that depend on the pixels, which it settles otherwise, are settled here.
    """
    correct_ambiguous_vr(dataset, is_little_endian=True)
    dataset.set_original_encoding(False, True, convert_encodings(dataset.SpecificCharacterSet))
    for frame in dataset.get("PerFrameFunctionalGroupsSequence", []):
        frame.set_original_encoding(False, True, default_encoding)


def _state_date_and_time(dataset: Dataset, prefix: str, moment: datetime) -> None:
    setattr(dataset, f"{prefix}Date", DA(moment.date()))
    setattr(dataset, f"{prefix}Time", TM(moment.time()))
