"""The sentences of the report: quality findings, what ratios refer to, what tracts connect.

They are items of the container Qualitative Evaluations (PS3.16 TID 1500): the measurement group
of two regions without a segment of its own (TID 1501) is not told from that of one segment
(TID 1411) by validators, and so by readers too.
"""

from __future__ import annotations

from highdicom.sr.value_types import RelationshipTypeValues, TextContentItem
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from operators.results.series_plan import ResultPlan
from operators.vocabulary.quantity import PRIVATE_SCHEME
from operators.vocabulary.tracts import Connectivity

#: Pairs of segments in the report, those with most tracks; the table has all.
MOST_PAIRS = 300
_REFERENCE = Code("REFREGION", PRIVATE_SCHEME, "Reference region of ratios")
_CONNECTION = Code("CONNECTION", PRIVATE_SCHEME, "Tracks between two regions")


def qualitative_texts(plan: ResultPlan) -> list[TextContentItem]:
    """All sentences, in the order of the findings, the pairs and the connections."""
    result = plan.result
    said = [
        *(
            (codes.DCM.QualityFinding, f"{one.severity.capitalize()}: {one.message}")
            for one in result.findings
        ),
        *(
            (_REFERENCE, f"The ratios of {pair.segment} are to {pair.reference}")
            for pair in result.pairs
        ),
    ]
    for connectivity in result.connectivity:
        pairs = connectivity.pairs()
        said += [(_CONNECTION, _sentence(connectivity, *pair)) for pair in pairs[:MOST_PAIRS]]
        if len(pairs) > MOST_PAIRS:
            left_out = (
                f"These are the {MOST_PAIRS} strongest of {len(pairs)} connections; the "
                "connectivity table has all of them"
            )
            said.append((_CONNECTION, left_out))
    return [
        TextContentItem(name=name, value=text, relationship_type=RelationshipTypeValues.CONTAINS)
        for name, text in said
    ]


def _sentence(connectivity: Connectivity, first: int, second: int) -> str:
    place = first, second
    return (
        f"{connectivity.segments[first]} - {connectivity.segments[second]}: "
        f"{connectivity.tracks[place]} tracks, mean length {connectivity.length[place]:.1f} mm, "
        f"mean FA {connectivity.anisotropy[place]:.3f}"
    )
