"""Whether a study holds what super-resolution takes; answers without loading any physics."""

from __future__ import annotations

from operators.inference.guide_choice import guide_candidates, unclear_images
from operators.inference.map_set import lacking_maps
from operators.inference.settings import SuperresSettings
from operators.vocabulary.run import AcquiredStudy


def idle_because(study: AcquiredStudy, settings: SuperresSettings | None = None) -> str:
    """What a study lacks, or "" where it holds maps of PD, T1 and T2 and an image to guide them.

    Args:
        study: everything that was acquired.
        settings: may name a guide that its headers do not show to be one.
    """
    lacking = lacking_maps(study.acquisitions)
    if lacking:
        return f"the study holds no {' and no '.join(lacking)} map that can be used"
    named = settings is not None and {settings.t1w.series_number, settings.t2w.series_number}
    if (named and named != {None}) or guide_candidates(study.acquisitions):
        return ""
    unclear = ", ".join(map(str, unclear_images(study.acquisitions)))
    remark = f" (series {unclear} state no TR or no TE)" if unclear else ""
    return f"the study holds PD, T1 and T2 maps, but no T1w or T2w image to guide them{remark}"
