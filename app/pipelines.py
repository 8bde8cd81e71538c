"""The pipelines that exist, and the kinds of series that each needs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from operators.vocabulary.acquisition import SeriesKind


@dataclass(frozen=True)
class Pipeline:
    """What a pipeline takes.

    Attributes:
        name: name in ``app.yaml``, on the command line and in results.
        title: what it makes, for people.
        takes: kind of series that it analyses, each series for itself.
        helped_by: kinds that it uses beside, where the study holds them.
    """

    name: str
    title: str
    takes: SeriesKind
    helped_by: tuple[SeriesKind, ...] = ()

    def needs(self, kind: SeriesKind, present: Collection[SeriesKind]) -> bool:
        """Whether a series of ``kind`` matters in a study that holds kinds ``present``."""
        return kind is self.takes or (kind in self.helped_by and self.takes in present)


PIPELINES: dict[str, Pipeline] = {
    pipeline.name: pipeline
    for pipeline in (
        Pipeline("diffusion", "diffusion tensor, kurtosis and NODDI maps", SeriesKind.DIFFUSION),
        Pipeline(
            "cest_mt",
            "CEST and semisolid MT fingerprinting maps",
            SeriesKind.SATURATION,
            (SeriesKind.QUANTITY_MAP,),
        ),
    )
}
