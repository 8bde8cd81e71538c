"""Quality findings: what a reader of a map must know before believing it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding should change the reader's trust."""

    INFORMATION = "information"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """One thing noticed about the input, the fit or the output.

    Attributes:
        code: stable, lower-case, hyphenated name, for rules and tests
            (``"t1-map-missing"``).
        message: one sentence for a physicist or radiologist; never a patient's name,
            never a UID in clear.
        severity: how much trust it costs.
    """

    code: str
    message: str
    severity: Severity = Severity.WARNING
