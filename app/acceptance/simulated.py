"""The simulated phantom's expectations: the tissue values that went into its two studies.

Only voxels that one tissue fills count. Each tolerance is a change that a reader would notice, and
far above the noise of the median; a wrong unit, frame, scale or network breaks it.
"""

from __future__ import annotations

import highdicom as hd
import numpy as np

from app.acceptance.expectation import Expectation
from app.demo.brain_phantom import BrainPhantom, brain_phantom

PHANTOM = "simulated brain phantom of QuantMAP (python -m app.demo)"
_PURE = 0.99
#: Quantity, attribute of the tissue, tissue, tolerance in the unit of the quantity.
_LINES = (
    ("mean_diffusivity", "diffusivity", "white matter", 0.02e-3),
    ("mean_diffusivity", "diffusivity", "lesion", 0.03e-3),
    ("mean_diffusivity", "diffusivity", "cerebrospinal fluid", 0.06e-3),
    ("mt_fraction", "mt_fraction", "white matter", 0.7),
    ("mt_fraction", "mt_fraction", "cortex", 0.7),
    ("mt_fraction", "mt_fraction", "lesion", 0.7),
    ("mt_exchange_rate", "mt_exchange_rate", "white matter", 4.0),
    ("solute_fraction", "solute_fraction", "white matter", 0.05),
    ("solute_exchange_rate", "solute_exchange_rate", "white matter", 50.0),
    ("proton_density", "proton_density", "white matter", 0.03),
    ("t1", "t1", "white matter", 30.0),
    ("t1", "t1", "lesion", 60.0),
    ("t2", "t2", "white matter", 3.0),
    ("t2", "t2", "lesion", 8.0),
)


def expectations() -> list[Expectation]:
    """What the application must find in both studies of ``python -m app.demo``."""
    phantom = brain_phantom()
    return [
        _expectation(phantom, quantity, attribute, tissue, tolerance)
        for quantity, attribute, tissue, tolerance in _LINES
    ]


def _expectation(
    phantom: BrainPhantom, quantity: str, attribute: str, tissue: str, tolerance: float
) -> Expectation:
    pure = phantom.shares[tissue] > _PURE
    volume = hd.Volume(
        array=pure.astype(np.uint8), affine=phantom.affine, coordinate_system="PATIENT"
    )
    truth = float(np.median(phantom.values(tissue, attribute)[pure]))
    return Expectation(tissue, quantity, volume, truth, tolerance)
