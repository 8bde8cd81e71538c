"""Every pipeline on one device, beside its peers on the same device.

Peers are torch's own ways: its eager networks instead of ONNX Runtime, its exponential of matrices
instead of our propagator. What other programs do of this they do on the CPU alone; ``NO_PEER`` says
which, and ``python -m benchmarks`` times them there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.cest_inference import features_of, plain_perceptron
from benchmarks.diffusion_pipeline import acquisition_of
from models.cest_mt.pools import ExchangingPool, PoolModel
from models.cest_mt.propagator import exponential
from models.cest_mt.schedule import load_schedule
from models.cest_mt.signal import simulate
from models.cest_mt.specification import AMIDE_3T, MT_3T
from models.diffusion.channels import DTI
from models.diffusion.network import PriorNetwork as TorchPrior
from models.diffusion.prior import torch_network
from models.diffusion.timing import adapted_seconds, large_series
from models.superres.bundle import load_network
from models.superres.held_out import measured_study, procedural_phantom
from models.superres.network import Evidence
from models.superres.reconstruction import super_resolve
from models.superres.study import cropped
from operators.inference.bundle import load_bundles
from operators.inference.diffusion import analyse_diffusion
from operators.inference.onnx_image_session import OnnxImageSession
from operators.inference.onnx_network import Device
from operators.inference.onnx_session import CHUNK_VOXELS, OnnxSession
from operators.inference.prior_session import PriorNetwork
from operators.inference.settings import DiffusionSettings
from operators.inference.threads import single_threaded

_MODELS = Path(__file__).resolve().parents[1] / "models"
_REPEATS = 3

NO_PEER = (
    "BMCTool (cest_mt), DIPY, MRtrix3 and AMICO (diffusion) run on the CPU alone; "
    "superres has no peer"
)
"""Why other programs are missing beside a GPU."""


@dataclass(frozen=True)
class Sizes:
    """How much each pipeline is given.

    Attributes:
        voxels: of ``cest_mt``.
        fingerprints: simulated.
        diffusion: slices, rows and columns of the diffusion series.
        slice_side: rows and columns of the slice of ``superres``.
    """

    voxels: int = 500_000
    fingerprints: int = 32_768
    diffusion: tuple[int, int, int] = (60, 128, 128)
    slice_side: int = 256


@dataclass(frozen=True)
class DeviceRow:
    """One step of a pipeline on a device.

    Attributes:
        what: step and size.
        ours: seconds.
        peer: what it is compared with, on the same device.
        theirs: seconds of the peer, or None where torch cannot use the device.
    """

    what: str
    ours: float
    peer: str
    theirs: float | None


def device_rows(device: Device, sizes: Sizes = Sizes()) -> list[DeviceRow]:
    """Time the pipelines.

    Args:
        device: "cuda" or "cpu"; ours never falls back.
        sizes: of the data, which are simulated.

    Raises:
        DeviceUnavailableError: ONNX Runtime cannot use it.
    """
    torch_has_it = device == "cpu" or torch.cuda.is_available()
    peer_device = torch.device(device) if torch_has_it else None
    rows = [
        _fingerprints(device, peer_device, sizes),
        _diffusion(device, peer_device, sizes),
        _slice(device, peer_device, sizes),
    ]
    if peer_device is not None:
        rows += _simulation(peer_device, sizes)
    return rows


def _fingerprints(device: Device, peer: torch.device | None, sizes: Sizes) -> DeviceRow:
    bundles = load_bundles(_MODELS, "cest_mt")
    stages = [bundles[one.name] for one in (MT_3T, AMIDE_3T)]
    features = [features_of(bundle, sizes.voxels) for bundle in stages]
    sessions = [OnnxSession(bundle, device) for bundle in stages]

    def ours() -> None:
        found = sessions[0].predict(features[0])
        given = {quantity.name: found[quantity.name] for quantity in MT_3T.parameters}
        sessions[1].predict(features[1] | given)

    theirs = None
    if peer is not None:
        networks = [plain_perceptron(bundle).to(peer) for bundle in stages]
        inputs = [np.concatenate(list(one.values()), axis=1) for one in features]

        def eager() -> None:
            with torch.inference_mode():
                for network, values in zip(networks, inputs, strict=True):
                    for chunk in torch.from_numpy(values).split(CHUNK_VOXELS):
                        network(chunk.to(peer)).cpu()

        theirs = _best(eager, peer)
    what = f"cest_mt: MT and amide with SD, {sizes.voxels:,} voxels"
    return DeviceRow(what, _best(ours), "the layers alone in torch", theirs)


def _diffusion(device: Device, peer: torch.device | None, sizes: Sizes) -> DeviceRow:
    series = large_series(sizes.diffusion)
    acquisition = acquisition_of(series)
    prior = PriorNetwork(load_bundles(_MODELS, "diffusion"), device)
    _ = prior.session
    ours = _once(lambda: analyse_diffusion(acquisition, DiffusionSettings(), prior))
    theirs = None
    if peer is not None:
        # Its time does not depend on the weights.
        network = torch_network(TorchPrior(DTI), peer)
        theirs = adapted_seconds(series, network, peer)
    what = f"diffusion: adapted tensor maps, {' x '.join(map(str, series.signals.shape))}"
    return DeviceRow(what, ours, "network and fits in torch, without findings", theirs)


def _slice(device: Device, peer: torch.device | None, sizes: Sizes) -> DeviceRow:
    phantom = procedural_phantom((sizes.slice_side, sizes.slice_side), 3)
    study = cropped(measured_study(phantom, (3.0, 3.0)))
    session = OnnxImageSession(load_bundles(_MODELS, "superres")["superres"], device)
    with single_threaded():
        ours = _best(lambda: super_resolve(study, session.step))
    theirs = None
    if peer is not None:
        network = load_network().to(peer)

        def step(told: Evidence) -> torch.Tensor:
            with torch.inference_mode():
                return network(*(value.to(peer) for value in told)).cpu()

        with single_threaded():
            theirs = _best(lambda: super_resolve(study, step), peer)
    side = sizes.slice_side
    return DeviceRow(
        f"superres: one slice of {side} x {side}", ours, "the network in torch", theirs
    )


def _simulation(device: torch.device, sizes: Sizes) -> list[DeviceRow]:
    """What training costs: fingerprints, and the exponentials that they are made of."""
    amide = ExchangingPool(fraction=2e-3, exchange_rate=160.0, t1=1.0, t2=0.04, shift=3.5)
    semisolid = ExchangingPool(fraction=0.12, exchange_rate=30.0, t1=1.0, t2=4e-5, shift=0.0)
    t1 = torch.linspace(0.7, 1.3, sizes.fingerprints, device=device)
    pools = replace(
        PoolModel(1.0, 0.06, (amide,), semisolid), water_t1=t1, water_t2=0.06 * t1.flip(0)
    )
    schedule = load_schedule("mrf_mt_3t")
    generator = 20 * torch.randn(9, 10, 8192, generator=torch.Generator().manual_seed(0))
    generator[:9, :9].diagonal()[:] -= 60.0
    generator = generator.to(device)
    matrices = generator[:, :9].movedim(-1, 0).contiguous()
    with torch.no_grad():
        signals = _best(lambda: simulate(schedule, pools), device)
        powers = _best(lambda: exponential(generator), device)
        library = _best(lambda: torch.matrix_exp(matrices), device)
    what = f"cest_mt: simulate {sizes.fingerprints:,} fingerprints of 31 images, 3 pools"
    return [
        DeviceRow(what, signals, "none", None),
        DeviceRow("cest_mt: 8,192 exponentials of 9 x 9", powers, "torch.matrix_exp", library),
    ]


def _once(task: Callable[[], object], device: torch.device | None = None) -> float:
    began = time.perf_counter()
    task()
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def _best(task: Callable[[], object], device: torch.device | None = None) -> float:
    """Shortest of several runs, after one to warm up; s."""
    task()
    return min(_once(task, device) for _ in range(_REPEATS))
