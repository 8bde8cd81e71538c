"""Whether the tissues of a brain have the values that they usually have."""

from __future__ import annotations

import numpy as np

from operators.inference.map_check import NAMES
from operators.inference.tissue_fractions import BrainTissues
from operators.inference.wording import amount, span
from operators.vocabulary.finding import Finding, Severity
from operators.vocabulary.quantity import QUANTITIES

PURE = 0.9
"""Fraction from which a voxel counts for the median of a tissue."""
FEWEST_VOXELS = 50


def reference_findings(maps: np.ndarray, tissues: BrainTissues) -> list[Finding]:
    """Medians of each tissue against the reference ranges, and the tissue volumes.

    Args:
        maps: (3, slices, rows, columns) PD, T1 in ms, T2 in ms.
        tissues: of the brain.
    """
    pure = {one.name: one.volume.array > PURE for one in tissues.fractions}
    usual, unusual = [], []
    for reference in tissues.reference_ranges:
        values = maps[NAMES.index(reference.quantity)][pure[reference.segment]]
        if len(values) < FEWEST_VOXELS:
            continue
        quantity = QUANTITIES[reference.quantity]
        median = float(np.median(values))
        text = f"{reference.segment.lower()} {quantity.label} {amount(median, quantity)}"
        if reference.low <= median <= reference.high:
            usual.append(text)
        else:
            unusual.append(f"{text} (usual {span(reference.low, reference.high, quantity)})")
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
