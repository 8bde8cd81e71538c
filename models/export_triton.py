"""Writes a Triton model repository of every network that ships.

``python -m models.export_triton FOLDER``; start the server with
``tritonserver --model-repository=FOLDER`` and set ``inference: triton://HOST`` in ``app.yaml``.

Each model is the network's ONNX file, unchanged, for Triton's ONNX Runtime backend. Its
configuration states the network's digest, so that an application of another version refuses it.
Calls of several applications are batched; one call at the usual size warms the model up.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

_MODELS = Path(__file__).parent
#: Voxels, or slices, that one run may take at most; four calls of usual size.
_LARGEST_BATCH = {"voxels": 32768, "slices": 32, "images": 16}
_WARM_UP_BATCH = {"voxels": 8192, "slices": 8, "images": 4}
_WARM_UP_LENGTH = 128
"""Rows and columns of the warm-up."""
_DELAY_MICROSECONDS = 2000


def export(folder: Path, models: Path = _MODELS) -> list[str]:
    """Write the repository.

    Args:
        folder: made when absent; models of the same name in it are replaced.
        models: folder of the bundles.

    Returns:
        Names of the models.

    Raises:
        ValueError: a network has an input without a batch as its first dimension.
    """
    names = []
    for metadata_file in sorted(models.glob("*/networks/*/metadata.json")):
        metadata = json.loads(metadata_file.read_text(encoding="utf-8"))
        model = folder / metadata["name"]
        shutil.rmtree(model, ignore_errors=True)
        (model / "1").mkdir(parents=True)
        shutil.copyfile(
            metadata_file.with_name(metadata["model"]["file"]), model / "1" / "model.onnx"
        )
        (model / "config.pbtxt").write_text(configuration(metadata), encoding="utf-8")
        names.append(metadata["name"])
    return names


def configuration(metadata: dict[str, Any]) -> str:
    """The model's ``config.pbtxt``.

    Args:
        metadata: of the bundle.
    """
    described = metadata["network_data_format"]
    batches = {one["shape"][0] for kind in described.values() for one in kind.values()}
    if len(batches) != 1 or not batches <= set(_LARGEST_BATCH):
        raise ValueError(
            f"network {metadata['name']}: the first dimension of its inputs and outputs is "
            f"{sorted(map(str, batches))}, expected one of {sorted(_LARGEST_BATCH)}"
        )
    (batch,) = batches
    warm_up = "\n".join(
        f'    inputs {{ key: "{name}" value {{ data_type: TYPE_FP32 '
        f"dims: {_dims(one, _WARM_UP_LENGTH)} zero_data: true }} }}"
        for name, one in described["inputs"].items()
    )
    return f"""name: "{metadata["name"]}"
backend: "onnxruntime"
max_batch_size: {_LARGEST_BATCH[batch]}
input [
{_nodes(described["inputs"])}
]
output [
{_nodes(described["outputs"])}
]
dynamic_batching {{ max_queue_delay_microseconds: {_DELAY_MICROSECONDS} }}
model_warmup [
  {{
    name: "usual size"
    batch_size: {_WARM_UP_BATCH[batch]}
{warm_up}
  }}
]
parameters {{ key: "sha256" value {{ string_value: "{metadata["model"]["sha256"]}" }} }}
parameters {{ key: "version" value {{ string_value: "{metadata["version"]}" }} }}
"""


def _nodes(described: dict[str, Any]) -> str:
    return ",\n".join(
        f'  {{ name: "{name}" data_type: TYPE_FP32 dims: {_dims(one, -1)} }}'
        for name, one in described.items()
    )


def _dims(described: dict[str, Any], unknown: int) -> list[int]:
    """Lengths without the batch; ``unknown`` for those that may be any."""
    return [length if isinstance(length, int) else unknown for length in described["shape"][1:]]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m models.export_triton", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", type=Path, default=_MODELS, help="folder of the bundles")
    options = parser.parse_args()
    for name in export(options.folder, options.models):
        print(options.folder / name)


if __name__ == "__main__":
    main()
