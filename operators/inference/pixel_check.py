"""Pixels that cannot be measurements."""

from __future__ import annotations

import numpy as np

from operators.vocabulary.finding import Finding, Severity
from operators.vocabulary.refusal import Refusal


def check_pixels(signals: np.ndarray) -> None:
    """Refuse pixels that cannot be measurements.

    Args:
        signals: (slices, rows, columns, volumes).

    Raises:
        Refusal: values that are not finite, or a volume without a value above zero.
    """
    not_finite = sum(int(np.count_nonzero(~np.isfinite(plane))) for plane in signals)
    if not_finite:
        raise Refusal(
            "signal-not-finite",
            f"{not_finite} pixel values are not finite",
            "Send the series as the scanner reconstructed it.",
        )
    # Slice by slice, so that no second array of the size of the series is made.
    filled = np.zeros(signals.shape[-1], dtype=bool)
    for plane in signals:
        filled |= (plane > 0).any(axis=(0, 1))
    empty = np.flatnonzero(~filled)
    if len(empty):
        raise Refusal(
            "volume-empty",
            f"volumes {', '.join(str(index + 1) for index in empty)} of {signals.shape[-1]} "
            "hold no value above zero",
            "Send the series again, complete.",
        )


def repeated_volumes(signals: np.ndarray) -> list[Finding]:
    """Volumes that hold the same pixels as an earlier one, which noise makes impossible.

    Args:
        signals: (slices, rows, columns, volumes).
    """
    first: dict[bytes, int] = {}
    repeated = []
    for index in range(signals.shape[-1]):
        middle = signals[signals.shape[0] // 2, :, :, index].tobytes()
        earlier = first.setdefault(middle, index)
        if earlier != index and np.array_equal(signals[..., index], signals[..., earlier]):
            repeated.append(f"{index + 1} (as {earlier + 1})")
    if not repeated:
        return []
    return [
        Finding(
            "volumes-repeated",
            f"Volumes {', '.join(repeated)} hold the same pixels as an earlier volume.",
            Severity.ERROR,
        )
    ]
