"""Deliveries of a job, counted by target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from app.node.records import Delivery, DeliveryState


@dataclass(frozen=True)
class TargetDeliveries:
    """What one target got of one job.

    Attributes:
        target: its name.
        counts: objects in each state; states without any are left out.
        attempts: most attempts that one object took.
        next_try: earliest time at which a waiting one is tried again; 0 where none waits.
        reasons: of failed tries, each once.
    """

    target: str
    counts: dict[DeliveryState, int]
    attempts: int
    next_try: float
    reasons: tuple[str, ...]


def by_target(deliveries: Sequence[Delivery]) -> list[TargetDeliveries]:
    """Count deliveries, which are in order of their target."""
    summaries = []
    for target, group in groupby(deliveries, key=lambda one: one.target):
        ones = list(group)
        counts = {state: sum(one.state is state for one in ones) for state in DeliveryState}
        waiting = [one.next_try for one in ones if one.state is DeliveryState.WAITING]
        summaries.append(
            TargetDeliveries(
                target,
                {state: count for state, count in counts.items() if count},
                max(one.attempts for one in ones),
                min(waiting, default=0.0),
                tuple(dict.fromkeys(one.reason for one in ones if one.reason)),
            )
        )
    return summaries
