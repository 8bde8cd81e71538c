"""ONNX networks as a model type of the MONAI Deploy App SDK.

The SDK 4.0.0 knows no ONNX model: a folder of them loads as an empty ``NamedModel``. Register
this class first: ``Model.register([OnnxModel, ...])`` before the application context is made.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai.deploy.core import Model

from operators.inference.bundle import Bundle, find_bundles, is_bundle, read_bundle
from operators.inference.onnx_network import Device
from operators.inference.onnx_session import OnnxSession


class OnnxModel(Model):
    """A bundle, or a models folder that holds bundles.

    Of a models folder, ``items()`` are one ``OnnxModel`` per bundle, named
    ``<pipeline>/<network>``; of a bundle, the model itself. The network is loaded when
    it is first called or ``session`` is asked for.

    Args:
        path: bundle folder, or folder with ``<pipeline>/networks/<name>/`` bundles.
        name: name of the model; the folder's name where it is not given.

    Raises:
        BundleError: a bundle is incomplete or altered.
    """

    model_type = "onnx"

    def __init__(self, path: str, name: str = "") -> None:
        super().__init__(str(path), name)
        self._bundle: Bundle | None = None
        self._sessions: dict[Device, OnnxSession] = {}
        folder = Path(path)
        if is_bundle(folder):
            self._bundle = read_bundle(folder)
            return
        self._items.clear()
        for below in find_bundles(folder):
            item = OnnxModel(str(below), f"{below.parents[1].name}/{below.name}")
            self._items[item.name] = item

    @classmethod
    def accept(cls, path: str) -> tuple[bool, str]:
        """Whether ``path`` is a bundle or a models folder that holds one."""
        folder = Path(path)
        accepted = is_bundle(folder) or bool(find_bundles(folder))
        return accepted, cls.model_type if accepted else ""

    @property
    def bundle(self) -> Bundle:
        """The verified bundle.

        Raises:
            ValueError: this is a folder of several models.
        """
        if self._bundle is None:
            raise ValueError(f"{self.name} holds the models {', '.join(self._items)}; choose one")
        return self._bundle

    def bundles(self, pipeline: str) -> dict[str, Bundle]:
        """The bundles of a pipeline in this models folder, by network name."""
        return {
            item.bundle.metadata.name: item.bundle
            for name, item in self._items.items()
            if isinstance(item, OnnxModel) and name.startswith(f"{pipeline}/")
        }

    def session(self, device: Device = "auto") -> OnnxSession:
        """The running network on ``device``, loaded once."""
        if device not in self._sessions:
            self._sessions[device] = OnnxSession(self.bundle, device)
        return self._sessions[device]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """``OnnxSession.predict`` on the best device at hand."""
        return self.session().predict(*args, **kwargs)
