"""Refusals: an input that must not be turned into numbers, and what to do about it."""

from __future__ import annotations

import hashlib


def hashed_uid(uid: str) -> str:
    """Twelve hexadecimal digits that stand for ``uid`` in logs and reports.

    UIDs can be traced to a patient, so they are never written in clear outside DICOM.
    """
    return hashlib.sha256(uid.encode("ascii", "replace")).hexdigest()[:12]


class Refusal(ValueError):  # noqa: N818 - a refusal is an answer, not a fault of the program
    """An input was refused for a stated reason.

    Args:
        rule: stable, lower-case, hyphenated name of the rule that refused
            (``"uneven-slice-spacing"``).
        reason: what was wrong, with the values found.
        remedy: what the user can do.
        series_instance_uid: series concerned, hashed before it is shown.
        series_number: Series Number (0020,0011) of that series.
    """

    def __init__(
        self,
        rule: str,
        reason: str,
        remedy: str,
        *,
        series_instance_uid: str | None = None,
        series_number: int | None = None,
    ) -> None:
        self.rule = rule
        self.reason = reason
        self.remedy = remedy
        self.series_instance_uid = series_instance_uid
        self.series_number = series_number
        super().__init__(str(self))

    def of_series(self, series_instance_uid: str, series_number: int | None) -> Refusal:
        """The same refusal, naming the series in which it arose."""
        return Refusal(
            self.rule,
            self.reason,
            self.remedy,
            series_instance_uid=series_instance_uid,
            series_number=series_number,
        )

    def __str__(self) -> str:
        where = ""
        if self.series_instance_uid is not None:
            number = "?" if self.series_number is None else self.series_number
            where = f"series {number} ({hashed_uid(self.series_instance_uid)}): "
        return f"{where}{self.reason} [{self.rule}]. {self.remedy}"
