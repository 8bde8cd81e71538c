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


def part_of(count: int, total: int, code: str, text: str) -> list[Finding]:
    """One finding of ``count`` of ``total`` voxels, if there is any."""
    if not count:
        return []
    severity = Severity.WARNING if count > NOTABLE * total else Severity.INFORMATION
    return [Finding(code, f"{count} of {total} voxels ({count / total:.1%}) {text}.", severity)]


def _part(count: int, region: np.ndarray, code: str, text: str) -> list[Finding]:
    return part_of(count, int(np.count_nonzero(region)), code, text)


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
    for name in ("b0_shift", "b1_scale"):
        condition = conditions.get(name)
        if condition is not None and condition.constant is None:
            findings += field_deviation(name, condition.values[inside])
    return findings


def field_deviation(name: str, values: np.ndarray) -> list[Finding]:
    """Voxels of which B0 or B1 is far from nominal.

    Args:
        name: "b0_shift" or "b1_scale".
        values: (voxels,) in the unit of the quantity.
    """
    nominal, limit, code = {
        "b0_shift": (0.0, LARGEST_B0_SHIFT, "b0-shift-large"),
        "b1_scale": (1.0, LARGEST_B1_DEVIATION, "b1-deviation-large"),
    }[name]
    quantity = QUANTITIES[name]
    return part_of(
        int(np.count_nonzero(np.abs(values - nominal) > limit)),
        len(values),
        code,
        f"have {quantity.label} more than {amount(limit, quantity)} from {nominal:g}",
    )


def at_bound(estimates: VoxelEstimates, networks: Networks) -> np.ndarray:
    """Boolean (slices, rows, columns): analysed voxels with a parameter at an end of its range."""
    found = np.zeros(estimates.analysed.shape, dtype=bool)
    for name in networks.results:
        if not name.endswith("_sd"):
            found |= _at_end(estimates.maps[name], networks, name)
    return found & estimates.analysed


def _at_end(values: np.ndarray, networks: Networks, name: str) -> np.ndarray:
    low, high = networks.estimator.metadata.outputs[name].value_range
    margin = AT_BOUND * (high - low)
    return np.asarray((values < low + margin) | (values > high - margin))


def _bounds(estimates: VoxelEstimates, networks: Networks, inside: np.ndarray) -> list[Finding]:
    findings = []
    for name in networks.results:
        if name.endswith("_sd"):
            continue
        low, high = networks.estimator.metadata.outputs[name].value_range
        quantity = QUANTITIES[name]
        findings += _part(
            int(np.count_nonzero(_at_end(estimates.maps[name][inside], networks, name))),
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
