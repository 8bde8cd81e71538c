"""Sequence parameters that no header holds, fitted to the measured maps as nuisance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from models.superres.protocol import fit_parameter, make_sequence
from models.superres.signal import WeightedSequence
from models.superres.study import Study
from operators.inference.guide_parameters import GuideParameters

_CANDIDATES = {
    "shot_repetition_time": (1500.0, 2000.0, 2500.0, 3000.0),
    "readouts": (96.0, 128.0, 160.0, 192.0, 240.0),
    "echo_spacing": (4.5, 6.0, 7.5, 9.0, 11.0),
}
"""Values of MPRAGE protocols for the brain, in ms."""
_CENTRES = (1 / 2, 3 / 7, 1 / 3, 0.0)
"""Readouts before the centre of k-space over all of them: linear order, with partial Fourier of 7/8
and of 6/8, and centric order; the usual ones first."""
_TIED = 1.02
"""Mismatch over the least up to which protocols explain the maps equally well."""
_ECHO_TIME_SHARES = tuple(np.linspace(0.25, 1.0, 16))
"""Echo time that makes the contrast over that of the header."""


@dataclass(frozen=True)
class FittedSequence:
    """A guide's sequence with nothing missing.

    Attributes:
        sequence: its signal equation.
        fitted: parameters that were fitted, by name.
        mismatch: root mean square difference to the low-resolution maps over the mean signal.
    """

    sequence: WeightedSequence
    fitted: dict[str, float]
    mismatch: float


def known_sequence(equation: str, parameters: GuideParameters) -> WeightedSequence:
    """The sequence of a guide of which nothing is missing.

    Raises:
        ValueError: a parameter is missing.
    """
    return make_sequence(equation, parameters.known)


def fitted_sequence(
    study: Study, index: int, equation: str, parameters: GuideParameters
) -> FittedSequence:
    """The sequence that explains a guide best at low resolution.

    Args:
        study: maps and guides at low resolution.
        index: 0 for the T1w guide, 1 for the T2w guide.
        equation: "FSE" or "MPRAGE".
        parameters: what is known of it; what is missing can be fitted.

    Raises:
        ValueError: the guide does not show what the maps show.
    """
    fits: list[FittedSequence] = []
    for values in _combinations(equation, parameters):
        tried = make_sequence(equation, values)
        pair = (tried, None) if index == 0 else (None, tried)
        name = next(iter(values))
        _, (mismatch,) = fit_parameter(replace(study, sequences=pair), index, name, [values[name]])
        fitted = {key: value for key, value in values.items() if key not in parameters.known}
        if equation == "FSE":
            fitted = {"effective_echo_time": values["effective_echo_time"]}
        fits.append(FittedSequence(tried, fitted, mismatch))
    if not fits:
        raise ValueError("no combination of MPRAGE parameters agrees with TR and TI")
    limit = _TIED * min(fit.mismatch for fit in fits)
    return min(
        (fit for fit in fits if fit.mismatch <= limit),
        key=lambda fit: (_unusual(fit, parameters), fit.mismatch),
    )


def _unusual(fit: FittedSequence, parameters: GuideParameters) -> int:
    """Place of a fitted k-space order in the list of them; 0 where none was fitted."""
    if "centre_readout" not in fit.fitted:
        return 0
    readouts = fit.fitted.get("readouts", parameters.known.get("readouts", 0.0))
    shares = [abs(fit.fitted["centre_readout"] - share * readouts) for share in _CENTRES]
    return int(np.argmin(shares))


def _combinations(equation: str, parameters: GuideParameters) -> Iterator[dict[str, float]]:
    known, missing = parameters.known, parameters.missing
    if equation == "FSE":
        for share in _ECHO_TIME_SHARES:
            yield known | {"effective_echo_time": float(share * known["effective_echo_time"])}
        return
    varied = [name for name in _CANDIDATES if name in missing]
    for chosen in product(*(_CANDIDATES[name] for name in varied)):
        values = known | dict(zip(varied, chosen, strict=True))
        centres = [float(round(share * values["readouts"])) for share in _CENTRES]
        for centre in centres if "centre_readout" in missing else [values["centre_readout"]]:
            if _is_possible(values | {"centre_readout": centre}):
                yield values | {"centre_readout": centre}


def _is_possible(values: dict[str, float]) -> bool:
    """Whether the readouts of an MPRAGE fit between its inversions."""
    before = values["inversion_time"] - values["centre_readout"] * values["echo_spacing"]
    train = values["readouts"] * values["echo_spacing"]
    return before >= 0 and values["shot_repetition_time"] - before - train >= 0
