"""Which signal models a gradient table supports, and why others are left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.diffusion import noddi_fit
from models.diffusion.kurtosis_fit import LARGEST_CONDITION, condition
from operators.inference.gradient_check import (
    GAUSSIAN_UP_TO,
    LEAST_DIRECTIONS,
    UNWEIGHTED_BELOW,
    check_gradients,
    distinct_directions,
    shells,
)
from operators.inference.settings import DiffusionSettings
from operators.vocabulary.acquisition import GradientTable
from operators.vocabulary.finding import Finding, Severity
from operators.vocabulary.refusal import Refusal

#: The highest of several shells must reach it, s/mm²: below, kurtosis drowns in noise.
LEAST_HIGHEST_B = 1400.0
#: Volumes above it serve no model: the expansion in powers of b diverges there (Jensen and
#: Helpern, NMR Biomed. 23:698 (2010), doi 10.1002/nbm.1518).
LARGEST_B = 3200.0
#: The highest shell must have this multiple of the b of the lowest one.
LEAST_RATIO = 1.5


@dataclass(frozen=True)
class ChosenModels:
    """What is fitted beside the tensor.

    Attributes:
        kurtosis: whether MK, AK and RK are made.
        noddi: whether NDI, ODI and FWF are made.
        volumes: indices of the volumes that serve them; empty where neither is made.
        findings: what was decided, and why.
    """

    kurtosis: bool
    noddi: bool
    volumes: np.ndarray
    findings: tuple[Finding, ...]


def tensor_volumes(table: GradientTable) -> np.ndarray:
    """Volumes to which the tensor is fitted: of several shells those up to b 1500 s/mm².

    Diffusion in tissue is visibly not Gaussian above, so a tensor of all shells together is lower
    than one of b 1000. Where the lower shells alone do not determine a tensor, or there is one
    shell only, all volumes serve.

    Returns:
        Indices, ascending.
    """
    every = np.arange(len(table.b_values))
    low = np.flatnonzero(table.b_values <= GAUSSIAN_UP_TO)
    if len(low) == len(every) or not (table.b_values[low] >= UNWEIGHTED_BELOW).any():
        return every
    try:
        check_gradients(part_of(table, low))
    except Refusal:
        return every
    return low


def part_of(table: GradientTable, volumes: np.ndarray) -> GradientTable:
    """The rows of some volumes."""
    return GradientTable(table.b_values[volumes], table.directions[volumes])


def choose_models(
    table: GradientTable, settings: DiffusionSettings, with_prior: bool
) -> ChosenModels:
    """Decide from the gradient table, or hold the settings against it.

    Args:
        table: of the volumes that are fitted.
        settings: which models are wanted.
        with_prior: whether the prior helps, so that few directions are enough.

    Raises:
        Refusal: a model that the settings ask for is not supported by the table.
    """
    volumes = _volumes(table)
    used = part_of(table, volumes)
    against = {"kurtosis": _why_no_shells(used), "noddi": _why_no_shells(used)}
    if not with_prior and not against["kurtosis"]:
        against["kurtosis"] = _why_no_kurtosis_of_data_alone(used)
    wanted = ("kurtosis", "noddi") if settings.models == "auto" else settings.models
    if settings.models != "auto":
        for model in wanted:
            if against[model]:
                raise Refusal(
                    "model-not-supported",
                    f"{_NAMES[model]} is asked for, but {against[model]}",
                    "Set pipelines.diffusion.models to auto or to what the series supports.",
                )
    made = {model: model in wanted and not against[model] for model in _NAMES}
    findings = []
    for reason in dict.fromkeys(against[model] for model in wanted if against[model]):
        names = " and no ".join(_NAMES[model] for model in wanted if against[model] == reason)
        findings.append(
            Finding("models-not-supported", f"No {names} maps: {reason}.", Severity.INFORMATION)
        )
    if any(made.values()):
        text = " and ".join(_NAMES[model] for model in _NAMES if made[model])
        findings.append(
            Finding(
                "models-of-several-shells",
                f"{text[:1].upper()}{text[1:]} maps are made, because the series has "
                f"{_shells_in_words(used)}.",
                Severity.INFORMATION,
            )
        )
    return ChosenModels(
        made["kurtosis"],
        made["noddi"],
        volumes if any(made.values()) else np.array([], dtype=int),
        tuple(findings),
    )


_NAMES = {"kurtosis": "kurtosis", "noddi": "NODDI"}


def _volumes(table: GradientTable) -> np.ndarray:
    """Unweighted volumes, and shells of six directions or more up to the largest b."""
    numbers = shells(table.b_values)
    keep = table.b_values < UNWEIGHTED_BELOW
    for number in np.unique(numbers[~keep]):
        members = (numbers == number) & (table.b_values >= UNWEIGHTED_BELOW)
        if (
            table.b_values[members].max() <= LARGEST_B
            and distinct_directions(table.directions[members]) >= LEAST_DIRECTIONS
        ):
            keep |= members
    return np.flatnonzero(keep)


def _weighted_shells(table: GradientTable) -> list[np.ndarray]:
    numbers = shells(table.b_values)
    weighted = table.b_values >= UNWEIGHTED_BELOW
    return [
        np.flatnonzero(weighted & (numbers == number)) for number in np.unique(numbers[weighted])
    ]


def _shells_in_words(table: GradientTable) -> str:
    parts = [
        f"{len(shell)} volumes of b {table.b_values[shell].mean():.0f}"
        for shell in _weighted_shells(table)
    ]
    return " and ".join(parts) + " s/mm²"


def _why_no_shells(table: GradientTable) -> str:
    """Why the volumes support neither kurtosis nor NODDI; "" where they do."""
    if not (table.b_values < UNWEIGHTED_BELOW).any():
        return "there is no volume without diffusion weighting"
    found = _weighted_shells(table)
    limits = f"{LEAST_DIRECTIONS} directions or more up to b {LARGEST_B:.0f} s/mm²"
    if not found:
        return f"no shell has {limits}"
    if len(found) == 1:
        return f"two shells of {limits} are needed, and there is one, {_shells_in_words(table)}"
    lowest, highest = table.b_values[found[0]].mean(), table.b_values[found[-1]].mean()
    if highest < LEAST_HIGHEST_B or highest < LEAST_RATIO * lowest:
        return (
            f"the shells are too close or too low (b {lowest:.0f} to {highest:.0f} s/mm²; the "
            f"highest must reach {LEAST_HIGHEST_B:.0f} and {LEAST_RATIO:g} times the lowest)"
        )
    if len(noddi_fit.shells(table.b_values)) != len(found) + 1:
        return "the b-values within a shell differ by more than 5 %"
    return ""


def _why_no_kurtosis_of_data_alone(table: GradientTable) -> str:
    value = condition(table.b_values, table.directions)
    if value < LARGEST_CONDITION:
        return ""
    return (
        f"{len(table.b_values)} volumes do not determine its 22 unknowns without the prior "
        f"(condition {value:.3g})"
    )
