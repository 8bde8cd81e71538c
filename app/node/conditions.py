"""Whether a rule holds for what was received, and why: one line a condition, for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pydicom.dataset import Dataset

from app.node.settings import When
from operators.ingest.conditions import holds
from operators.ingest.settings import Condition
from operators.vocabulary.acquisition import SeriesKind


@dataclass(frozen=True)
class Facts:
    """What rules may ask about a study, or about one series of it.

    Attributes:
        heads: data set without pixels of the first object of each series, by how the series
            is called in explanations.
        calling_aes: AE titles that sent objects of it.
        called_aes: AE titles that were called.
        kinds: gives what its series are recognised as; asked only where a rule does.
    """

    heads: dict[str, Dataset]
    calling_aes: frozenset[str]
    called_aes: frozenset[str]
    kinds: Callable[[], frozenset[SeriesKind]]


@dataclass(frozen=True)
class Verdict:
    """Whether something holds, and how that came about.

    Attributes:
        holds: the answer.
        because: one line; verdicts that it rests on stand below it.
    """

    holds: bool
    because: str
    below: tuple[Verdict, ...] = field(default=())

    def lines(self, depth: int = 0) -> list[str]:
        """The verdict as indented lines of text."""
        mark = "yes" if self.holds else "no "
        own = f"{'  ' * depth}{mark} {self.because}"
        return [own, *(line for verdict in self.below for line in verdict.lines(depth + 1))]


def judge(when: When | None, facts: Facts) -> Verdict:
    """Whether ``when`` holds; nothing that was given is left out of the explanation."""
    if when is None:
        return Verdict(True, "it has no condition")
    parts = [_judge_group("all of", when.all, all, facts)] if when.all else []
    if when.any:
        parts.append(_judge_group("one of", when.any, any, facts))
    if when.none is not None:
        denied = judge(when.none, facts)
        parts.append(Verdict(not denied.holds, "not", (denied,)))
    if when.series is not None:
        parts.append(_judge_series(when.series, facts))
    for title, wanted, found in (
        ("calling AE", when.calling_ae, facts.calling_aes),
        ("called AE", when.called_ae, facts.called_aes),
    ):
        if wanted:
            parts.append(_judge_titles(title, wanted, found))
    if when.recognised is not None:
        kinds = facts.kinds()
        seen = ", ".join(sorted(kind.value for kind in kinds)) or "nothing"
        parts.append(
            Verdict(
                when.recognised in kinds,
                f"a series recognised as {when.recognised.value}; there are: {seen}",
            )
        )
    if len(parts) == 1:
        return parts[0]
    return Verdict(all(part.holds for part in parts), "all of", tuple(parts))


def _judge_group(
    title: str, members: Sequence[When], combine: Callable[[list[bool]], bool], facts: Facts
) -> Verdict:
    below = tuple(judge(member, facts) for member in members)
    return Verdict(combine([verdict.holds for verdict in below]), title, below)


def _judge_series(conditions: dict[str, Condition], facts: Facts) -> Verdict:
    wanted = ", ".join(f"{keyword} {_said(condition)}" for keyword, condition in conditions.items())
    fitting = [name for name, head in facts.heads.items() if holds_for(conditions, head)]
    found = f"series {', '.join(fitting)}" if fitting else f"none of {len(facts.heads)} series"
    return Verdict(bool(fitting), f"{wanted}: {found}")


def holds_for(conditions: dict[str, Condition], head: Dataset) -> bool:
    """Whether every condition holds; one that asks for a malformed element does not."""
    try:
        return holds(conditions, head)
    # pydicom decodes elements when they are asked for, and raises errors of many kinds.
    except Exception:  # noqa: BLE001
        return False


def _judge_titles(title: str, wanted: Sequence[str], found: frozenset[str]) -> Verdict:
    there = ", ".join(sorted(found)) or "none"
    return Verdict(bool(found & set(wanted)), f"{title} {' or '.join(wanted)}; there is: {there}")


def _said(condition: Condition) -> str:
    parts = []
    if condition.equals is not None:
        parts.append(f"= {condition.equals}")
    if condition.matches is not None:
        parts.append(f"~ {condition.matches}")
    if condition.minimum is not None:
        parts.append(f">= {condition.minimum:g}")
    if condition.maximum is not None:
        parts.append(f"<= {condition.maximum:g}")
    return " ".join(parts)
