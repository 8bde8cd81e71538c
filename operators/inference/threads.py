"""Keeps torch from starting more threads than help."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def single_threaded() -> Iterator[None]:
    """One torch thread inside, as many as before afterwards.

    For many small steps: torch starts a thread for each core of the host and lets them meet
    after each step. On two idle cores that gains a fifth; under a container's CPU quota, or
    beside other work, each step waits for a descheduled thread and all take tens of times
    longer.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
