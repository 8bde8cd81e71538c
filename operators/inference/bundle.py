"""Model bundles: a folder with a network, its metadata and golden values.

The folder holds ``model.onnx`` (weights inside), ``metadata.json`` (MONAI bundle metadata with
units, value ranges and the digest of the network) and, where there is one, ``golden.npz``
(inputs and outputs that the network must reproduce). Layout:
``<models>/<pipeline>/networks/<name>/``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

METADATA = "metadata.json"
NETWORKS = "networks"


class BundleError(ValueError):
    """A bundle is incomplete, altered, or does not do what it says."""


class TensorDescription(BaseModel):
    """One input or output of a network: float32, in physical units.

    Attributes:
        unit: UCUM unit.
        value_range: (lowest, highest) value that the network was trained for or returns.
        shape: lengths, and names of the dimensions that may have any length;
            ("voxels", channels) for a network that treats every voxel for itself.
        channel_value_range: the same as ``value_range`` for each channel, where they differ.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    dtype: Literal["float32"] = "float32"
    unit: str
    value_range: tuple[float, float]
    shape: tuple[str | int, ...]
    channel_value_range: tuple[tuple[float, float], ...] = ()

    @property
    def channel_ranges(self) -> tuple[tuple[float, float], ...]:
        """Value range of each channel; one for all where they are not told apart."""
        return self.channel_value_range or (self.value_range,)

    @property
    def channels(self) -> int:
        """Number of values of a voxel.

        Raises:
            BundleError: the network does not treat every voxel for itself.
        """
        match self.shape:
            case ("voxels", int(channels)):
                return channels
        raise BundleError(f"a network of shape {self.shape} does not run voxel by voxel")


class _ModelFile(BaseModel):
    file: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class _DataFormat(BaseModel):
    inputs: dict[str, TensorDescription] = Field(min_length=1)
    outputs: dict[str, TensorDescription] = Field(min_length=1)


class _Golden(BaseModel):
    file: str
    tolerance: dict[Literal["cpu", "cuda"], float]


class BundleMetadata(BaseModel):
    """What ``metadata.json`` says, as far as running the network needs it.

    Attributes:
        name: name of the network, the same as its folder.
        version: version of the bundle.
        protocol: name of the protocol whose series it takes; "" where it takes any.
        model: file of the network and its SHA-256.
        network_data_format: inputs and outputs, in the order of the network.
        golden: file of golden values and the deviation allowed on each device, as a fraction
            of the span of each output's value range.
        references: publications of the method.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    name: str
    version: str
    protocol: str = ""
    model: _ModelFile
    network_data_format: _DataFormat
    golden: _Golden | None = None
    references: tuple[str, ...] = ()

    @property
    def inputs(self) -> dict[str, TensorDescription]:
        """Inputs by name, in order."""
        return self.network_data_format.inputs

    @property
    def outputs(self) -> dict[str, TensorDescription]:
        """Outputs by name, in order."""
        return self.network_data_format.outputs


@dataclass(frozen=True)
class Bundle:
    """A bundle whose network was found unaltered.

    Attributes:
        folder: where it lies.
        metadata: what it says of itself.
    """

    folder: Path
    metadata: BundleMetadata

    @property
    def network(self) -> Path:
        """The ONNX file."""
        return self.folder / self.metadata.model.file

    @property
    def golden(self) -> Path | None:
        """The golden values, or None."""
        return None if self.metadata.golden is None else self.folder / self.metadata.golden.file


def is_bundle(folder: Path) -> bool:
    """Whether ``folder`` looks like a bundle: metadata beside an ONNX file."""
    return (folder / METADATA).is_file() and any(folder.glob("*.onnx"))


def find_bundles(models: Path, pipeline: str = "*") -> list[Path]:
    """Bundle folders at ``<models>/<pipeline>/networks/<name>/``, sorted by path.

    Args:
        models: the models folder.
        pipeline: name of a pipeline, or "*" for all.
    """
    return [
        folder for folder in sorted(models.glob(f"{pipeline}/{NETWORKS}/*")) if is_bundle(folder)
    ]


def read_bundle(folder: Path) -> Bundle:
    """Read and verify a bundle.

    Raises:
        BundleError: a file is missing, the metadata cannot be understood, a file name leaves
            the folder, or the network's digest is not the one that the metadata states.
    """
    try:
        metadata = BundleMetadata.model_validate_json((folder / METADATA).read_bytes())
    except FileNotFoundError:
        raise BundleError(f"bundle {folder.name}: {METADATA} is missing") from None
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()
        )
        raise BundleError(f"bundle {folder.name}: {METADATA}: {problems}") from None
    bundle = Bundle(folder, metadata)
    for file in (bundle.network, bundle.golden):
        if file is not None and (file.parent != folder or not file.is_file()):
            raise BundleError(f"bundle {folder.name}: {file.name} is missing")
    with bundle.network.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != metadata.model.sha256:
        raise BundleError(
            f"bundle {folder.name}: {bundle.network.name} has SHA-256 {digest}, "
            f"{METADATA} states {metadata.model.sha256}; install the bundle anew"
        )
    return bundle


def load_bundles(models: Path, pipeline: str) -> dict[str, Bundle]:
    """Every bundle of a pipeline by name, verified.

    Raises:
        BundleError: one of them is incomplete or altered, or two have one name.
    """
    bundles: dict[str, Bundle] = {}
    for folder in find_bundles(models, pipeline):
        bundle = read_bundle(folder)
        if bundle.metadata.name in bundles:
            raise BundleError(f"two bundles of {pipeline} are named {bundle.metadata.name}")
        bundles[bundle.metadata.name] = bundle
    return bundles
