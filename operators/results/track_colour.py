"""The colour of tracks by their direction, as in colour FA: red left-right, green front-back."""

from __future__ import annotations

import numpy as np

from operators.vocabulary.tracts import TrackSet


def direction_colours(directions: np.ndarray) -> np.ndarray:
    """uint8 (n, 3) red, green, blue of directions (n, 3), LPS; the largest share is full."""
    shares = np.abs(directions)
    largest = shares.max(axis=1, keepdims=True)
    return np.rint(255 * shares / np.where(largest > 0, largest, 1)).astype(np.uint8)


def track_colours(tracks: TrackSet) -> np.ndarray:
    """uint8 (tracks, 3): the colour of each track's mean direction, whatever its sense."""
    steps = np.abs(np.diff(tracks.points, axis=0))
    steps[tracks.offsets[1:-1] - 1] = 0  # from the end of a track to the beginning of the next
    steps = np.vstack((steps, np.zeros((1, 3), steps.dtype)))
    return direction_colours(np.add.reduceat(steps, tracks.offsets[:-1]))
