"""The table of quantities: name, DICOM code, UCUM unit, display window, valid range.

Codes are DCM codes of PS3.16 where one exists. No standard code exists for the parameters of
NODDI, exchange parameters, pool fractions, B0 shift, B1 scale, Lorentzian amplitudes, fit
residuals, standard deviations as quantities of their own, and the asymmetry of magnetisation
transfer (113098 is its ratio): these carry the private scheme ``99QUANTMAP``, declared in Coding
Scheme Identification of every object and listed in ``docs/conformance.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

import highdicom as hd
from pydicom.sr.coding import Code

PRIVATE_SCHEME = "99QUANTMAP"
PRIVATE_SCHEME_NAME = "QuantMAP private codes"

_NO_UNITS = Code("1", "UCUM", "no units")
_PERCENT = Code("%", "UCUM", "percent")
_PER_SECOND = Code("/s", "UCUM", "per second")
_MILLISECOND = Code("ms", "UCUM", "millisecond")
_DIFFUSIVITY = Code("mm2/s", "UCUM", "square millimeter per second")
_PPM = Code("[ppm]", "UCUM", "parts per million")
_SINGLE_TENSOR = Code("113231", "DCM", "Single Tensor")
_KURTOSIS = Code("113222", "DCM", "DKI")


@dataclass(frozen=True)
class Quantity:
    """A physical quantity that a map can hold.

    Attributes:
        name: snake-case name used in code, configuration and file names.
        label: short text for pictures and LUT Label (SH, at most 16 characters).
        code: what is measured (DCM or 99QUANTMAP).
        unit: UCUM unit of the stored values.
        window: (lowest, highest) value shown by default, in ``unit``.
        valid_range: (lowest, highest) value that is physically possible, in ``unit``;
            values outside are reported, never clipped.
        viewer_step: value of one stored unit in the integer MR Image copy, in ``unit``.
        colour_map: matplotlib or registered colour map, perceptually uniform.
        model: what is fitted to obtain it (CID 7261, 7273), where a code exists.
        arbitrary_scale: the scale differs from scan to scan (a signal): the window and the
            viewer step follow the values, and ``window`` and ``viewer_step`` are their least.
    """

    name: str
    label: str
    code: Code
    unit: Code
    window: tuple[float, float]
    valid_range: tuple[float, float]
    viewer_step: float
    colour_map: str = "viridis"
    model: Code | None = None
    arbitrary_scale: bool = False


@dataclass(frozen=True)
class QuantityMap:
    """Values of one quantity on a grid.

    Attributes:
        quantity: what the values are.
        volume: float32, (slices, rows, columns), LPS affine in mm; every value finite.
        background: value that stands for "not computed" outside the analysed voxels.
    """

    quantity: Quantity
    volume: hd.Volume
    background: float = 0.0


def _private(value: str, meaning: str) -> Code:
    return Code(value, PRIVATE_SCHEME, meaning)


def _dcm(value: str, meaning: str) -> Code:
    return Code(value, "DCM", meaning)


_TABLE = (
    Quantity("b0", "b0", _private("B0SIGNAL", "Fitted signal without diffusion weighting"),
             _NO_UNITS, (0, 1000), (0, 1e9), 1.0, "gray", arbitrary_scale=True),
    Quantity("mean_diffusivity", "MD", _dcm("113202", "Mean Diffusivity"),
             _DIFFUSIVITY, (0, 3e-3), (0, 5e-3), 1e-6, "magma", _SINGLE_TENSOR),
    Quantity("fractional_anisotropy", "FA", _dcm("110808", "Fractional Anisotropy"),
             _NO_UNITS, (0, 1), (0, 1), 1e-3, "gray", _SINGLE_TENSOR),
    Quantity("axial_diffusivity", "AD", _dcm("113204", "Axial Diffusivity"),
             _DIFFUSIVITY, (0, 3e-3), (0, 8e-3), 1e-6, "magma", _SINGLE_TENSOR),
    Quantity("radial_diffusivity", "RD", _dcm("113203", "Radial Diffusivity"),
             _DIFFUSIVITY, (0, 3e-3), (0, 5e-3), 1e-6, "magma", _SINGLE_TENSOR),
    Quantity("diffusion_residual", "DWI residual",
             _private("DWIRESID", "Root mean square residual of diffusion fit relative to b0"),
             _PERCENT, (0, 10), (0, 1e4), 0.01, "cividis"),
    Quantity("mean_kurtosis", "MK", _dcm("113205", "Mean Kurtosis"),
             _NO_UNITS, (0, 2), (0, 10), 1e-3, "magma", _KURTOSIS),
    Quantity("axial_kurtosis", "AK", _dcm("113208", "Axial Kurtosis"),
             _NO_UNITS, (0, 2), (0, 10), 1e-3, "magma", _KURTOSIS),
    Quantity("radial_kurtosis", "RK", _dcm("113207", "Radial Kurtosis"),
             _NO_UNITS, (0, 3), (0, 10), 1e-3, "magma", _KURTOSIS),
    Quantity("neurite_density", "NDI", _private("NDI", "Neurite density index of NODDI"),
             _NO_UNITS, (0, 1), (0, 1), 1e-3, "viridis"),
    Quantity("orientation_dispersion", "ODI",
             _private("ODI", "Orientation dispersion index of NODDI"),
             _NO_UNITS, (0, 1), (0, 1), 1e-3, "viridis"),
    Quantity("free_water_fraction", "FWF", _private("FWF", "Free water fraction of NODDI"),
             _NO_UNITS, (0, 1), (0, 1), 1e-3, "viridis"),
    Quantity("prior_data_share", "Data share",
             _private("DATASHARE", "Share of the data in the precision of the diffusion tensor"),
             _NO_UNITS, (0, 1), (0, 1), 1e-3, "cividis"),
    Quantity("b0_sd", "b0 SD",
             _private("B0SIGNALSD", "Standard deviation of signal without diffusion weighting"),
             _NO_UNITS, (0, 50), (0, 1e9), 0.01, "cividis", arbitrary_scale=True),
    Quantity("mean_diffusivity_sd", "MD SD",
             _private("MDSD", "Standard deviation of mean diffusivity"),
             _DIFFUSIVITY, (0, 1e-4), (0, 0.1), 1e-7, "cividis", _SINGLE_TENSOR),
    Quantity("fractional_anisotropy_sd", "FA SD",
             _private("FASD", "Standard deviation of fractional anisotropy"),
             _NO_UNITS, (0, 0.1), (0, 100), 1e-4, "cividis", _SINGLE_TENSOR),
    Quantity("axial_diffusivity_sd", "AD SD",
             _private("ADSD", "Standard deviation of axial diffusivity"),
             _DIFFUSIVITY, (0, 2e-4), (0, 0.1), 1e-7, "cividis", _SINGLE_TENSOR),
    Quantity("radial_diffusivity_sd", "RD SD",
             _private("RDSD", "Standard deviation of radial diffusivity"),
             _DIFFUSIVITY, (0, 2e-4), (0, 0.1), 1e-7, "cividis", _SINGLE_TENSOR),
    Quantity("mean_kurtosis_sd", "MK SD",
             _private("MKSD", "Standard deviation of mean diffusional kurtosis"),
             _NO_UNITS, (0, 0.3), (0, 100), 1e-3, "cividis", _KURTOSIS),
    Quantity("axial_kurtosis_sd", "AK SD",
             _private("AKSD", "Standard deviation of axial diffusional kurtosis"),
             _NO_UNITS, (0, 0.3), (0, 100), 1e-3, "cividis", _KURTOSIS),
    Quantity("radial_kurtosis_sd", "RK SD",
             _private("RKSD", "Standard deviation of radial diffusional kurtosis"),
             _NO_UNITS, (0, 0.5), (0, 100), 1e-3, "cividis", _KURTOSIS),
    Quantity("neurite_density_sd", "NDI SD",
             _private("NDISD", "Standard deviation of neurite density index"),
             _NO_UNITS, (0, 0.2), (0, 1), 1e-3, "cividis"),
    Quantity("orientation_dispersion_sd", "ODI SD",
             _private("ODISD", "Standard deviation of orientation dispersion index"),
             _NO_UNITS, (0, 0.2), (0, 1), 1e-3, "cividis"),
    Quantity("free_water_fraction_sd", "FWF SD",
             _private("FWFSD", "Standard deviation of free water fraction"),
             _NO_UNITS, (0, 0.2), (0, 1), 1e-3, "cividis"),
    Quantity("mt_fraction", "f_ss", _private("FSS", "Semisolid MT proton fraction"),
             _PERCENT, (0, 30), (0, 30), 0.01, "viridis"),
    Quantity("mt_exchange_rate", "k_ssw", _private("KSSW", "Semisolid MT exchange rate"),
             _PER_SECOND, (0, 100), (0, 100), 0.1, "viridis"),
    Quantity("solute_fraction", "f_s", _private("FS", "CEST solute proton fraction"),
             _PERCENT, (0, 0.7), (0, 5), 1e-3, "viridis"),
    Quantity("solute_exchange_rate", "k_sw", _private("KSW", "CEST solute exchange rate"),
             _PER_SECOND, (0, 500), (0, 1500), 1.0, "viridis"),
    Quantity("mt_fraction_sd", "f_ss SD",
             _private("FSSSD", "Standard deviation of semisolid MT proton fraction"),
             _PERCENT, (0, 5), (0, 100), 0.01, "cividis"),
    Quantity("mt_exchange_rate_sd", "k_ssw SD",
             _private("KSSWSD", "Standard deviation of semisolid MT exchange rate"),
             _PER_SECOND, (0, 30), (0, 1e3), 0.01, "cividis"),
    Quantity("solute_fraction_sd", "f_s SD",
             _private("FSSOLSD", "Standard deviation of CEST solute proton fraction"),
             _PERCENT, (0, 0.3), (0, 100), 1e-4, "cividis"),
    Quantity("solute_exchange_rate_sd", "k_sw SD",
             _private("KSWSD", "Standard deviation of CEST solute exchange rate"),
             _PER_SECOND, (0, 200), (0, 1e4), 0.1, "cividis"),
    Quantity("saturation_residual", "Signal residual",
             _private("SATRESID", "Root mean square residual of saturation signal fit"),
             _PERCENT, (0, 10), (0, 1e4), 0.01, "cividis"),
    Quantity("t1", "T1", _dcm("113063", "T1"),
             _MILLISECOND, (0, 3000), (0, 10000), 1.0, "lipari"),
    Quantity("t2", "T2", _dcm("113065", "T2"),
             _MILLISECOND, (0, 200), (0, 5000), 1.0, "navia"),
    Quantity("proton_density", "PD", _dcm("113058", "Proton Density"),
             _NO_UNITS, (0, 1.2), (0, 10), 1e-3, "gray"),
    Quantity("r1", "R1", _dcm("126393", "R1"),
             _PER_SECOND, (0, 2), (0, 50), 1e-3, "lipari"),
    Quantity("r2", "R2", _dcm("126394", "R2"),
             _PER_SECOND, (0, 25), (0, 500), 0.01, "navia"),
    Quantity("map_consistency", "Consistency",
             _private("MAPCONS", "Measured map minus truncated result, in SD of the measurement"),
             _NO_UNITS, (0, 5), (0, 1e4), 0.01, "cividis"),
    Quantity("t1w_residual", "T1w residual",
             _private("T1WRESID", "T1w guide minus image synthesised from the result"),
             _PERCENT, (0, 20), (0, 1e4), 0.01, "cividis"),
    Quantity("t2w_residual", "T2w residual",
             _private("T2WRESID", "T2w guide minus image synthesised from the result"),
             _PERCENT, (0, 20), (0, 1e4), 0.01, "cividis"),
    Quantity("disagreement", "Disagreement",
             _private("DISAGREE", "Local disagreement of guides and measured maps, in SD"),
             _NO_UNITS, (0, 10), (0, 1e4), 0.01, "cividis"),
    Quantity("b0_shift", "dB0", _private("DB0", "Shift of the static magnetic field"),
             _PPM, (-0.5, 0.5), (-20, 20), 1e-3, "vik"),
    Quantity("b1_scale", "rB1", _private("RB1", "Transmit field relative to nominal"),
             _NO_UNITS, (0.5, 1.5), (0, 3), 1e-3, "cividis"),
    Quantity("b0_shift_sd", "dB0 SD",
             _private("DB0SD", "Standard deviation of shift of the static magnetic field"),
             _PPM, (0, 0.05), (0, 100), 1e-4, "cividis"),
    Quantity("b1_scale_sd", "rB1 SD",
             _private("RB1SD", "Standard deviation of relative transmit field"),
             _NO_UNITS, (0, 0.05), (0, 100), 1e-4, "cividis"),
    Quantity("mtr_asymmetry", "APTw",
             _private("MTRASYM", "MTR asymmetry at 3.5 ppm, APT-weighted"),
             _PERCENT, (-5, 5), (-200, 200), 0.01, "vik"),
    Quantity("water_amplitude", "L water",
             _private("LWATER", "Lorentzian amplitude of direct water saturation"),
             _PERCENT, (0, 100), (0, 100), 0.1, "viridis"),
    Quantity("amide_amplitude", "L amide",
             _private("LAMIDE", "Lorentzian amplitude of amide CEST at 3.5 ppm"),
             _PERCENT, (0, 10), (0, 100), 0.01, "viridis"),
    Quantity("rnoe_amplitude", "L rNOE",
             _private("LRNOE", "Lorentzian amplitude of relayed NOE at -3.5 ppm"),
             _PERCENT, (0, 20), (0, 100), 0.01, "viridis"),
    Quantity("mt_amplitude", "L MT",
             _private("LMT", "Lorentzian amplitude of semisolid MT"),
             _PERCENT, (0, 30), (0, 100), 0.01, "viridis"),
    Quantity("water_amplitude_sd", "L water SD",
             _private("LWATERSD", "Standard deviation of Lorentzian water amplitude"),
             _PERCENT, (0, 5), (0, 1e4), 0.01, "cividis"),
    Quantity("amide_amplitude_sd", "L amide SD",
             _private("LAMIDESD", "Standard deviation of Lorentzian amide amplitude"),
             _PERCENT, (0, 5), (0, 1e4), 0.01, "cividis"),
    Quantity("rnoe_amplitude_sd", "L rNOE SD",
             _private("LRNOESD", "Standard deviation of Lorentzian relayed NOE amplitude"),
             _PERCENT, (0, 5), (0, 1e4), 0.01, "cividis"),
    Quantity("mt_amplitude_sd", "L MT SD",
             _private("LMTSD", "Standard deviation of Lorentzian semisolid MT amplitude"),
             _PERCENT, (0, 5), (0, 1e4), 0.01, "cividis"),
)  # fmt: skip

QUANTITIES: dict[str, Quantity] = {quantity.name: quantity for quantity in _TABLE}
