"""``result.json``: what a run did, for people, routers and schedulers.

``python -m app.result_file`` prints the JSON schema.
"""

from __future__ import annotations

import json
import sys
from enum import IntEnum, StrEnum
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

FILE_NAME = "result.json"


class ExitStatus(IntEnum):
    """What the process tells its caller."""

    SUCCESS = 0
    FAULT = 1
    USAGE = 2
    REFUSED = 3
    INTERRUPTED = 130
    TERMINATED = 143


class RunStatus(StrEnum):
    """How a run ended. ``PUBLISHING`` is seen only while files move into the result folder."""

    PUBLISHING = "publishing"
    SUCCESS = "success"
    PARTIAL = "partial"
    FAILED = "failed"


class PipelineState(StrEnum):
    """What became of one pipeline."""

    RAN = "ran"
    IDLE = "idle"
    REFUSED = "refused"
    NOT_SELECTED = "not selected"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SeriesEntry(_Strict):
    """One series of the input. The Series Instance UID is hashed: it leads to a patient."""

    series: str = Field(description="first twelve hexadecimal digits of the UID's SHA-256")
    number: int | None = Field(description="Series Number (0020,0011)")
    kind: str = Field(description="what the series was recognised as")
    images: int = Field(description="SOP Instances")
    because: str = Field(default="", description="what decided the kind, or why it was not used")


class SkippedEntry(_Strict):
    """A file that is no usable image."""

    path: str = Field(description="relative to the input folder")
    reason: str


class RefusalEntry(_Strict):
    """Something that must not be turned into numbers, and what to do about it."""

    rule: str
    reason: str
    remedy: str
    series: str | None = Field(default=None, description="hashed Series Instance UID")
    number: int | None = Field(default=None, description="Series Number (0020,0011)")
    needed: bool = Field(description="whether a pipeline of this run would have used the series")


class PipelineEntry(_Strict):
    """What one pipeline did."""

    name: str
    state: PipelineState
    because: str = Field(default="", description="why it did not run")
    series_analysed: int = 0
    execution_provider: str = ""
    models: dict[str, str] = Field(default={}, description="SHA-256 of each network, by file")


class FindingText(_Strict):
    """What a reader must know before believing a value."""

    code: str
    severity: str
    message: str


class FindingEntry(FindingText):
    """A quality finding of one pipeline, of its input or its fit."""

    pipeline: str
    series: str = Field(description="hashed Series Instance UID")
    number: int | None = Field(description="Series Number (0020,0011)")


class OutputEntry(_Strict):
    """One file of the results, relative to the folder of this file."""

    path: str = Field(description="with forward slashes; never leads out of the folder")
    kind: str
    quantity: str = ""
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    series_instance_uid: str = ""
    findings: tuple[FindingText, ...] = Field(
        default=(), description="what was changed in this file to fit its format"
    )

    @field_validator("path")
    @classmethod
    def _lies_inside(cls, path: str) -> str:
        parts = PurePosixPath(path)
        if parts.is_absolute() or ".." in parts.parts or not parts.parts:
            raise ValueError(f"{path!r} is no path inside the result folder")
        return path


class ResultFile(_Strict):
    """The whole of ``result.json``.

    ``publishing`` is seen only while files move into the result folder, or after the machine
    stopped at that moment: the outputs are then incomplete, and a new run replaces them.
    """

    schema_version: Literal[1] = 1
    status: RunStatus
    exit_status: int
    failure: str = Field(default="", description="why the run failed, in one sentence")
    started: str = Field(description="UTC, ISO 8601")
    finished: str = Field(description="UTC, ISO 8601")
    pipelines: tuple[PipelineEntry, ...] = ()
    inputs_used: tuple[SeriesEntry, ...] = ()
    inputs_not_used: tuple[SeriesEntry, ...] = ()
    inputs_skipped: tuple[SkippedEntry, ...] = ()
    refusals: tuple[RefusalEntry, ...] = ()
    outputs: tuple[OutputEntry, ...] = ()
    findings: tuple[FindingEntry, ...] = ()
    timings: dict[str, float] = Field(default={}, description="seconds by step")
    versions: dict[str, str] = Field(default={}, description="application, Python, packages")
    configuration: dict[str, Any] = Field(default={}, description="every setting of the run")

    def to_json(self) -> str:
        """The text of the file."""
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def read(cls, path: Path) -> ResultFile | None:
        """The result file at ``path``, or None where there is none that can be understood."""
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, ValidationError):
            return None


if __name__ == "__main__":
    json.dump(ResultFile.model_json_schema(), sys.stdout, indent=2)
    sys.stdout.write("\n")
