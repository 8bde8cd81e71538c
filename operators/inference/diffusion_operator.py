"""The operator of the ``diffusion`` pipeline: acquisitions in, maps of diffusion out."""

from __future__ import annotations

from operators.inference.diffusion import PIPELINE, diffusion_outcome
from operators.inference.pipeline_operator import PipelineOperator
from operators.inference.settings import DiffusionSettings


class DiffusionOperator(PipelineOperator):
    """Analyses every diffusion series of a study, one at a time."""

    pipeline = PIPELINE
    default_settings = DiffusionSettings()
    analyse = staticmethod(diffusion_outcome)
