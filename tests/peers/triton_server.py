"""A real Triton Inference Server that runs our networks.

The package ``nvidia-pytriton`` brings the server with its Python backend and without its ONNX
Runtime backend: a few lines of Python call ONNX Runtime in its place. They hand arrays over by
DLPack, as the backend was built for an older numpy.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from models.export_triton import export

_BACKEND = """
from pathlib import Path

import numpy
import onnxruntime
import triton_python_backend_utils as triton


class TritonPythonModel:
    def initialize(self, arguments):
        folder = Path(arguments["model_repository"]) / arguments["model_version"]
        self.session = onnxruntime.InferenceSession(
            folder / "model.onnx", providers=["CPUExecutionProvider"]
        )
        self.names = [node.name for node in self.session.get_inputs()]

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        tensors = {
            name: numpy.from_dlpack(triton.get_input_tensor_by_name(request, name))
            for name in self.names
        }
        wanted = request.requested_output_names()
        return triton.InferenceResponse(
            [
                triton.Tensor.from_dlpack(name, value)
                for name, value in zip(wanted, self.session.run(wanted, tensors))
            ]
        )
"""
#: One network of every kind; loading all of them takes long.
NETWORKS = ("mt_3t", "amide_3t", "prior_dti", "superres")


def installed() -> Path | None:
    """Folder of the server's package, or None."""
    found = importlib.util.find_spec("pytriton")
    return None if found is None or found.origin is None else Path(found.origin).parent


class TritonServer:
    """The server on a free port of the loopback interface.

    Args:
        folder: for the model repository and the log.
    """

    def __init__(self, folder: Path) -> None:
        package = installed()
        assert package is not None
        self._package = package
        self._repository = folder / "repository"
        self._backends = folder / "backends"
        self._log = folder / "log.txt"
        self._process: subprocess.Popen | None = None
        shutil.copytree(package / "tritonserver" / "backends", self._backends)
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        stub = self._backends / "python" / "triton_python_backend_stub"
        shutil.copyfile(
            package / "tritonserver" / "python_backend_stubs" / version / stub.name, stub
        )
        stub.chmod(0o755)
        for name in export(self._repository):
            model = self._repository / name
            (model / "1" / "model.py").write_text(_BACKEND)
            configuration = model / "config.pbtxt"
            configuration.write_text(
                configuration.read_text().replace('"onnxruntime"', '"python"')
                + "instance_group [ { kind: KIND_CPU } ]\n"
            )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    @property
    def address(self) -> str:
        """What ``inference`` is set to."""
        return f"triton://127.0.0.1:{self.port}"

    def start(self, wait: float = 120.0) -> None:
        """Start it and, with ``wait`` in seconds, wait until it is ready."""
        libraries = self._package.parent / "nvidia_pytriton.libs"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(self._package / "tritonserver" / "bin" / "tritonserver"),
                    f"--model-repository={self._repository}",
                    f"--backend-directory={self._backends}",
                    "--model-control-mode=explicit",
                    *(f"--load-model={name}" for name in NETWORKS),
                    f"--grpc-port={self.port}",
                    *("--grpc-address=127.0.0.1", "--allow-http=false", "--allow-metrics=false"),
                    "--pinned-memory-pool-byte-size=0",
                ],
                env=os.environ
                | {
                    "LD_LIBRARY_PATH": str(libraries),
                    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                    "OMP_NUM_THREADS": "1",
                },
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if wait:
            self._wait_until_ready(time.monotonic() + wait)

    def kill(self) -> None:
        """End it at once, as a crash would, and everything that it started."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, 9)
            self._process.wait()

    def _wait_until_ready(self, until: float) -> None:
        from tritonclient import grpc
        from tritonclient.utils import InferenceServerException

        client = grpc.InferenceServerClient(f"127.0.0.1:{self.port}")
        while time.monotonic() < until:
            assert self._process is not None
            assert self._process.poll() is None, self._log.read_text(errors="replace")[-3000:]
            with contextlib.suppress(InferenceServerException):
                if client.is_server_ready():
                    return
            time.sleep(0.2)
        raise TimeoutError(self._log.read_text(errors="replace")[-3000:])
