"""Settings of the ingest wing: which series are what, where DICOM alone cannot tell."""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydicom.datadict import DicomDictionary, tag_for_keyword

from operators.ingest.units import UNITS
from operators.vocabulary.acquisition import SeriesKind
from operators.vocabulary.quantity import QUANTITIES


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0)
    return close[0]


def _keyword(word: str) -> str:
    if tag_for_keyword(word) is None:
        known = [entry[4] for entry in DicomDictionary.values() if entry[4]]
        raise ValueError(f"is not a DICOM keyword; the nearest is {_nearest(word, known)}")
    return word


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    return text


def _quantity_name(name: str) -> str:
    if name not in QUANTITIES:
        raise ValueError(f"is not a quantity; the nearest is {_nearest(name, list(QUANTITIES))}")
    return name


def _unit(unit: str) -> str:
    if unit not in UNITS:
        raise ValueError(f"is not a known unit; give one of {', '.join(UNITS)}")
    return unit


Keyword = Annotated[str, AfterValidator(_keyword)]
Pattern = Annotated[str, AfterValidator(_pattern)]
QuantityName = Annotated[str, AfterValidator(_quantity_name)]
UnitName = Annotated[str, AfterValidator(_unit)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Condition(_Settings):
    """What one DICOM attribute must be. A multi-valued attribute holds if any value does.

    Attributes:
        equals: exact text, or number.
        matches: regular expression, searched anywhere, letter case ignored.
        minimum: smallest number.
        maximum: largest number.
    """

    equals: str | float | None = None
    matches: Pattern | None = None
    minimum: float | None = None
    maximum: float | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.model_fields_set == set():
            raise ValueError("must give equals, matches, minimum or maximum")
        return self


Conditions = Annotated[dict[Keyword, Condition], Field(min_length=1)]
"""DICOM keyword -> condition; all must hold. Read from the first image of the series."""


class NamedSeries(_Settings):
    """A series that is named, and so is not left to recognition.

    Attributes:
        series_number: Series Number (0020,0011).
        description: regular expression for Series Description (0008,103E).
        series_instance_uid: Series Instance UID (0020,000E).
        kind: what it is; ``unrecognised`` leaves it alone.
        protocol: for a saturation series: name of a protocol of the project, or path of a
            ``.yaml`` or ``.seq`` file.
        quantity: for a quantity map: its quantity.
        unit: for a quantity map: unit of its rescaled values.
    """

    series_number: int | None = None
    description: Pattern | None = None
    series_instance_uid: str | None = None
    kind: SeriesKind
    protocol: str | None = None
    quantity: QuantityName | None = None
    unit: UnitName | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.series_number is None and not self.description and not self.series_instance_uid:
            raise ValueError("must give series_number, description or series_instance_uid")
        if self.kind is SeriesKind.SEGMENTATION:
            raise ValueError("a Segmentation says itself what it is: kind must be another")
        if (self.protocol is not None) != (self.kind is SeriesKind.SATURATION):
            raise ValueError("protocol is needed for kind 'saturation', and for no other")
        is_map = self.kind is SeriesKind.QUANTITY_MAP
        if (self.quantity is not None) != is_map or (self.unit is not None) != is_map:
            raise ValueError("quantity and unit are needed for kind 'quantity map', and no other")
        return self


class SaturationRule(_Settings):
    """Which series were acquired with which saturation protocol: no vendor writes it to DICOM.

    Attributes:
        when: conditions on the series.
        protocol: name of a protocol of the project, or path of a ``.yaml`` or ``.seq`` file.
    """

    when: Conditions
    protocol: str


class QuantityMapRule(_Settings):
    """Which series hold a quantity, where neither code nor unit is written in them.

    Attributes:
        when: conditions on the series.
        quantity: name of the quantity.
        unit: unit of the rescaled values in the file.
    """

    when: Conditions
    quantity: QuantityName
    unit: UnitName


DEFAULT_SATURATION = tuple(
    SaturationRule(when={"ProtocolName": Condition(matches=protocol)}, protocol=protocol)
    for protocol in ("mrf_mt_3t", "mrf_amide_3t", "mrf_larginine_3t", "aptw_3t", "wasabi_3t")
)
"""Series whose Protocol Name names a protocol of the project."""


class IngestSettings(_Settings):
    """How series are recognised where their own tags do not say it.

    Attributes:
        series: named series; the first that fits decides, before anything else.
        saturation: rules for saturation-prepared series; the first that fits decides.
        quantity_maps: rules for maps without code or unit; the first that fits decides.
        fewest_3d_slices: a three-dimensional acquisition with fewer slices than this is
            refused as incomplete.
    """

    series: tuple[NamedSeries, ...] = ()
    saturation: tuple[SaturationRule, ...] = DEFAULT_SATURATION
    quantity_maps: tuple[QuantityMapRule, ...] = ()
    fewest_3d_slices: int = Field(default=4, ge=1)
