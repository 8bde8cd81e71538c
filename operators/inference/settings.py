"""Settings of the pipelines that change values; part of ``app.yaml``."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class PriorSettings(BaseModel):
    """How the generative prior of brain microstructure enters the maps.

    Attributes:
        weight: weight of the prior against the data; 0 is the fit of the data alone.
        seeds: disturbed and mirrored repetitions, of which mean and spread enter maps and SD.
        first_seed: seed of the first one; equal seeds give equal maps.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: float = Field(default=1.0, ge=0, le=100)
    seeds: int = Field(default=4, ge=1, le=64)
    first_seed: int = Field(default=0, ge=0, lt=2**31)


class PreprocessingSettings(BaseModel):
    """What is done to the images before they are fitted; all of it changes values.

    Attributes:
        denoise: Marchenko-Pastur principal component analysis (DIPY).
        unring: removal of Gibbs ringing by subvoxel shifts (DIPY).
        motion_correction: volumes are registered to the first one without weighting by
            rotations and shifts, and gradient directions turned with them (DIPY).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    denoise: bool = False
    unring: bool = False
    motion_correction: bool = False


class DiffusionSettings(BaseModel):
    """How diffusion series are fitted.

    Attributes:
        prior: how the generative prior enters.
        models: what is fitted beside the tensor. "auto" lets the gradient table decide; a list
            of "kurtosis" and "noddi" refuses series whose table does not support them.
        fit: fit of the data alone: "weighted" least squares (weights from an ordinary fit, as
            DIPY), or "ordinary" least squares (as the fit of Siemens scanners). The prior weighs
            the data as the weighted fit does, whatever is chosen here.
        minimum_signal: signals below it are fitted as it, since zero has no logarithm. None
            takes 0.0001 for the weighted fit, as DIPY does, and the smallest signal above
            zero in the series for the ordinary fit, as Siemens scanners do.
        outlier_volumes: what becomes of volumes whose residuals stand out in a third of the
            slices or more: "keep" reports them, "drop" fits without them and reports that.
        preprocessing: what is done to the images beforehand.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prior: PriorSettings = PriorSettings()
    models: Literal["auto"] | tuple[Literal["kurtosis", "noddi"], ...] = "auto"
    fit: Literal["weighted", "ordinary"] = "weighted"
    minimum_signal: float | None = Field(default=None, gt=0)
    outlier_volumes: Literal["keep", "drop"] = "keep"
    preprocessing: PreprocessingSettings = PreprocessingSettings()


class CestMtSettings(BaseModel):
    """What stands in for maps that a study with saturation series lacks.

    Each substitution is a quality finding. Without a value, a series that needs the map is
    refused. T1 and T2 are those of white matter at 3 T (Stanisz et al., Magn. Reson. Med.
    54:507 (2005), doi 10.1002/mrm.20605).

    Attributes:
        t1: longitudinal relaxation time where there is no T1 map, ms.
        t2: transverse relaxation time where there is no T2 map, ms.
        b0_shift: shift of the static field where there is no B0 map, ppm.
        b1_scale: transmit field relative to nominal where there is no B1 map.
        mt_fraction: semisolid proton fraction for amide series without an MT series, %.
        mt_exchange_rate: semisolid exchange rate for amide series without an MT series, /s.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    t1: float | None = Field(default=1084.0, gt=0)
    t2: float | None = Field(default=69.0, gt=0)
    b0_shift: float | None = 0.0
    b1_scale: float | None = Field(default=1.0, gt=0)
    mt_fraction: float | None = Field(default=None, ge=0, le=100)
    mt_exchange_rate: float | None = Field(default=None, gt=0)

    def constant(self, quantity: str) -> float | None:
        """The value that stands in for a missing map of ``quantity``, or None."""
        return self.model_dump().get(quantity)
