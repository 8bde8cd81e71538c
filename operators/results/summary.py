"""The summary page as files: a PNG picture and an Encapsulated PDF object."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
from highdicom.sr.coding import CodedConcept
from pydicom.sr.codedict import codes
from pydicom.uid import EncapsulatedPDFStorage

from operators.results.comparison_page import comparison_page
from operators.results.derived_object import derived_object
from operators.results.provenance import finish_object
from operators.results.series_plan import ObjectKind, ResultPlan
from operators.results.source import template_image
from operators.results.summary_page import summary_page
from operators.results.value_text import short_text
from operators.vocabulary.run import WrittenObject


def write_summary(plan: ResultPlan, folder: Path) -> list[WrittenObject]:
    """Writes ``summary.png`` and ``summary.dcm`` below ``folder``; nothing without maps.

    Returns:
        One entry per file, with paths relative to ``folder``.
    """
    if not plan.result.maps:
        return []
    page = comparison_page(plan) if plan.result.measured_maps else summary_page(plan)
    document = encapsulated_page(plan, page.pdf)
    (folder / plan.folder).mkdir(parents=True, exist_ok=True)
    picture_path, document_path = plan.folder / "summary.png", plan.folder / "summary.dcm"
    (folder / picture_path).write_bytes(page.png)
    document.save_as(folder / document_path, enforce_file_format=True)
    return [
        WrittenObject(path=picture_path, kind=ObjectKind.SUMMARY_PICTURE),
        WrittenObject(
            path=document_path,
            kind=ObjectKind.SUMMARY_PAGE,
            sop_class_uid=document.SOPClassUID,
            sop_instance_uid=document.SOPInstanceUID,
            series_instance_uid=document.SeriesInstanceUID,
        ),
    ]


def encapsulated_page(plan: ResultPlan, pdf: bytes) -> hd.SOPClass:
    """The Encapsulated PDF object (PS3.3 A.45.1) of one page.

    Args:
        plan: UIDs, series and source.
        pdf: the page, which names no patient.
    """
    template = template_image(plan.result.source, plan.result.maps[0].volume.get_geometry())
    document = derived_object(
        plan,
        plan.series_of(ObjectKind.SUMMARY_PAGE),
        template,
        sop_class_uid=EncapsulatedPDFStorage,
        sop_instance_uid=plan.instance_uid(ObjectKind.SUMMARY_PAGE),
        modality="DOC",
    )
    document.ConversionType = "WSD"
    document.AcquisitionDateTime = None
    document.BurnedInAnnotation = "NO"
    document.RecognizableVisualFeatures = "NO"
    document.VerificationFlag = "UNVERIFIED"
    document.DocumentTitle = short_text(f"{plan.result.algorithm.name} summary")
    document.ConceptNameCodeSequence = [CodedConcept.from_code(codes.DCM.ImagingMeasurementReport)]
    document.MIMETypeOfEncapsulatedDocument = "application/pdf"
    document.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    document.EncapsulatedDocumentLength = len(pdf)
    finish_object(document, plan)
    plan.references.name_images(document, "SourceInstanceSequence")
    return document
