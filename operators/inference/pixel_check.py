"""Pixels that cannot be measurements."""

from __future__ import annotations

import numpy as np

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
