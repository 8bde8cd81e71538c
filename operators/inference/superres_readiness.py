"""Whether a study holds what super-resolution takes; answers without loading any physics."""

from __future__ import annotations

from operators.inference.guide_choice import guide_candidates
from operators.inference.map_set import lacking_maps
from operators.vocabulary.run import AcquiredStudy


def idle_because(study: AcquiredStudy) -> str:
    """What a study lacks, or "" where it holds maps of PD, T1 and T2 and an image to guide them."""
    lacking = lacking_maps(study.acquisitions)
    if lacking:
        return f"the study holds no {' and no '.join(lacking)} map that can be used"
    if not guide_candidates(study.acquisitions):
        return "the study holds PD, T1 and T2 maps, but no T1w or T2w image to guide them"
    return ""
