"""What a pipeline hands to the results wing: maps, segments, findings and their maker."""

from __future__ import annotations

from dataclasses import dataclass, field

import highdicom as hd
import numpy as np
from pydicom.sr.coding import Code

from operators.vocabulary.acquisition import Protocol, SourceSeries
from operators.vocabulary.finding import Finding
from operators.vocabulary.quantity import QUANTITIES, QuantityMap
from operators.vocabulary.study_segmentation import SegmentMaker
from operators.vocabulary.synthetic_image import SyntheticImage
from operators.vocabulary.tissue import RegionValue, TissueFraction, TissueValue
from operators.vocabulary.tracts import Connectivity, TrackSet


@dataclass(frozen=True)
class Algorithm:
    """Who made a result.

    Attributes:
        name: name shown in every object (``"QuantMAP diffusion"``).
        version: version of the software.
        model_sha256: digest of each network used, by file name; empty without a network.
        execution_provider: ONNX Runtime provider that ran ("CPUExecutionProvider", …), or
            "torch cpu" where no network is used.
        configuration: every setting that changes values, as text: enters the derived UIDs.
        source: publication (DOI or arXiv number) of the method.
    """

    name: str
    version: str
    model_sha256: dict[str, str]
    execution_provider: str
    configuration: dict[str, str]
    source: str


@dataclass(frozen=True)
class Segment:
    """A named region on the grid of the maps.

    Attributes:
        name: Segment Label.
        category: segmented property category (SCT).
        type: segmented property type (SCT or 99QUANTMAP).
        volume: uint8 0/1, (slices, rows, columns), LPS affine in mm.
        maker: who drew it, where it came with the study; None where the pipeline made it.
    """

    name: str
    category: Code
    type: Code
    volume: hd.Volume
    maker: SegmentMaker | None = None


@dataclass(frozen=True)
class SegmentPair:
    """Two segments to compare, such as a lesion and the tissue across the midline.

    Attributes:
        segment: name of the segment of interest.
        reference: name of the segment that it is compared with.
    """

    segment: str
    reference: str


@dataclass(frozen=True)
class Measurement:
    """Statistics of one map over one segment, in the unit of the map's quantity."""

    segment: str
    quantity: str
    voxels: int
    mean: float
    standard_deviation: float
    median: float
    percentile_5: float
    percentile_95: float


@dataclass(frozen=True)
class Ratio:
    """Mean of a map over one segment, divided by its mean over another."""

    segment: str
    reference: str
    quantity: str
    value: float


@dataclass(frozen=True)
class ColourMap:
    """An RGB picture on the grid of the maps (direction-encoded colour FA).

    Attributes:
        name: short name ("colour_fa").
        label: short label for pictures.
        volume: uint8 (slices, rows, columns, 3), LPS affine in mm.
    """

    name: str
    label: str
    volume: hd.Volume


@dataclass(frozen=True)
class PipelineResult:
    """Everything that one pipeline made of one acquisition.

    Attributes:
        pipeline: name of the pipeline ("diffusion", "cest_mt", "superres").
        maps: quantity maps, all on one grid.
        colour_maps: RGB maps on the same grid.
        segments: regions on the same grid.
        findings: quality findings, of the input and of the fit.
        algorithm: who made it.
        source: the series that was analysed.
        further_sources: other series used (T1, T2, B0, B1 maps).
        timings: seconds per step, by name.
        protocol: how the source was acquired, where results should state it (b-values).
        pairs: segments whose means are set in relation.
        tracks: what was tracked through the fitted field, where asked for.
        connectivity: which segments the tracks connect, for each parcellation of the study.
        region_sources: Segmentations of the study that segments were taken from.
        synthetic_images: weighted images computed from the maps, on the same grid.
        fractions: partial volumes of tissues, on the same grid.
        region_values: numbers of whole regions, beside the statistics of maps.
        tissue_values: medians of tissues beside the values that are usual.
        measured_maps: what was measured, on its own grid, where the maps are a finer version.
    """

    pipeline: str
    maps: tuple[QuantityMap, ...]
    segments: tuple[Segment, ...]
    findings: tuple[Finding, ...]
    algorithm: Algorithm
    source: SourceSeries
    colour_maps: tuple[ColourMap, ...] = ()
    further_sources: tuple[SourceSeries, ...] = ()
    timings: dict[str, float] = field(default_factory=dict)
    protocol: Protocol | None = None
    pairs: tuple[SegmentPair, ...] = ()
    tracks: TrackSet | None = None
    connectivity: tuple[Connectivity, ...] = ()
    region_sources: tuple[SourceSeries, ...] = ()
    synthetic_images: tuple[SyntheticImage, ...] = ()
    fractions: tuple[TissueFraction, ...] = ()
    region_values: tuple[RegionValue, ...] = ()
    tissue_values: tuple[TissueValue, ...] = ()
    measured_maps: tuple[QuantityMap, ...] = ()

    def measurements(self) -> tuple[Measurement, ...]:
        """Statistics of every map over every segment that holds a voxel."""
        return tuple(
            measure(quantity_map, segment)
            for segment in self.segments
            if segment.volume.array.any()
            for quantity_map in self.maps
        )

    def ratios(self) -> tuple[Ratio, ...]:
        """Ratio of the means of each pair of segments, for each map to which a ratio applies.

        It does not apply to quantities that can be negative (a shift, an asymmetry), whose zero
        is no absence, nor where the reference has a mean of zero.
        """
        return ratios_of(self.measurements(), self.pairs)


def ratios_of(
    measurements: tuple[Measurement, ...], pairs: tuple[SegmentPair, ...]
) -> tuple[Ratio, ...]:
    """The ratios of `PipelineResult.ratios` from its measurements."""
    means = {(one.segment, one.quantity): one.mean for one in measurements}
    return tuple(
        Ratio(pair.segment, pair.reference, quantity, mean / means[pair.reference, quantity])
        for pair in pairs
        for (segment, quantity), mean in means.items()
        if segment == pair.segment
        and QUANTITIES[quantity].valid_range[0] >= 0
        and means.get((pair.reference, quantity), 0.0) > 0
    )


def measure(quantity_map: QuantityMap, segment: Segment) -> Measurement:
    """Mean, SD (n - 1), median, 5th and 95th percentile of a map over a segment.

    Percentiles interpolate linearly between order statistics (numpy's default).

    Raises:
        ValueError: the segment holds no voxel or lies on another grid.
    """
    if not segment.volume.geometry_equal(quantity_map.volume):
        raise ValueError(
            f"segment {segment.name} and map {quantity_map.quantity.name} differ in grid"
        )
    values = quantity_map.volume.array[segment.volume.array > 0].astype(np.float64)
    if values.size == 0:
        raise ValueError(f"segment {segment.name} holds no voxel")
    low, median, high = np.percentile(values, [5, 50, 95])
    return Measurement(
        segment=segment.name,
        quantity=quantity_map.quantity.name,
        voxels=int(values.size),
        mean=float(values.mean()),
        standard_deviation=float(values.std(ddof=1)) if values.size > 1 else 0.0,
        median=float(median),
        percentile_5=float(low),
        percentile_95=float(high),
    )
