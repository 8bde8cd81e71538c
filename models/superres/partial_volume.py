"""Voxels that hold several tissues: a scan averages their signals, not their relaxation times."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.floating]

SATURATION_RECOVERY_TIME = 2500.0
"""Recovery after saturation in ms whose mean signal tells the T1 of a mixed voxel: as the fit of
one T1 to a recovery of tissue and fluid that is sampled to 5 s finds it, within some per cent."""

ECHO_TIME = 100.0
"""TE in ms of the spin echo whose mean signal tells the T2 of a mixed voxel."""


def averaging_signals(maps: Values) -> Values:
    """What adds up over the tissues of a voxel, each with the share of the voxel that it fills.

    Args:
        maps: (3, ...) PD, T1 in ms, T2 in ms; PD may be 0, T1 and T2 are positive.

    Returns:
        (3, ...) PD, the magnetisation that has not recovered after ``SATURATION_RECOVERY_TIME``,
        and the spin echo at ``ECHO_TIME``; all in units of PD.
    """
    density, t1, t2 = maps
    return np.stack(
        [
            density,
            density * np.exp(-SATURATION_RECOVERY_TIME / t1),
            density * np.exp(-ECHO_TIME / t2),
        ]
    )


def maps_of_averages(signals: Values) -> Values:
    """PD, T1 and T2 that a scan finds that takes each voxel for one tissue.

    A half of fluid thus has far less than half of its T2.

    Args:
        signals: (3, ...) means of ``averaging_signals`` over voxels.

    Returns:
        (3, ...) PD, T1 in ms, T2 in ms; zeros where there is no signal.
    """
    maps = signals.copy()
    seen = signals[0] > 0
    for index, time in ((1, SATURATION_RECOVERY_TIME), (2, ECHO_TIME)):
        maps[index][seen] = -time / np.log(signals[index][seen] / signals[0][seen])
    return maps
