"""What the estimates of a saturation series tell about their quality."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from operators.inference.condition_maps import ConditionMap
from operators.inference.network_choice import Networks
from operators.inference.onnx_session import OnnxSession
from operators.inference.wording import amount, span
from operators.vocabulary.finding import Finding, Severity
from operators.vocabulary.quantity import QUANTITIES
from operators.vocabulary.result import Segment

#: Field deviations beyond which CEST values are doubted (facts of the field: ppm, ratio).
LARGEST_B0_SHIFT = 0.3
LARGEST_B1_DEVIATION = 0.3
#: A parameter is at its bound within this part of its range.
AT_BOUND = 0.01
#: Part of the voxels above which a finding is a warning.
NOTABLE = 0.05
#: A parameter of which the median SD exceeds this part of its range is hardly determined: the
#: SD of a parameter of which nothing is known is 29 % of its range.
WEAK_SD = 0.15
#: Median residual, %, above which the model does not explain the signal.
HIGH_RESIDUAL = 5.0


@dataclass(frozen=True)
class VoxelEstimates:
    """What the networks gave.

    Attributes:
        maps: by quantity name, float32 (slices, rows, columns); 0 where not analysed.
        analysed: boolean, same shape: every value is finite.
        region: boolean, same shape: voxels that went in.
    """

    maps: dict[str, np.ndarray]
    analysed: np.ndarray
    region: np.ndarray


def estimate_findings(
    estimates: VoxelEstimates,
    networks: Networks,
    conditions: Mapping[str, ConditionMap],
    region: Segment,
    session: OnnxSession,
) -> list[Finding]:
    """Inputs outside the training range, field deviations, bounds, weak and poor fits.

    Args:
        estimates: of the series.
        networks: whose metadata state the ranges.
        conditions: what went in beside the signal.
        region: where the parts are counted (the brain, or all that was analysed).
        session: that ran the estimator.
    """
    inside = region.volume.array > 0
    if not inside.any():
        return [Finding("nothing-analysed", "No voxel could be analysed.", Severity.ERROR)]
    findings = [
        *_dropped(estimates),
        *_outside_training(conditions, networks, inside),
        *_fields(conditions, inside),
        *_bounds(estimates, networks, inside),
        *_weak(estimates, networks, inside),
    ]
    residual = estimates.maps.get("saturation_residual")
    if residual is None:
        findings.append(
            Finding(
                "residual-not-computed",
                f"No network predicts the signal of {networks.estimator.metadata.protocol}: the "
                "fit is not checked against the measurement.",
                Severity.INFORMATION,
            )
        )
    elif (median := float(np.median(residual[inside]))) > HIGH_RESIDUAL:
        findings.append(
            Finding(
                "high-residual",
                f"The estimates leave {median:.1f} % of the signal unexplained (median).",
            )
        )
    if session.fell_back:
        findings.append(
            Finding(
                "device-fallback",
                f"A CUDA device is there but could not be used; ran on {session.provider}.",
                Severity.INFORMATION,
            )
        )
    return findings


def _part(count: int, region: np.ndarray, code: str, text: str) -> list[Finding]:
    """One finding of a part of the voxels, if there is any."""
    if not count:
        return []
    total = int(np.count_nonzero(region))
    severity = Severity.WARNING if count > NOTABLE * total else Severity.INFORMATION
    return [Finding(code, f"{count} of {total} voxels ({count / total:.1%}) {text}.", severity)]


def _dropped(estimates: VoxelEstimates) -> list[Finding]:
    count = int(np.count_nonzero(estimates.region & ~estimates.analysed))
    return _part(count, estimates.region, "estimate-not-finite", "have no finite estimate")


def _outside_training(
    conditions: Mapping[str, ConditionMap], networks: Networks, inside: np.ndarray
) -> list[Finding]:
    findings = []
    for name, condition in conditions.items():
        low, high = networks.estimator.metadata.inputs[name].value_range
        values = condition.values[inside]
        quantity = QUANTITIES[name]
        findings += _part(
            int(np.count_nonzero((values < low) | (values > high))),
            inside,
            "input-outside-training-range",
            f"have {quantity.label} outside {span(low, high, quantity)}, which the network was "
            "trained on; it takes the nearest bound",
        )
    return findings


def _fields(conditions: Mapping[str, ConditionMap], inside: np.ndarray) -> list[Finding]:
    findings = []
    for name, nominal, limit, code in (
        ("b0_shift", 0.0, LARGEST_B0_SHIFT, "b0-shift-large"),
        ("b1_scale", 1.0, LARGEST_B1_DEVIATION, "b1-deviation-large"),
    ):
        condition = conditions.get(name)
        if condition is None or condition.constant is not None:
            continue
        quantity = QUANTITIES[name]
        deviation = np.abs(condition.values[inside] - nominal)
        findings += _part(
            int(np.count_nonzero(deviation > limit)),
            inside,
            code,
            f"have {quantity.label} more than {amount(limit, quantity)} from {nominal:g}",
        )
    return findings


def _bounds(estimates: VoxelEstimates, networks: Networks, inside: np.ndarray) -> list[Finding]:
    findings = []
    for name in networks.results:
        if name.endswith("_sd"):
            continue
        low, high = networks.estimator.metadata.outputs[name].value_range
        margin = AT_BOUND * (high - low)
        values = estimates.maps[name][inside]
        quantity = QUANTITIES[name]
        findings += _part(
            int(np.count_nonzero((values < low + margin) | (values > high - margin))),
            inside,
            "parameter-at-bound",
            f"have {quantity.label} at a bound of {span(low, high, quantity)}",
        )
    return findings


def _weak(estimates: VoxelEstimates, networks: Networks, inside: np.ndarray) -> list[Finding]:
    findings = []
    for name in networks.results:
        if f"{name}_sd" not in estimates.maps:
            continue
        low, high = networks.estimator.metadata.outputs[name].value_range
        median = float(np.median(estimates.maps[f"{name}_sd"][inside]))
        if median > WEAK_SD * (high - low):
            quantity = QUANTITIES[name]
            findings.append(
                Finding(
                    "weakly-determined",
                    f"{quantity.label} has a median SD of {amount(median, quantity)}, "
                    f"{median / (high - low):.0%} of its range: the series hardly determines it.",
                )
            )
    return findings
