"""``app.yaml``: every setting of the application, typed and checked.

Each wing of the operators defines its own settings; here they become one file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.node.settings import NodeSettings
from operators.inference.settings import CestMtSettings, DiffusionSettings, SuperresSettings
from operators.inference.triton_session import is_address
from operators.ingest.settings import IngestSettings
from operators.results.settings import ResultsSettings

DEFAULT_FILE = Path(__file__).resolve().parents[1] / "app.yaml"
DEFAULT_MODELS = DEFAULT_FILE.with_name("models")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class ApplicationSection(_Section):
    """What the MAP specification and its packager want to know of the application.

    Attributes:
        title: name of the package; plain ASCII.
        version: version of the package.
        input_formats: kinds of input, as the MAP manifest has them.
        output_formats: kinds of output.
    """

    title: str = "QuantMAP"
    version: str = "0.1.0"
    input_formats: list[Any] = Field(default=[], alias="input-formats")
    output_formats: list[Any] = Field(default=[], alias="output-formats")


class ResourcesSection(_Section):
    """What the MAP manifest asks of the machine.

    Attributes:
        cpu: cores.
        gpu: devices; 0 where a GPU is used when it is there.
        memory: such as 4Gi.
        gpu_memory: such as 4Gi.
        shared_memory: such as 1Gi.
    """

    cpu: int = 2
    gpu: int = 0
    memory: str = "4Gi"
    gpu_memory: str | None = Field(default=None, alias="gpuMemory")
    shared_memory: str | None = Field(default=None, alias="sharedMemory")


class PipelinesSection(_Section):
    """Settings of each pipeline, by its name."""

    diffusion: DiffusionSettings = DiffusionSettings()
    cest_mt: CestMtSettings = CestMtSettings()
    superres: SuperresSettings = SuperresSettings()


def _inference(place: str) -> str:
    if place != "local" and not is_address(place):
        raise ValueError("must be local, triton://HOST or triton://HOST:PORT")
    return place


class Settings(_Section):
    """The whole of ``app.yaml``.

    Attributes:
        application: of the package.
        resources: of the package.
        device: where networks run: ``auto`` takes a GPU where there is one, ``cuda`` refuses
            to run without.
        inference: ``local``, or ``triton://HOST[:PORT]``: the inference server that runs the
            networks instead.
        ingest: how series are recognised.
        pipelines: what is computed, and how.
        results: which objects are written.
        node: the DICOM node; no run depends on it.
    """

    application: ApplicationSection = ApplicationSection()
    resources: ResourcesSection = ResourcesSection()
    device: Literal["auto", "cpu", "cuda"] = "auto"
    inference: Annotated[str, AfterValidator(_inference)] = "local"
    ingest: IngestSettings = IngestSettings()
    pipelines: PipelinesSection = PipelinesSection()
    results: ResultsSettings = ResultsSettings()
    node: NodeSettings = NodeSettings()

    @property
    def networks_run_on(self) -> str:
        """The device, or the address of the inference server, where networks run."""
        return self.device if self.inference == "local" else self.inference
