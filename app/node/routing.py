"""Which routing rule a study meets, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.node.conditions import Facts, Verdict, judge
from app.node.settings import OffPeak, RouteRule


@dataclass(frozen=True)
class Route:
    """What is to be done with a study.

    Attributes:
        rule: the first that matched, or None where none did.
        tried: each rule that was asked, in order, and what came of it.
    """

    rule: RouteRule | None
    tried: tuple[tuple[RouteRule, Verdict], ...]

    @property
    def explanation(self) -> str:
        """Why that rule, as lines of text."""
        if not self.tried:
            return "there are no routing rules (node.routes in app.yaml)"
        lines = []
        for rule, verdict in self.tried:
            lines.append(f"rule {rule.name}: {'matches' if verdict.holds else 'does not match'}")
            lines += verdict.lines(1)
        return "\n".join(lines)


def route(rules: Sequence[RouteRule], facts: Facts) -> Route:
    """Ask the rules in order, up to the first that matches."""
    tried: list[tuple[RouteRule, Verdict]] = []
    for rule in rules:
        verdict = judge(rule.when, facts)
        tried.append((rule, verdict))
        if verdict.holds:
            return Route(rule, tuple(tried))
    return Route(None, tuple(tried))


def off_peak_start(hours: OffPeak, now: datetime) -> datetime:
    """The earliest moment, ``now`` or later, at which an off-peak job may start (local time)."""
    clock = now.time()
    inside = (
        hours.begin <= clock < hours.end
        if hours.begin < hours.end
        else clock >= hours.begin or clock < hours.end
    )
    if inside:
        return now
    start = datetime.combine(now.date(), hours.begin, now.tzinfo)
    return start if start > now else start + timedelta(days=1)
