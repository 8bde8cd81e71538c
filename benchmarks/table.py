"""The row of a benchmark and the table that shows many."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Row(NamedTuple):
    """One comparison on the same data in the same run.

    Attributes:
        name: what was done, with its size.
        ours: seconds that QuantMAP took.
        peer: name and version of what it is compared with.
        theirs: seconds that the peer took, or the bound in seconds where ``peer`` is a bound.
    """

    name: str
    ours: float
    peer: str
    theirs: float

    @property
    def ratio(self) -> float:
        """Our time over the peer's: below 1 is faster."""
        return self.ours / self.theirs


def print_table(rows: Iterable[Row]) -> None:
    """Print rows as a Markdown table."""
    print("| what | ours (s) | peer | peer (s) | ours / peer |")
    print("|---|---|---|---|---|")
    for row in rows:
        print(f"| {row.name} | {row.ours:.3g} | {row.peer} | {row.theirs:.3g} | {row.ratio:.3g} |")
