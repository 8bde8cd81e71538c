"""What a protocol can tell at best: Cramér-Rao bounds of exchange parameters.

Zhao et al., "Optimal experiment design for magnetic resonance fingerprinting: Cramér-Rao bound
meets spin dynamics", IEEE Trans. Med. Imaging 38:844 (2019), doi 10.1109/TMI.2018.2873704.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd import forward_ad

from models.cest_mt.pools import ExchangingPool, PoolModel
from models.cest_mt.schedule import SaturationSchedule
from models.cest_mt.signal import simulate
from models.cest_mt.specification import AMIDE, SEMISOLID
from models.cest_mt.training_set import sampled_before_excitation

MT_PARAMETERS = ("mt_fraction", "mt_exchange_rate")
SOLUTE_PARAMETERS = ("solute_fraction", "solute_exchange_rate")
UNITS = {
    "mt_fraction": "%",
    "mt_exchange_rate": "/s",
    "solute_fraction": "%",
    "solute_exchange_rate": "/s",
}


@dataclass(frozen=True)
class Tissue:
    """Water, one solute and semisolid MT.

    Attributes:
        name: for people.
        t1: of water, ms.
        t2: of water, ms.
        mt_fraction: %.
        mt_exchange_rate: /s.
        solute_fraction: %.
        solute_exchange_rate: /s.
        solute_shift: ppm.
    """

    name: str
    t1: float
    t2: float
    mt_fraction: float
    mt_exchange_rate: float
    solute_fraction: float
    solute_exchange_rate: float
    solute_shift: float = 3.5


TISSUES = (
    Tissue("white matter", 1084.0, 69.0, 12.0, 30.0, 0.25, 200.0),
    Tissue("grey matter", 1820.0, 99.0, 6.0, 40.0, 0.25, 250.0),
)
"""T1 and T2 of Stanisz et al. (doi 10.1002/mrm.20605); exchange amid what was reported for
brain at 3 T (doi 10.1038/s42005-025-02063-8)."""


def tissue_signal(schedule: SaturationSchedule, tissue: Tissue) -> Tensor:
    """(images,) signal relative to M0, float64."""
    values = torch.tensor([getattr(tissue, name) for name in UNITS], dtype=torch.float64)
    return _signal(schedule, tissue, values)


def sensitivities(schedule: SaturationSchedule, tissue: Tissue) -> Tensor:
    """(images, 4) derivative of the signal by each parameter of ``UNITS``, in its unit.

    Exact, by forward-mode differentiation of the simulator.
    """
    values = torch.tensor([getattr(tissue, name) for name in UNITS], dtype=torch.float64)
    columns = []
    for index in range(len(values)):
        tangent = torch.zeros_like(values)
        tangent[index] = 1
        with forward_ad.dual_level():
            dual = _signal(schedule, tissue, forward_ad.make_dual(values, tangent))
            derivative = forward_ad.unpack_dual(dual).tangent
        columns.append(torch.zeros(len(dual)).double() if derivative is None else derivative)
    return torch.stack(columns, dim=1)


def cramer_rao_bounds(
    schedule: SaturationSchedule, tissue: Tissue, noise: float, unknown: Sequence[str]
) -> dict[str, float]:
    """Least standard deviation of any unbiased estimate of the unknown parameters.

    The scale of the signal (M0, coils) is always counted among the unknowns, so that the
    bounds hold whatever the normalisation. Relaxation times, B0 and B1 are taken as known.

    Args:
        schedule: what is played.
        tissue: to what.
        noise: standard deviation of each image, relative to M0.
        unknown: parameters that are estimated together; the others are known.

    Returns:
        by parameter, in its unit; infinite where the protocol cannot tell it.
    """
    columns = [list(UNITS).index(name) for name in unknown]
    derivative = sensitivities(schedule, tissue)[:, columns]
    derivative = torch.cat([derivative, tissue_signal(schedule, tissue)[:, None]], dim=1)
    length = derivative.norm(dim=0)
    if bool((length == 0).any()):
        return dict.fromkeys(unknown, float("inf"))
    # Of unit columns, the smallest singular value tells whether they can be told apart.
    _, singular, right = torch.linalg.svd(derivative / length, full_matrices=False)
    if float(singular[-1]) < 1e-9 or len(derivative) < derivative.shape[1]:
        return dict.fromkeys(unknown, float("inf"))
    spread = (right / singular[:, None]).square().sum(dim=0).sqrt() * noise / length
    return dict(zip(unknown, spread.tolist(), strict=False))


def _signal(schedule: SaturationSchedule, tissue: Tissue, values: Tensor) -> Tensor:
    mt_fraction, mt_rate, solute_fraction, solute_rate = values
    t1, t2 = tissue.t1 / 1000, tissue.t2 / 1000
    pools = PoolModel(
        water_t1=t1,
        water_t2=t2,
        solutes=(
            ExchangingPool(solute_fraction / 100, solute_rate, t1, AMIDE.t2, tissue.solute_shift),
        ),
        mt=ExchangingPool(mt_fraction / 100, mt_rate, t1, SEMISOLID.t2, 0.0),
    )
    return simulate(sampled_before_excitation(schedule), pools, dtype=torch.float64)[0]
