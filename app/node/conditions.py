"""Whether a rule holds for what was received, and why: one line a condition, for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset

from app.node.settings import When
from operators.ingest.conditions import holds, values_of
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


class Answer(Enum):
    """What becomes of a condition; the value is its mark in explanations.

    A condition that asks for a malformed element has no answer, and neither has its negation:
    what cannot be read must not route a study. Together they follow Kleene's logic of three values
    (S. C. Kleene, Introduction to Metamathematics, 1952, section 64).
    """

    YES = "yes"
    NO = "no "
    UNKNOWN = "?  "

    @classmethod
    def of(cls, truth: bool) -> Answer:
        """The answer to a question that could be asked."""
        return cls.YES if truth else cls.NO


def _all(answers: Sequence[Answer]) -> Answer:
    if Answer.NO in answers:
        return Answer.NO
    return Answer.UNKNOWN if Answer.UNKNOWN in answers else Answer.YES


def _any(answers: Sequence[Answer]) -> Answer:
    return _not(_all([_not(answer) for answer in answers]))


def _not(answer: Answer) -> Answer:
    return {Answer.YES: Answer.NO, Answer.NO: Answer.YES}.get(answer, answer)


@dataclass(frozen=True)
class Verdict:
    """Whether something holds, and how that came about.

    Attributes:
        answer: whether it does.
        because: one line; verdicts that it rests on stand below it.
    """

    answer: Answer
    because: str
    below: tuple[Verdict, ...] = field(default=())

    @property
    def holds(self) -> bool:
        """Whether it certainly holds."""
        return self.answer is Answer.YES

    def lines(self, depth: int = 0) -> list[str]:
        """The verdict as indented lines of text."""
        own = f"{'  ' * depth}{self.answer.value} {self.because}"
        return [own, *(line for verdict in self.below for line in verdict.lines(depth + 1))]


def judge(when: When | None, facts: Facts) -> Verdict:
    """Whether ``when`` holds; nothing that was given is left out of the explanation."""
    if when is None:
        return Verdict(Answer.YES, "it has no condition")
    parts = [_judge_group("all of", when.all, _all, facts)] if when.all else []
    if when.any:
        parts.append(_judge_group("one of", when.any, _any, facts))
    if when.none is not None:
        denied = judge(when.none, facts)
        parts.append(Verdict(_not(denied.answer), "not", (denied,)))
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
                Answer.of(when.recognised in kinds),
                f"a series recognised as {when.recognised.value}; there are: {seen}",
            )
        )
    if len(parts) == 1:
        return parts[0]
    return Verdict(_all([part.answer for part in parts]), "all of", tuple(parts))


def _judge_group(
    title: str, members: Sequence[When], combine: Callable[[list[Answer]], Answer], facts: Facts
) -> Verdict:
    below = tuple(judge(member, facts) for member in members)
    return Verdict(combine([verdict.answer for verdict in below]), title, below)


def _judge_series(conditions: dict[str, Condition], facts: Facts) -> Verdict:
    wanted = ", ".join(f"{keyword} {_said(condition)}" for keyword, condition in conditions.items())
    answers = {name: answer_for(conditions, head) for name, head in facts.heads.items()}
    fitting = [name for name, answer in answers.items() if answer is Answer.YES]
    unclear = [name for name, answer in answers.items() if answer is Answer.UNKNOWN]
    found = f"series {', '.join(fitting)}" if fitting else f"none of {len(facts.heads)} series"
    if unclear:
        found += f"; malformed, so that nobody can say, in series {', '.join(unclear)}"
    return Verdict(_any(list(answers.values())), f"{wanted}: {found}")


def answer_for(conditions: dict[str, Condition], head: Dataset) -> Answer:
    """Whether every condition holds for one series; unknown where a malformed element decides."""
    return _all([_answer(keyword, condition, head) for keyword, condition in conditions.items()])


def _answer(keyword: str, condition: Condition, head: Dataset) -> Answer:
    try:
        if _is_text_for_a_number(keyword, head):
            return Answer.UNKNOWN
        return Answer.of(holds({keyword: condition}, head))
    # pydicom decodes elements when they are asked for, and raises errors of many kinds.
    except Exception:  # noqa: BLE001
        return Answer.UNKNOWN


def _is_text_for_a_number(keyword: str, head: Dataset) -> bool:
    """Whether an element of a numeric string VR holds what is no number: pydicom leaves it text."""
    return dictionary_VR(keyword) in ("DS", "IS") and any(
        isinstance(value, str) and value.strip() for value in values_of(head, keyword)
    )


def _judge_titles(title: str, wanted: Sequence[str], found: frozenset[str]) -> Verdict:
    there = ", ".join(sorted(found)) or "none"
    return Verdict(
        Answer.of(bool(found & set(wanted))), f"{title} {' or '.join(wanted)}; there is: {there}"
    )


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
