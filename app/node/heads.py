"""Headers of received objects, as rules ask for them."""

from __future__ import annotations

import logging
from collections import OrderedDict
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

_LOG = logging.getLogger(__name__)
_LARGEST_VALUE = 64 * 1024
"""Bytes; larger values are left in the file until somebody asks for them."""


def read_head(path: Path) -> Dataset:
    """Data set of a file without pixels; an empty one where it cannot be read."""
    try:
        return pydicom.dcmread(path, stop_before_pixels=True, force=True, defer_size=_LARGEST_VALUE)
    # The file is anybody's; pydicom raises errors of many kinds, RecursionError among them.
    except Exception as error:  # noqa: BLE001
        _LOG.warning("a received header cannot be read: %s", type(error).__name__)
        return Dataset()


class Heads:
    """Headers that were read lately.

    Args:
        most: how many are kept.
    """

    def __init__(self, most: int = 500) -> None:
        self._most = most
        self._kept: OrderedDict[Path, Dataset] = OrderedDict()

    def of(self, path: Path) -> Dataset:
        """See ``read_head``."""
        head = self._kept.pop(path, None)
        if head is None:
            head = read_head(path)
        self._kept[path] = head
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return head
