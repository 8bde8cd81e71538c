"""Whether the tissues of a brain have the values that they usually have."""

from __future__ import annotations

from operators.inference.tissue_fractions import BrainTissues
from operators.inference.wording import amount, span
from operators.vocabulary.finding import Finding, Severity
from operators.vocabulary.quantity import QUANTITIES


def tissue_findings(tissues: BrainTissues) -> list[Finding]:
    """Medians of each tissue against the values that are usual, and the tissue volumes.

    Args:
        tissues: of the brain.
    """
    usual, unusual = [], []
    for one in tissues.medians:
        quantity = QUANTITIES[one.quantity]
        text = f"{one.tissue.lower()} {quantity.label} {amount(one.median, quantity)}"
        if one.usual:
            usual.append(text)
        else:
            unusual.append(f"{text} (usual {span(one.low, one.high, quantity)})")
    findings = []
    if unusual:
        findings.append(
            Finding(
                "tissue-values-unusual",
                f"Medians outside the usual range at 3 T: {'; '.join(unusual)}.",
            )
        )
    if usual:
        findings.append(
            Finding(
                "tissue-values",
                f"Medians within the usual range at 3 T: {'; '.join(usual)}.",
                Severity.INFORMATION,
            )
        )
    volumes = ", ".join(f"{one.name.lower()} {one.millilitres:.0f} ml" for one in tissues.fractions)
    findings.append(
        Finding("tissue-volumes", f"Volumes by partial volume: {volumes}.", Severity.INFORMATION)
    )
    return findings
