"""The table of quantities and codes of ``docs/conformance.md``.

``python -m operators.results.code_table docs/conformance.md`` brings it up to date.
"""

from __future__ import annotations

import sys
from pathlib import Path

from operators.vocabulary.quantity import QUANTITIES, Quantity

BEGIN = "<!-- quantities: written by python -m operators.results.code_table -->"
END = "<!-- end of quantities -->"

_HEADINGS = (
    "Quantity",
    "Label",
    "Code",
    "Scheme",
    "Meaning",
    "Unit (UCUM)",
    "Window",
    "Possible values",
    "One stored unit of the viewable copy",
)


def code_table() -> str:
    """The quantities as a Markdown table, in the order of the vocabulary."""
    lines = [_line(_HEADINGS), _line(["---"] * len(_HEADINGS))]
    lines += [_line(_cells(quantity)) for quantity in QUANTITIES.values()]
    return "\n".join(lines)


def with_table(document: str) -> str:
    """``document`` with the table between its two marks replaced.

    Raises:
        ValueError: a mark is missing.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document lacks the marks {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n\n{code_table()}\n\n{END}{after}"


def _cells(quantity: Quantity) -> list[str]:
    code = quantity.code
    low, high = quantity.window
    window = "follows the values" if quantity.arbitrary_scale else f"{low:g} to {high:g}"
    step = f"{quantity.viewer_step:g}" + (", or more" if quantity.arbitrary_scale else "")
    possible = f"{quantity.valid_range[0]:g} to {quantity.valid_range[1]:g}"
    return [
        f"`{quantity.name}`",
        quantity.label,
        code.value,
        code.scheme_designator,
        code.meaning,
        f"`{quantity.unit.value}`",
        window,
        possible,
        step,
    ]


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Rewrites the table in the document named on the command line."""
    document = Path(sys.argv[1])
    document.write_text(with_table(document.read_text()))


if __name__ == "__main__":
    main()
