"""The answer to a STOW-RS request: Store Instances Response Module (PS3.18 table I.1-1)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from pydicom.datadict import dictionary_VR, keyword_for_tag

from app.node.arrival import Arrival
from app.node.receive.stow_part import StowFailure

JSON, XML = "application/dicom+json", "application/dicom+xml"
_REFERENCED, _FAILED, _OTHER_FAILURES = "00081199", "00081198", "0008119A"
_CLASS, _INSTANCE, _REASON = "00081150", "00081155", "00081197"

Item = dict[str, Any]


def stored_and_failed(
    arrivals: Sequence[Arrival], failures: Sequence[StowFailure]
) -> dict[str, list[Item]]:
    """Items of each sequence by tag; empty sequences are left out."""
    named = [failure for failure in failures if failure.sop_instance_uid]
    sequences: dict[str, list[Item]] = {
        _REFERENCED: [
            {_CLASS: one.sop_class_uid, _INSTANCE: one.sop_instance_uid} for one in arrivals
        ],
        _FAILED: [
            {_CLASS: one.sop_class_uid, _INSTANCE: one.sop_instance_uid, _REASON: one.reason}
            for one in named
        ],
        _OTHER_FAILURES: [{_REASON: one.reason} for one in failures if one not in named],
    }
    return {tag: items for tag, items in sequences.items() if items}


def as_json(sequences: dict[str, list[Item]]) -> bytes:
    """DICOM JSON model (PS3.18 annex F)."""
    data_set = {
        tag: {
            "vr": "SQ",
            "Value": [
                {
                    name: {"vr": dictionary_VR(name), "Value": [value]}
                    for name, value in item.items()
                }
                for item in items
            ],
        }
        for tag, items in sequences.items()
    }
    return json.dumps(data_set).encode()


def as_xml(sequences: dict[str, list[Item]]) -> bytes:
    """Native DICOM model (PS3.19 A.1)."""
    root = ElementTree.Element("NativeDicomModel", {"xml:space": "preserve"})
    for tag, items in sequences.items():
        sequence = _attribute(root, tag)
        for number, item in enumerate(items, 1):
            element = ElementTree.SubElement(sequence, "Item", number=str(number))
            for name, value in item.items():
                attribute = _attribute(element, name)
                ElementTree.SubElement(attribute, "Value", number="1").text = str(value)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def _attribute(parent: ElementTree.Element, tag: str) -> ElementTree.Element:
    names = {"tag": tag, "vr": dictionary_VR(tag), "keyword": keyword_for_tag(tag)}
    return ElementTree.SubElement(parent, "DicomAttribute", names)
