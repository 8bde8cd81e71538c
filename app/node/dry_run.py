"""``python -m app.node route STUDY``: what would be done with a study, and why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydicom.dataset import Dataset

from app.config import Settings
from app.node.completeness import rule_for
from app.node.conditions import Facts
from app.node.heads import read_head
from app.node.routing import route
from operators.ingest.acquire import acquire
from operators.vocabulary.acquisition import SeriesKind
from operators.vocabulary.refusal import hashed_uid


def explain(settings: Settings, study: Path, calling_ae: str, called_ae: str) -> Iterator[str]:
    """Lines of text: how completeness would be judged, and each rule that would be asked.

    Args:
        settings: the whole of ``app.yaml``.
        study: folder of DICOM files, taken as one study.
        calling_ae: AE title that would send it; "" for none.
        called_ae: AE title that would be called; "" for none.
    """

    def kinds() -> frozenset[SeriesKind]:
        return frozenset(series.kind for series in acquire(study, settings.ingest).series)

    facts = Facts(
        heads=_first_of_each_series(study),
        calling_aes=frozenset([calling_ae]) - {""},
        called_aes=frozenset([called_ae]) - {""},
        kinds=kinds,
    )
    yield f"{len(facts.heads)} series"
    complete = rule_for(settings.node.completeness, facts)
    yield (
        f"complete: by {complete.of}, after {complete.quiet_seconds:g} s without a new object"
        + (f", or {len(complete.after_series)} named series" if complete.after_series else "")
        + (f", or {complete.objects} objects" if complete.objects is not None else "")
    )
    decided = route(settings.node.routes, facts)
    yield from decided.explanation.splitlines()
    rule = decided.rule
    if rule is None:
        yield "nothing would be done: no rule matches"
        return
    yield (
        f"pipelines {', '.join(rule.pipelines) or 'all'}; priority {rule.priority}; "
        f"targets {', '.join(rule.targets) or 'none'}"
    )


def _first_of_each_series(study: Path) -> dict[str, Dataset]:
    """Data set of the first file of each series, by Series Number and hashed UID."""
    heads: dict[str, Dataset] = {}
    seen: set[str] = set()
    for path in sorted(path for path in study.rglob("*") if path.is_file()):
        head = read_head(path)
        uid = str(head.get("SeriesInstanceUID", ""))
        if uid and uid not in seen:
            seen.add(uid)
            heads[f"{head.get('SeriesNumber', '?')} ({hashed_uid(uid)})"] = head
    return heads
