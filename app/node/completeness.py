"""When what has arrived is taken as complete."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from app.node.conditions import Answer, Facts, answer_for, judge
from app.node.records import Collection
from app.node.settings import CompletenessRule
from operators.ingest.conditions import values_of

DEFAULT_RULE = CompletenessRule()
"""Where no rule fits: a study without a new object for a minute."""


@dataclass(frozen=True)
class Completeness:
    """Whether more is awaited.

    Attributes:
        complete: whether it is complete now.
        because: what made it complete.
        due: when to ask again if nothing arrives (seconds since 1970, UTC).
    """

    complete: bool
    because: str = ""
    due: float = 0.0


def rule_for(rules: Sequence[CompletenessRule], facts: Facts) -> CompletenessRule:
    """The first rule that fits, or the default."""
    return next((rule for rule in rules if judge(rule.when, facts).holds), DEFAULT_RULE)


def completeness(
    rule: CompletenessRule, collection: Collection, heads: Sequence[Dataset], now: float
) -> Completeness:
    """Whether ``collection`` is complete at the time ``now`` by ``rule``.

    Args:
        rule: that fits it.
        collection: what has arrived.
        heads: data set without pixels of the first object of each series of it.
        now: seconds since 1970 (UTC).
    """
    if collection.forced:
        return Completeness(True, "somebody said that it is complete")
    expected = _expected(rule, heads)
    if expected is not None and collection.objects >= expected:
        return Completeness(True, f"{collection.objects} of {expected} expected objects arrived")
    quiet_due = collection.last_received + rule.quiet_seconds
    if now >= quiet_due:
        return Completeness(True, f"nothing arrived for {rule.quiet_seconds:g} s")
    if rule.after_series and all(
        any(answer_for(conditions, head) is Answer.YES for head in heads)
        for conditions in rule.after_series
    ):
        settled_due = collection.last_received + rule.settle_seconds
        if now >= settled_due:
            return Completeness(
                True, f"every awaited series arrived, and nothing for {rule.settle_seconds:g} s"
            )
        return Completeness(False, due=min(settled_due, quiet_due))
    return Completeness(False, due=quiet_due)


def _expected(rule: CompletenessRule, heads: Sequence[Dataset]) -> int | None:
    """Number of objects that are expected, where the rule or an object states one."""
    if rule.objects is None or isinstance(rule.objects, int):
        return rule.objects
    stated = []
    for head in heads:
        try:
            stated += [int(value) for value in values_of(head, rule.objects)]
        # A malformed element states nothing; pydicom raises errors of many kinds.
        except Exception:  # noqa: BLE001
            continue
    return max((number for number in stated if number > 0), default=None)
