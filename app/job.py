"""One order to analyse a study: what the supervising process hands to the worker."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from app.config import Settings


class Job(BaseModel):
    """A study to be analysed.

    Attributes:
        input: folder of DICOM files, read only.
        objects: folder into which the result objects are written.
        result: file into which the worker writes its result, as its last act.
        models: folder of the networks.
        workdir: folder for intermediate files.
        pipelines: names of the pipelines to run.
        settings: the checked ``app.yaml``.
        started: UTC, ISO 8601.
        name: carried by every line of its log; "" where there is but one job.
    """

    model_config = ConfigDict(frozen=True)

    input: Path
    objects: Path
    result: Path
    models: Path
    workdir: Path
    pipelines: tuple[str, ...]
    settings: Settings
    started: str
    name: str = ""

    @property
    def native_output(self) -> Path:
        """File that takes what C and C++ libraries print."""
        return self.result.with_name("native-output.txt")


def now() -> str:
    """UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
