"""UIDs of results, derived from what made them: a re-run gives the same objects."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable

from operators.vocabulary.result import PipelineResult

_NAMESPACE = uuid.UUID("8b1c1a53-6c6e-5c0e-9d0e-3f6f9f1d7a42")


def derived_uid(*parts: str) -> str:
    """A UID that depends on every part and on how the parts are separated.

    The parts are joined as a JSON list, so ``("1", "10")`` and ``("11", "0")`` differ, and
    become a name-based UUID (RFC 9562, version 5) below the root 2.25 (DICOM PS3.5 B.2).

    Returns:
        UID of at most 44 characters.
    """
    return f"2.25.{uuid.uuid5(_NAMESPACE, json.dumps(parts)).int}"


class ResultIdentifiers:
    """UIDs of all objects of one result.

    They change with any source image, drawing of the study, network digest, setting that
    changes values, name or version of the algorithm, and with nothing else: neither time nor
    machine enters.

    Args:
        result: the result that is written.
    """

    def __init__(self, result: PipelineResult) -> None:
        algorithm = result.algorithm
        self._digest = _digest(
            [
                result.pipeline,
                algorithm.name,
                algorithm.version,
                sorted(algorithm.model_sha256.items()),
                sorted(algorithm.configuration.items()),
                sorted(image.sop_instance_uid for image in result.source.images),
                sorted(
                    image.sop_instance_uid
                    for series in (*result.further_sources, *result.region_sources)
                    for image in series.images
                ),
            ]
        )

    def series(self, role: str) -> str:
        """Series Instance UID of the series that plays ``role``."""
        return derived_uid(self._digest, "series", role)

    def instance(self, role: str, number: int = 1) -> str:
        """SOP Instance UID of instance ``number`` of the series that plays ``role``."""
        return derived_uid(self._digest, "instance", role, str(number))

    def other(self, purpose: str, *parts: str) -> str:
        """UID of anything else: a dimension organization, a tracked segment."""
        return derived_uid(self._digest, "other", purpose, *parts)


def _digest(content: Iterable[object]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
