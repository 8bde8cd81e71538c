"""The operator of the ``superres`` pipeline: acquisitions in, sharp PD, T1 and T2 maps out."""

from __future__ import annotations

from operators.inference.pipeline_operator import PipelineOperator
from operators.inference.settings import SuperresSettings
from operators.inference.superres import PIPELINE, superres_outcome


class SuperresOperator(PipelineOperator):
    """Sharpens the PD, T1 and T2 maps of a study with its weighted images."""

    pipeline = PIPELINE
    default_settings = SuperresSettings()
    analyse = staticmethod(superres_outcome)
