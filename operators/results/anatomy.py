"""The body part of a result, as the source states it."""

from __future__ import annotations

from highdicom.sr.coding import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

# Body Part Examined (0018,0015) of MR series to SNOMED CT, by PS3.16 Annex L.
_REGIONS: dict[str, Code] = {
    "ABDOMEN": codes.SCT.Abdomen,
    "ANKLE": codes.SCT.AnkleJoint,
    "BRAIN": codes.SCT.Brain,
    "BREAST": codes.SCT.Breast,
    "CHEST": codes.SCT.Chest,
    "CSPINE": codes.SCT.CervicalSpine,
    "ELBOW": codes.SCT.ElbowJoint,
    "FOOT": codes.SCT.Foot,
    "HAND": codes.SCT.Hand,
    "HEAD": codes.SCT.Head,
    "HEADNECK": codes.SCT.HeadAndNeck,
    "HEART": codes.SCT.Heart,
    "HIP": codes.SCT.Hip,
    "KIDNEY": codes.SCT.Kidney,
    "KNEE": codes.SCT.Knee,
    "LEG": codes.SCT.LowerLimb,
    "LIVER": codes.SCT.Liver,
    "LSPINE": codes.SCT.LumbarSpine,
    "NECK": codes.SCT.Neck,
    "PELVIS": codes.SCT.Pelvis,
    "PHANTOM": codes.SCT.Phantom,
    "PROSTATE": codes.SCT.Prostate,
    "SHOULDER": codes.SCT.Shoulder,
    "SPINE": codes.SCT.Spine,
    "THIGH": codes.SCT.Thigh,
    "TSPINE": codes.SCT.ThoracicSpine,
    "WHOLEBODY": codes.SCT.EntireBody,
    "WRIST": codes.SCT.WristJoint,
}
_UNSTATED = Code("123037004", "SCT", "Body structure")
_UNPAIRED = "U"


def frame_anatomy(header: Dataset) -> Dataset:
    """Frame Anatomy Sequence item (PS3.3 C.7.6.16.2.8) of the body part of ``header``.

    Taken from the first of: Frame Anatomy Sequence of an enhanced image, Anatomic Region
    Sequence, Body Part Examined. Where the source states none, the region is the general
    "Body structure": nothing is guessed from the pixels. Readers refuse a map without this
    item (dcmqi), and the standard requires it.
    """
    stated = _stated_frame_anatomy(header)
    item = Dataset()
    item.FrameLaterality = (
        (stated.get("FrameLaterality") if stated else None)
        or header.get("ImageLaterality")
        or header.get("Laterality")
        or _UNPAIRED
    )
    item.AnatomicRegionSequence = [_region(stated or header, header)]
    return item


def _region(stated: Dataset, header: Dataset) -> CodedConcept:
    regions = stated.get("AnatomicRegionSequence") or []
    if regions and regions[0].get("CodeValue") and regions[0].get("CodeMeaning"):
        region = regions[0]
        return CodedConcept(region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning)
    part = str(header.get("BodyPartExamined") or "").replace(" ", "").upper()
    return CodedConcept.from_code(_REGIONS.get(part, _UNSTATED))


def _stated_frame_anatomy(header: Dataset) -> Dataset | None:
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in (header.get(groups) or [])[:1]:
            for item in group.get("FrameAnatomySequence") or []:
                return item
    return None
