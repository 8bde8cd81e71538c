"""Reads the CSA image header that Siemens scanners up to syngo MR E write.

The layout is known from the community, not from a standard: nibabel's documentation of it
(https://nipy.org/nibabel/dicom/siemens_csa.html) is followed.
"""

from __future__ import annotations

import struct

_FEW_TAGS = 1000


def read_csa(data: bytes) -> dict[str, tuple[str, ...]]:
    """Name -> values, as text, of a CSA header of type 1 or 2; empty where it is none.

    Args:
        data: value of (0029,xx10) of the block "SIEMENS CSA HEADER".
    """
    try:
        return _read(data)
    except struct.error:
        return {}


def _read(data: bytes) -> dict[str, tuple[str, ...]]:
    second_type = data[:4] == b"SV10"
    position = 8 if second_type else 0
    tags, check = struct.unpack_from("<II", data, position)
    if check != 77 or not 1 <= tags <= _FEW_TAGS:
        return {}
    position += 8
    values: dict[str, tuple[str, ...]] = {}
    for _ in range(tags):
        name, multiplicity, _, _, items, _ = struct.unpack_from("<64si4siii", data, position)
        position += 84
        found = []
        for _ in range(items):
            # Both types state the length of an item in the second of four numbers.
            _, length, _, _ = struct.unpack_from("<4i", data, position)
            position += 16
            if length < 0 or position + length > len(data):
                return values
            found.append(data[position : position + length].split(b"\0")[0])
            position += length + -length % 4
        count = multiplicity or len(found)
        texts = tuple(text.decode("latin-1").strip() for text in found[:count])
        values[name.split(b"\0")[0].decode("latin-1")] = tuple(text for text in texts if text)
    return values
