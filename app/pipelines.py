"""The pipelines that exist, and the kinds of series that each needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from operators.inference.map_set import holds_proton_density
from operators.inference.superres_readiness import idle_because
from operators.vocabulary.acquisition import SeriesKind
from operators.vocabulary.run import AcquiredStudy


@dataclass(frozen=True)
class Pipeline:
    """What a pipeline takes.

    Attributes:
        name: name in ``app.yaml``, on the command line and in results.
        title: what it makes, for people.
        takes: kind of series that it analyses: each for itself, or several together where
            ``idle_because`` says which.
        helped_by: kinds that it uses beside, where the study holds them.
        idle_because: what a study lacks that it takes together, or "" where it holds all of it;
            None for a pipeline that analyses each series for itself.
        concerned: whether a study that lacks some of it was meant for the pipeline all the same,
            so that a refused series matters; None where one series of ``takes`` says so.
    """

    name: str
    title: str
    takes: SeriesKind
    helped_by: tuple[SeriesKind, ...] = ()
    idle_because: Callable[[AcquiredStudy], str] | None = None
    concerned: Callable[[AcquiredStudy], bool] | None = None

    def needs(self, kind: SeriesKind, study: AcquiredStudy) -> bool:
        """Whether a series of ``kind`` matters in a study."""
        if kind is not self.takes and kind not in self.helped_by:
            return False
        if self.concerned is not None:
            return self.concerned(study)
        return kind is self.takes or any(one.kind is self.takes for one in study.series)


PIPELINES: dict[str, Pipeline] = {
    pipeline.name: pipeline
    for pipeline in (
        Pipeline(
            "diffusion",
            "diffusion tensor, kurtosis and NODDI maps",
            SeriesKind.DIFFUSION,
            (SeriesKind.SEGMENTATION,),
        ),
        Pipeline(
            "cest_mt",
            "CEST and semisolid MT fingerprinting maps",
            SeriesKind.SATURATION,
            (SeriesKind.QUANTITY_MAP, SeriesKind.SEGMENTATION),
        ),
        Pipeline(
            "superres",
            "super-resolved PD, T1 and T2 maps",
            SeriesKind.QUANTITY_MAP,
            (SeriesKind.WEIGHTED_IMAGE,),
            idle_because,
            holds_proton_density,
        ),
    )
}
