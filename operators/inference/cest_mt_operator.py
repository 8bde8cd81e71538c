"""The operator of the ``cest_mt`` pipeline: acquisitions in, exchange parameter maps out."""

from __future__ import annotations

from operators.inference.cest_mt import PIPELINE, cest_mt_outcome
from operators.inference.pipeline_operator import PipelineOperator
from operators.inference.settings import CestMtSettings


class CestMtOperator(PipelineOperator):
    """Analyses every saturation series of a study, one at a time."""

    pipeline = PIPELINE
    default_settings = CestMtSettings()
    analyse = staticmethod(cest_mt_outcome)
