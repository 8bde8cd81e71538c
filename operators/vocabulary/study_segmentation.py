"""A Segmentation that came with the study: what others drew, read when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import highdicom as hd
import numpy as np
from pydicom.sr.coding import Code

from operators.vocabulary.acquisition import SourceSeries
from operators.vocabulary.finding import Finding


@dataclass(frozen=True)
class SegmentMaker:
    """Who drew a segment (PS3.3 C.8.20.4), as the Segmentation says.

    Attributes:
        kind: Segment Algorithm Type (0062,0008): MANUAL, SEMIAUTOMATIC or AUTOMATIC.
        name: Segment Algorithm Name (0062,0009); "" where MANUAL or not said.
        version: its version; "" where not said.
        family: its family (CID 7162 of PS3.16), or None where not said.
    """

    kind: str
    name: str = ""
    version: str = ""
    family: Code | None = None


@dataclass(frozen=True)
class DescribedSegment:
    """One item of a Segment Sequence (0062,0002).

    Attributes:
        number: Segment Number (0062,0004).
        label: Segment Label (0062,0005).
        category: segmented property category.
        type: segmented property type.
        maker: who drew it.
    """

    number: int
    label: str
    category: Code
    type: Code
    maker: SegmentMaker


@dataclass(frozen=True)
class StudySegmentation:
    """A checked Segmentation: grid and segments are known, pixels are read when asked for.

    Attributes:
        segments: in the order of the object; without the background of a label map.
        geometry: grid of all segments (slices, rows, columns), LPS affine in mm.
        source: the object.
        read: reads the segments one after the other, in the order of ``segments``: boolean
            (slices, rows, columns) each.
        findings: what was noticed while it was checked.
    """

    segments: tuple[DescribedSegment, ...]
    geometry: hd.VolumeGeometry
    source: SourceSeries
    read: Callable[[], Iterator[np.ndarray]] = field(repr=False)
    findings: tuple[Finding, ...] = ()
