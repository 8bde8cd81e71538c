"""What a series is: by standard attributes, then vendor's, then configured rules; never guessed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydicom.uid import CTImageStorage, ParametricMapStorage

from operators.ingest.conditions import holds, values_of
from operators.ingest.frames import Frame, imaging_frequency_of
from operators.ingest.gradients.reading import weighting_of
from operators.ingest.header import Header
from operators.ingest.settings import IngestSettings, NamedSeries
from operators.ingest.study import StoredSeries
from operators.ingest.units import UNITS, conversion_factor
from operators.vocabulary.acquisition import SeriesKind
from operators.vocabulary.quantity import QUANTITIES, Quantity


@dataclass(frozen=True)
class Recognition:
    """What a series was recognised as.

    Attributes:
        kind: what it is.
        because: which attributes or rule decided, for people.
        quantity: of a quantity map, where known.
        unit_factor: from the values in the file to the unit of ``quantity``; None where the
            unit is not known, and the map is then only listed.
        real_world_values: whether the values are those of the Real World Value Mapping,
            rather than of the Rescale Slope.
        protocol: name or path of the protocol of a saturation series.
        foreign: cross-sectional images of another modality, of which the geometry is checked
            so that a tilted or incomplete stack is refused by its own reason.
    """

    kind: SeriesKind
    because: str
    quantity: Quantity | None = None
    unit_factor: float | None = None
    real_world_values: bool = False
    protocol: str | None = None
    foreign: bool = False


_LOCALIZER = re.compile(
    r"(?<![a-z])(localizers?|localisers?|scout|survey|(3|three)[ _-]?plane|loc)(?![a-z])",
    re.IGNORECASE,
)
_DIFFUSION_SEQUENCE = re.compile(r"(^|\*)ep_b\d|epi_dti|epi_dwi", re.IGNORECASE)

_MAP_TOKENS = {
    "ADC": "mean_diffusivity",
    "FA": "fractional_anisotropy",
    "T1 MAP": "t1",
    "T1_MAP": "t1",
    "T1": "t1",
    "T2 MAP": "t2",
    "T2_MAP": "t2",
    "T2": "t2",
    "R1 MAP": "r1",
    "R1_MAP": "r1",
    "R1": "r1",
    "R2 MAP": "r2",
    "R2_MAP": "r2",
    "R2": "r2",
    "PD MAP": "proton_density",
    "PD_MAP": "proton_density",
    "PD": "proton_density",
    "DENSITY MAP": "proton_density",
    "B0 MAP": "b0_shift",
    "B1 MAP": "b1_scale",
}
"""Tokens of Image Type by which vendors name the quantity of a map."""

_SIEMENS_UNITS = {"mean_diffusivity": "10-6.mm2/s", "fractional_anisotropy": "10-3"}
"""Units of the maps that Siemens scanners derive from diffusion series (checked: XA30)."""

_ADC = ("113041", "DCM")
_CODES = {(q.code.value, q.code.scheme_designator): q for q in QUANTITIES.values()} | {
    _ADC: QUANTITIES["mean_diffusivity"]
}


def recognise(
    series: StoredSeries, frames: Sequence[Frame], settings: IngestSettings
) -> Recognition:
    """What ``series`` is, and why.

    Args:
        series: a series of the study.
        frames: its frames.
        settings: named series and rules.

    Raises:
        HeaderValueError: an attribute that decides is malformed.
        UnreadableFileError: a rule asks for an attribute of a header that cannot be read.
    """
    named = named_as(series, settings)
    if named is not None:
        return _as_named(named, frames[0].header)
    foreign = _foreign(series)
    if foreign is not None:
        return foreign
    header = frames[0].header
    image_type = _image_type(header)
    derived = all(_image_type(frame.header)[:1] == ("DERIVED",) for frame in frames)
    stated = _mapped_quantity(header) or _siemens_map(header, derived)
    if stated is None and not derived:
        stated = _diffusion(frames)
    if stated is not None:
        return stated
    for rule in settings.quantity_maps:
        if holds(rule.when, series.data_set):
            return _map(header, QUANTITIES[rule.quantity], rule.unit, "a rule for quantity maps")
    for saturation in settings.saturation:
        if holds(saturation.when, series.data_set):
            return Recognition(
                SeriesKind.SATURATION,
                f"a rule for saturation series names protocol '{saturation.protocol}'",
                protocol=saturation.protocol,
            )
    if series.images[0].sop_class_uid == ParametricMapStorage:
        return _left_alone("a Parametric Map of a quantity that is not in the table")
    if _LOCALIZER.search(" ".join(image_type)):
        return _left_alone("a localizer by its Image Type")
    if derived:
        return _derived(header)
    if _LOCALIZER.search(series.first.text("SeriesDescription")):
        return _left_alone("a localizer by its Series Description")
    return Recognition(SeriesKind.WEIGHTED_IMAGE, _weighted_because(header))


def _left_alone(because: str) -> Recognition:
    return Recognition(SeriesKind.UNRECOGNISED, because)


def named_as(series: StoredSeries, settings: IngestSettings) -> NamedSeries | None:
    """The first entry of the configuration that names ``series``, or None."""
    return next((named for named in settings.series if _is_named(series, named)), None)


def _is_named(series: StoredSeries, named: NamedSeries) -> bool:
    if named.series_number is not None and named.series_number != series.series_number:
        return False
    if named.series_instance_uid not in (None, series.series_instance_uid):
        return False
    if named.description is None:
        return True
    described = values_of(series.data_set, "SeriesDescription")
    return any(re.search(named.description, str(text), re.IGNORECASE) for text in described)


def _as_named(named: NamedSeries, header: Header) -> Recognition:
    because = "named in the configuration"
    if named.quantity is not None and named.unit is not None:
        return _map(header, QUANTITIES[named.quantity], named.unit, because)
    return Recognition(named.kind, because, protocol=named.protocol)


def _map(header: Header, quantity: Quantity, unit: str, because: str) -> Recognition:
    """A quantity map of which the rescaled values have ``unit``."""
    try:
        factor = conversion_factor(unit, quantity.unit.value, imaging_frequency_of(header))
    except ValueError as error:
        return Recognition(SeriesKind.QUANTITY_MAP, f"{because}, but {error}", quantity)
    return Recognition(SeriesKind.QUANTITY_MAP, f"{because} in {unit}", quantity, factor)


def _foreign(series: StoredSeries) -> Recognition | None:
    """Images that are no grey-scale MR images, whatever their frames say."""
    image = series.images[0]
    if image.sop_class_uid == CTImageStorage:
        return Recognition(SeriesKind.UNRECOGNISED, "CT images, no MR", foreign=True)
    if image.pixels.samples > 1:
        return _left_alone("colour images (a colour FA map or a screenshot)")
    modality = series.first.text("Modality")
    # Parametric Maps of MR images are often of Modality OT.
    if image.sop_class_uid == ParametricMapStorage or modality in ("MR", ""):
        return None
    return _left_alone(f"Modality {modality[:16]}, not MR")


def _mapped_quantity(header: Header) -> Recognition | None:
    """Quantity and unit of a Real World Value Mapping."""
    for mapping in header.items("RealWorldValueMappingSequence"):
        quantity = quantity_of(mapping)
        units = [item.text("CodeValue") for item in mapping.items("MeasurementUnitsCodeSequence")]
        if quantity is not None and units:
            because = f"Real World Value Mapping of {quantity.label}"
            return replace(_map(header, quantity, units[0], because), real_world_values=True)
    return None


def quantity_of(mapping: Header) -> Quantity | None:
    """The quantity of a Real World Value Mapping item (PS3.3 C.7.6.16.2.11), where known."""
    for definition in mapping.items("QuantityDefinitionSequence"):
        for code in definition.items("ConceptCodeSequence"):
            key = (code.text("CodeValue"), code.text("CodingSchemeDesignator"))
            if key in _CODES:
                return _CODES[key]
    return None


def _image_type(header: Header) -> tuple[str, ...]:
    return header.tokens("FrameType") or header.tokens("ImageType")


def _named_maps(header: Header) -> list[str]:
    """Names of the quantities in Image Type."""
    return [_MAP_TOKENS[token] for token in _image_type(header)[2:] if token in _MAP_TOKENS]


def _siemens_map(header: Header, derived: bool) -> Recognition | None:
    """A map that a Siemens scanner derived from a diffusion series, of which the unit is known."""
    names = [name for name in _named_maps(header) if name in _SIEMENS_UNITS]
    if not (derived and names and "SIEMENS" in header.text("Manufacturer").upper()):
        return None
    because = "Image Type " + "\\".join(_image_type(header))
    return _map(header, QUANTITIES[names[0]], _SIEMENS_UNITS[names[0]], because)


def _derived(header: Header) -> Recognition:
    """A series that the scanner derived: a map where Image Type and Rescale Type say so."""
    shown = "\\".join(_image_type(header))
    names = _named_maps(header)
    if not names:
        return _left_alone(f"derived images, Image Type {shown}")
    unit = header.text("RescaleType")
    if unit in UNITS:
        return _map(header, QUANTITIES[names[0]], unit, f"Image Type {shown} and Rescale Type")
    return Recognition(
        SeriesKind.QUANTITY_MAP,
        f"Image Type {shown}; its unit is not stated: add a rule under quantity_maps to use it",
        QUANTITIES[names[0]],
    )


def _diffusion(frames: Sequence[Frame]) -> Recognition | None:
    """A diffusion series by its b-values; without any, one that is called so."""
    largest, source, stated = 0.0, "", False
    for frame in frames:
        weighting = weighting_of(frame.header, frame.orientation)
        stated = stated or weighting is not None
        if weighting is None or not weighting.weighted:
            continue
        if weighting.b_value > largest:
            largest, source = weighting.b_value, weighting.source
    if source:
        return Recognition(SeriesKind.DIFFUSION, f"{source}: b up to {largest:g} s/mm²")
    if not stated and _is_called_diffusion(frames[0].header):
        return Recognition(SeriesKind.DIFFUSION, "named diffusion, but without b-values")
    return None


def _is_called_diffusion(header: Header) -> bool:
    """Whether a series without b-values is a diffusion series by its name."""
    return (
        "DIFFUSION" in _image_type(header)
        or header.text("AcquisitionContrast").upper() == "DIFFUSION"
        or _DIFFUSION_SEQUENCE.search(header.text("SequenceName")) is not None
    )


def _weighted_because(header: Header) -> str:
    sequence = "\\".join(header.tokens("ScanningSequence")) or "not stated"
    return f"original MR images, Scanning Sequence {sequence}, no other kind fits"
