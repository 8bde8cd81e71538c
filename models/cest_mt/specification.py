"""What each shipped network of the CEST/MT fingerprint takes, gives and was trained for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """A physical quantity and the range that a network was trained on.

    Attributes:
        name: name of the quantity, as in ``operators/vocabulary/quantity.py``.
        unit: UCUM unit.
        lower: lowest value.
        upper: highest value.
        logarithmic: whether the quantity spans decades and enters by its logarithm.
    """

    name: str
    unit: str
    lower: float
    upper: float
    logarithmic: bool = False

    @property
    def span(self) -> float:
        """Width of the range, in ``unit``."""
        return self.upper - self.lower


@dataclass(frozen=True)
class FixedPool:
    """What is not estimated of an exchanging pool.

    Attributes:
        shift: chemical shift relative to water, ppm of the protocol's field strength.
        t2: s.
        t1: s; that of water where it is None.
    """

    shift: float
    t2: float
    t1: float | None = None


@dataclass(frozen=True)
class NetworkSpecification:
    """One network: its protocol, pools, inputs, parameters and size.

    Attributes:
        name: folder under ``networks/``.
        protocol: name of the saturation schedule (``protocols/<name>.yaml``), or a path.
        images: number of images of the schedule, M0 image included where it has one.
        conditions: maps that the network takes beside the signal.
        parameters: what it is for; reported with standard deviations.
        solute: constants of the CEST pool, for ``solute_fraction`` and its rate, or None.
        semisolid: constants of the semisolid pool, for ``mt_fraction`` and its rate, or None.
        nuisances: properties of the voxel that no map gives. They are drawn at random in
            training and estimated beside the parameters, for the signal residual only.
        references: publications of the method.
        width: units of each hidden layer of the estimator: as few as lose nothing, as whole
            brains pass through them.
        signal_width: the same of the signal's surrogate.
        depth: number of hidden layers.
        physics_weight: weight of the signal's residual beside the likelihood of the parameters
            in training: 0 gives means of what is possible, more draws the answer to what
            explains the signal best.
    """

    name: str
    protocol: str
    images: int
    conditions: tuple[Range, ...]
    parameters: tuple[Range, ...]
    solute: FixedPool | None = None
    semisolid: FixedPool | None = None
    nuisances: tuple[Range, ...] = ()
    references: tuple[str, ...] = ()
    width: int = 160
    signal_width: int = 256
    depth: int = 3
    physics_weight: float = 0.0

    @property
    def estimated(self) -> tuple[Range, ...]:
        """Parameters and nuisances: all that the network estimates, in its order."""
        return self.parameters + self.nuisances

    @property
    def varied(self) -> tuple[Range, ...]:
        """All that decides the signal: parameters, nuisances and conditions, in that order."""
        return self.estimated + self.conditions


T1 = Range("t1", "ms", 400.0, 4500.0, logarithmic=True)
T2 = Range("t2", "ms", 20.0, 2000.0, logarithmic=True)
B0_SHIFT = Range("b0_shift", "[ppm]", -0.8, 0.8)
B1_SCALE = Range("b1_scale", "1", 0.5, 1.5)
MT_FRACTION = Range("mt_fraction", "%", 0.0, 30.0)
MT_EXCHANGE_RATE = Range("mt_exchange_rate", "/s", 0.0, 100.0)
SOLUTE_FRACTION = Range("solute_fraction", "%", 0.0, 1.0)
SOLUTE_EXCHANGE_RATE = Range("solute_exchange_rate", "/s", 0.0, 500.0)

SEMISOLID = FixedPool(shift=0.0, t2=40e-6)
"""A Lorentzian line that stands for a super-Lorentzian of 10 µs, as published
(doi 10.1038/s42005-025-02063-8)."""

AMIDE = FixedPool(shift=3.5, t2=40e-3)
"""Amide protons, as published (doi 10.1038/s42005-025-02063-8)."""

LARGININE_AMINE = FixedPool(shift=3.0 * 2.89 / 2.99967, t2=40e-3, t1=2.8)
"""Amine protons of L-arginine, as published (doi 10.1038/s41596-025-01152-w).

The published sequence was written for 127.7153 MHz (2.99967 T), so that its 3 ppm are 383.1 Hz,
but the published analysis puts the amine at 3 ppm of the scanner's 2.89 T, 369.1 Hz. Both
frequencies are kept; with one field for both, every fraction comes out 4 % of range too low.
"""

MT_3T = NetworkSpecification(
    name="mt_3t",
    protocol="mrf_mt_3t",
    images=31,
    conditions=(T1, T2, B0_SHIFT, B1_SCALE),
    parameters=(MT_FRACTION, MT_EXCHANGE_RATE),
    semisolid=SEMISOLID,
    references=("doi:10.1038/s42005-025-02063-8", "doi:10.1038/s41551-021-00809-7"),
)
"""Semisolid MT of tissue at 3 T."""

AMIDE_3T = NetworkSpecification(
    name="amide_3t",
    protocol="mrf_amide_3t",
    images=31,
    conditions=(T1, T2, B0_SHIFT, B1_SCALE, MT_FRACTION, MT_EXCHANGE_RATE),
    parameters=(SOLUTE_FRACTION, SOLUTE_EXCHANGE_RATE),
    solute=AMIDE,
    semisolid=SEMISOLID,
    references=("doi:10.1038/s42005-025-02063-8", "doi:10.1038/s41551-021-00809-7"),
)
"""Amide protons of tissue at 3 T, given the semisolid pool."""

LARGININE_3T = NetworkSpecification(
    name="larginine_3t",
    protocol="mrf_larginine_3t",
    images=30,
    conditions=(),
    parameters=(
        Range("solute_fraction", "%", 0.01, 0.35),
        Range("solute_exchange_rate", "/s", 50.0, 1450.0),
    ),
    solute=LARGININE_AMINE,
    nuisances=(
        Range("t1", "ms", 2700.0, 3100.0),
        Range("t2", "ms", 400.0, 1300.0),
    ),
    references=("doi:10.1038/s41596-025-01152-w",),
    physics_weight=30.0,
)
"""L-arginine in water at 3 T without any map: B0 shift 0 and B1 scale 1 are assumed.

The ranges are those of the published dictionary (doi 10.1038/s41596-025-01152-w: T1 2.7-3.1 s,
T2 0.4-1.3 s, 10-115 mM, 100-1400 /s), a little wider for the parameters.
"""

BRAIN = {
    "mt_fraction": (3.0, 20.0),
    "mt_exchange_rate": (10.0, 70.0),
    "solute_fraction": (0.1, 0.4),
    "solute_exchange_rate": (30.0, 400.0),
    "t1": (700.0, 1900.0),
    "t2": (40.0, 130.0),
    "b0_shift": (-0.3, 0.3),
    "b1_scale": (0.7, 1.3),
}
"""White and grey matter at 3 T, by the literature ranges of the published method."""

SPECIFICATIONS = {s.name: s for s in (MT_3T, AMIDE_3T, LARGININE_3T)}
