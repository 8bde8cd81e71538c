"""Assembles a recognised series: grid, volumes and protocol from headers alone, pixels later."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import highdicom as hd

from operators.ingest.frames import (
    Frame,
    component_of,
    rescale_of,
)
from operators.ingest.geometry import grid_of
from operators.ingest.gradients.table import diffusion_dimensions, gradient_table, weightings_of
from operators.ingest.header import Header, HeaderValueError
from operators.ingest.pixels import LOSSY
from operators.ingest.reading import PixelReader, Placement
from operators.ingest.recognise import Recognition, quantity_of
from operators.ingest.saturation import schedule_of
from operators.ingest.scan import UnreadableFileError
from operators.ingest.settings import IngestSettings
from operators.ingest.signal_scale import check_one_scale, magnitudes, originals
from operators.ingest.study import StoredSeries
from operators.ingest.volumes import acquisition_order, arrange, weighted_dimensions
from operators.ingest.weighted import weighted_image
from operators.vocabulary.acquisition import (
    Acquisition,
    MapProtocol,
    Protocol,
    SeriesKind,
    SourceImage,
    SourceSeries,
)
from operators.vocabulary.finding import Finding, Severity
from operators.vocabulary.refusal import Refusal


@dataclass(frozen=True)
class _Layout:
    """Frames sorted into volumes, and the protocol that belongs to them."""

    geometry: hd.VolumeGeometry
    volumes: list[list[Frame]]
    protocol: Protocol
    findings: list[Finding]


def assemble(
    series: StoredSeries,
    frames: Sequence[Frame],
    recognition: Recognition,
    settings: IngestSettings,
) -> Acquisition:
    """A checked acquisition; its pixels are read when they are asked for.

    Args:
        series: a series of the study.
        frames: its frames.
        recognition: what it was recognised as; not ``UNRECOGNISED``.
        settings: of the ingest wing.

    Raises:
        Refusal: it must not be turned into numbers; names the series.
    """
    try:
        layout = _layout(frames, recognition, settings)
        placements = _placements(layout.volumes, recognition)
        source = SourceSeries(series.data_set, ())
    except Refusal as refusal:
        raise refusal.of_series(series.series_instance_uid, series.series_number) from refusal
    except (HeaderValueError, UnreadableFileError) as error:
        raise malformed(series, error) from error
    findings = layout.findings
    if series.images[0].pixels.transfer_syntax in LOSSY:
        findings.append(
            Finding("lossy-compression", "the images were compressed with loss", Severity.WARNING)
        )
    used = sorted(placements)
    slices, rows, columns = layout.geometry.spatial_shape
    images = tuple(
        SourceImage(
            path=series.images[index].path,
            sop_class_uid=series.images[index].sop_class_uid,
            sop_instance_uid=series.images[index].sop_instance_uid,
            frames=series.images[index].pixels.frames,
            slices=tuple(sorted({placement.slice for placement in placements[index]})),
        )
        for index in used
    )
    return Acquisition(
        kind=recognition.kind,
        protocol=layout.protocol,
        geometry=layout.geometry,
        source=SourceSeries(source.header, images),
        volumes=len(layout.volumes),
        read=PixelReader(
            [series.images[index] for index in used],
            [placements[index] for index in used],
            (slices, rows, columns, len(layout.volumes)),
        ),
        findings=tuple(findings),
    )


def malformed(series: StoredSeries, error: ValueError) -> Refusal:
    """The refusal of a series of which an attribute cannot be read."""
    return Refusal(
        "malformed-header",
        f"an attribute cannot be used: {error}",
        "Send the series as the scanner wrote it.",
        series_instance_uid=series.series_instance_uid,
        series_number=series.series_number,
    )


def _layout(frames: Sequence[Frame], recognition: Recognition, settings: IngestSettings) -> _Layout:
    kept, findings = originals(frames)
    if recognition.kind in (SeriesKind.DIFFUSION, SeriesKind.SATURATION):
        kept, dropped = magnitudes(kept)
        findings += dropped
        check_one_scale(kept)
    if kept[0].header.text("PhotometricInterpretation") not in ("MONOCHROME1", "MONOCHROME2"):
        raise Refusal("colour-images", "the images are in colour", "Send the grey-scale series.")
    weightings = weightings_of(kept) if recognition.kind is SeriesKind.DIFFUSION else None
    grid = grid_of(kept)
    slices = grid.geometry.spatial_shape[0]
    check_complete(kept[0].header, slices, settings)
    dimensions = (
        [weighted_dimensions(frame) for frame in kept]
        if weightings is None
        else [diffusion_dimensions(*pair) for pair in zip(kept, weightings, strict=True)]
    )
    order = [acquisition_order(frame) for frame in kept]
    table = arrange(grid.slice_of, slices, dimensions, order)
    volumes = [[kept[index] for index in row] for row in table]
    protocol: Protocol
    if weightings is not None:
        protocol, chosen, noticed = gradient_table([weightings[row[0]] for row in table])
        volumes = [volumes[index] for index in chosen]
        findings += noticed
    elif recognition.protocol is not None:
        protocol = schedule_of(recognition.protocol, volumes)
    elif recognition.quantity is not None and recognition.unit_factor is not None:
        if len(volumes) > 1:
            raise Refusal(
                "several-volumes-of-a-map",
                f"a map of {recognition.quantity.label} has {len(volumes)} volumes",
                "Send each map as its own series.",
            )
        protocol = MapProtocol(recognition.quantity, recognition.unit_factor)
    else:
        protocol = weighted_image(volumes)
        findings += _components(volumes)
    return _Layout(grid.geometry, volumes, protocol, findings)


def check_complete(header: Header, slices: int, settings: IngestSettings) -> None:
    """Refuse a three-dimensional acquisition of which only a few slices are there."""
    if header.text("MRAcquisitionType") == "3D" and slices < settings.fewest_3d_slices:
        raise Refusal(
            "missing-slices",
            f"a three-dimensional acquisition has only {slices} slices",
            "Send the complete series; if it was acquired so, lower fewest_3d_slices.",
        )


def _components(volumes: Sequence[Sequence[Frame]]) -> list[Finding]:
    """Says which volumes are no magnitude images, for whoever takes all volumes as such."""
    components = [component_of(volume[0].header) for volume in volumes]
    others = [
        f"{index} {component.lower()}"
        for index, component in enumerate(components, start=1)
        if component not in ("MAGNITUDE", "")
    ]
    if not others:
        return []
    return [
        Finding(
            "volumes-without-magnitude",
            f"of {len(volumes)} volumes these are no magnitude images: {', '.join(others)}",
            Severity.INFORMATION,
        )
    ]


def _placements(
    volumes: Sequence[Sequence[Frame]], recognition: Recognition
) -> dict[int, list[Placement]]:
    """For each image that is used, where its frames go."""
    factor = 1.0 if recognition.unit_factor is None else recognition.unit_factor
    placements: dict[int, list[Placement]] = defaultdict(list)
    for volume, frames in enumerate(volumes):
        for index, frame in enumerate(frames):
            slope, intercept = _values_of(frame, recognition)
            placements[frame.image].append(
                Placement(
                    frame.index, frame.corner, index, volume, slope * factor, intercept * factor
                )
            )
    return placements


def _values_of(frame: Frame, recognition: Recognition) -> tuple[float, float]:
    """Slope and intercept from stored values to those that the series stands for."""
    if not recognition.real_world_values:
        return rescale_of(frame.header)
    for mapping in frame.header.items("RealWorldValueMappingSequence"):
        slope = mapping.number("RealWorldValueSlope")
        if quantity_of(mapping) == recognition.quantity and slope:
            return slope, mapping.number("RealWorldValueIntercept") or 0.0
    raise HeaderValueError("a frame has no slope in its Real World Value Mapping")
