"""Whether a gradient table determines a diffusion tensor, and what to know of it beforehand."""

from __future__ import annotations

import numpy as np

from models.diffusion.design import LARGEST_CONDITION, condition
from operators.vocabulary.acquisition import GradientTable
from operators.vocabulary.finding import Finding, Severity
from operators.vocabulary.refusal import Refusal

#: b-values below it count as unweighted, s/mm² (crusher gradients give a few s/mm²).
UNWEIGHTED_BELOW = 50.0
#: b-values of one shell differ by less, s/mm²: UIH and Siemens state each direction's own b.
SHELL_WIDTH = 100.0
#: Above it, diffusion in tissue is visibly not Gaussian and a tensor underestimates it.
GAUSSIAN_UP_TO = 1500.0
#: Code of the finding that says so.
HIGH_B_VALUE = "high-b-value"
#: Directions (without sign) that are closer are one direction, degrees.
SAME_DIRECTION = 1.0
LEAST_DIRECTIONS = 6

_ACQUIRE = "Send a series with b = 0 and at least 6 directions that do not lie on a cone."


def shells(b_values: np.ndarray) -> np.ndarray:
    """Number of the shell of each volume, in order of b; 0 is unweighted where there is such.

    Args:
        b_values: (volumes,) s/mm².

    Returns:
        (volumes,) integers: a gap of more than ``SHELL_WIDTH`` starts a new shell.
    """
    effective = np.where(b_values < UNWEIGHTED_BELOW, 0.0, b_values)
    order = np.argsort(effective, kind="stable")
    steps = np.diff(effective[order], prepend=effective[order[:1]])
    numbers = np.empty(len(b_values), dtype=int)
    numbers[order] = np.cumsum(steps > SHELL_WIDTH)
    return numbers


def distinct_directions(directions: np.ndarray) -> int:
    """Number of directions that differ, opposite ones counting once, zero rows not at all."""
    kept: list[np.ndarray] = []
    for direction in directions[np.linalg.norm(directions, axis=1) > 0]:
        if all(abs(direction @ other) < np.cos(np.radians(SAME_DIRECTION)) for other in kept):
            kept.append(direction)
    return len(kept)


def check_gradients(table: GradientTable) -> tuple[Finding, ...]:
    """What a reader must know of the table.

    Raises:
        Refusal: fewer than 6 distinct directions; no unweighted volume and one shell only; or
            volumes that leave some part of the tensor undetermined.
    """
    weighted = table.b_values >= UNWEIGHTED_BELOW
    directions = distinct_directions(table.directions[weighted])
    if directions < LEAST_DIRECTIONS:
        raise Refusal(
            "too-few-directions",
            f"{directions} distinct diffusion directions among {len(weighted)} volumes; "
            f"a tensor needs {LEAST_DIRECTIONS}",
            _ACQUIRE,
        )
    without_direction = weighted & (np.linalg.norm(table.directions, axis=1) == 0)
    if without_direction.any():
        raise Refusal(
            "weighted-volume-without-direction",
            f"{np.count_nonzero(without_direction)} volumes have b ≥ {UNWEIGHTED_BELOW:g} s/mm² "
            "and no direction",
            "Send the series with its gradient directions, and trace images as another series.",
        )
    findings = []
    if weighted.all():
        if len(set(shells(table.b_values))) < 2:
            raise Refusal(
                "no-unweighted-volume",
                f"no volume with b < {UNWEIGHTED_BELOW:g} s/mm², and one shell only "
                f"(b {table.b_values.min():g} to {table.b_values.max():g} s/mm²)",
                _ACQUIRE,
            )
        findings.append(
            Finding(
                "no-unweighted-volume",
                f"No volume without diffusion weighting: b0 is extrapolated from "
                f"b {table.b_values.min():g} s/mm² and above.",
            )
        )
    found = condition(table.b_values, table.directions)
    if not found < LARGEST_CONDITION:
        raise Refusal(
            "gradients-do-not-determine-tensor",
            f"the {len(weighted)} volumes leave part of the tensor undetermined "
            f"(condition {found:.3g})",
            _ACQUIRE,
        )
    if table.b_values.max() > GAUSSIAN_UP_TO:
        findings.append(
            Finding(
                HIGH_B_VALUE,
                f"b-values up to {table.b_values.max():g} s/mm²: diffusivities are lower than "
                f"at b 1000 s/mm², because diffusion in tissue is not Gaussian.",
                Severity.INFORMATION,
            )
        )
    return tuple(findings)
