"""Proton pools: water, solutes that exchange with it, and semisolid magnetisation transfer."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
import yaml

Value = float | torch.Tensor


class Lineshape(StrEnum):
    """How the semisolid pool is treated.

    ``FULL``: x, y and z, which is a Lorentzian line that also keeps coherences; the others
    are z only, with an absorption line. They are not interchangeable: fitted fractions
    differ by up to 30 %, rates by up to 50 %.
    """

    FULL = "full"
    LORENTZIAN = "lorentzian"
    GAUSSIAN = "gaussian"
    SUPER_LORENTZIAN = "super-lorentzian"


@dataclass(frozen=True)
class ExchangingPool:
    """A pool that exchanges with water; every value a number or (voxels,) tensor.

    Attributes:
        fraction: protons relative to water, 1.
        exchange_rate: from this pool to water, 1/s; the way back is ``fraction`` times this.
        t1: s.
        t2: s.
        shift: chemical shift relative to water, ppm.
    """

    fraction: Value
    exchange_rate: Value
    t1: Value
    t2: Value
    shift: Value


@dataclass(frozen=True)
class PoolModel:
    """Water and the pools that exchange with it; water's own fraction is 1.

    Attributes:
        water_t1: s, number or (voxels,).
        water_t2: s, number or (voxels,).
        solutes: CEST and rNOE pools, each with x, y and z magnetisation.
        mt: the semisolid pool, or None.
        mt_lineshape: how the semisolid pool is treated.
    """

    water_t1: Value
    water_t2: Value
    solutes: tuple[ExchangingPool, ...] = ()
    mt: ExchangingPool | None = None
    mt_lineshape: Lineshape = Lineshape.FULL

    @property
    def exchanging(self) -> tuple[ExchangingPool, ...]:
        """Solutes, then the semisolid pool if there is one."""
        return self.solutes if self.mt is None else (*self.solutes, self.mt)

    def values(self) -> list[Value]:
        """Every number or tensor of the model."""
        inner = [getattr(pool, item.name) for pool in self.exchanging for item in fields(pool)]
        return [self.water_t1, self.water_t2, *inner]


_LINESHAPES = {
    "lorentzian": Lineshape.LORENTZIAN,
    "superlorentzian": Lineshape.SUPER_LORENTZIAN,
    "gaussian": Lineshape.GAUSSIAN,
}


def read_pool_model(path: str | Path) -> PoolModel:
    """Read a pool model of the Pulseq-CEST library (``*_bmsim.yaml``).

    Args:
        path: the file; see https://github.com/kherz/pulseq-cest-library, sim-library.

    Returns:
        the pools. A pool under ``mt_pool`` is z-only with the lineshape that the file names.

    Raises:
        ValueError: the file is not such a model, or holds a B0 shift or B1 scale other than
            0 and 1, which belong to :func:`models.cest_mt.signal.simulate`.
    """
    content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    if not isinstance(content, dict) or "water_pool" not in content:
        raise ValueError(f"{path} has no 'water_pool': is it a Pulseq-CEST pool model?")
    if content.get("b0_inhom", 0) != 0 or content.get("rel_b1", 1) != 1:
        raise ValueError(
            f"{path}: 'b0_inhom' and 'rel_b1' are not properties of the pools; set them to 0 "
            "and 1 here and give b0_shift_ppm and b1_scale to the simulation"
        )
    water = content["water_pool"]
    if float(water.get("f", 1)) != 1:
        raise ValueError(f"{path}: water 'f' is {water['f']}; give all fractions relative to 1")
    solutes = tuple(
        _pool(pool, f"{path}, cest_pool {name}")
        for name, pool in (content.get("cest_pool") or {}).items()
    )
    mt, lineshape = content.get("mt_pool"), Lineshape.FULL
    if mt is not None:
        name = str(mt.get("lineshape", "none")).lower().replace("-", "").replace("_", "")
        if name not in _LINESHAPES:
            raise ValueError(
                f"{path}, mt_pool: lineshape '{mt.get('lineshape')}' is not one of "
                f"{', '.join(_LINESHAPES)}"
            )
        lineshape = _LINESHAPES[name]
    return PoolModel(
        water_t1=_relaxation_time(water, 1, f"{path}, water_pool"),
        water_t2=_relaxation_time(water, 2, f"{path}, water_pool"),
        solutes=solutes,
        mt=None if mt is None else _pool(mt, f"{path}, mt_pool"),
        mt_lineshape=lineshape,
    )


def _pool(content: dict[str, Any], place: str) -> ExchangingPool:
    missing = [key for key in ("f", "k", "dw") if key not in content]
    if missing:
        raise ValueError(f"{place}: {', '.join(missing)} missing")
    return ExchangingPool(
        fraction=float(content["f"]),
        exchange_rate=float(content["k"]),
        t1=_relaxation_time(content, 1, place),
        t2=_relaxation_time(content, 2, place),
        shift=float(content["dw"]),
    )


def _relaxation_time(content: dict[str, Any], number: int, place: str) -> float:
    """T1 or T2 in s, from ``t1`` or its inverse ``r1``."""
    if f"t{number}" in content:
        return float(content[f"t{number}"])
    if f"r{number}" in content:
        return 1 / float(content[f"r{number}"])
    raise ValueError(f"{place}: give t{number} (s) or r{number} (1/s)")
