"""Settings of the pipelines that change values; part of ``app.yaml``."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class PriorSettings(BaseModel):
    """How the generative prior of brain microstructure enters the maps.

    Attributes:
        weight: weight of the prior against the data; 0 is the fit of the data alone.
        seeds: disturbed and mirrored repetitions, of which mean and spread enter maps and SD.
        first_seed: seed of the first one; equal seeds give equal maps.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: float = Field(default=0.7, ge=0, le=100)
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


class TractSettings(BaseModel):
    """Tracking of fibres along the principal direction.

    Attributes:
        enabled: whether it is done.
        seeds_per_voxel: random places to start from in each voxel of ``seed_anisotropy``.
        most_seeds: no more seeds than this are tracked; chosen at random from all.
        seed_anisotropy: FA from which on a voxel is a start.
        stop_anisotropy: FA below which a track ends.
        largest_angle: degrees between two steps beyond which a track ends.
        step: length of a step, mm.
        shortest: tracks below this length are left out, mm.
        longest: tracks above this length are left out, mm.
        random_seed: of the places to start from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    seeds_per_voxel: int = Field(default=1, ge=1, le=64)
    most_seeds: int = Field(default=10_000, ge=1, le=1_000_000)
    seed_anisotropy: float = Field(default=0.3, gt=0, le=1)
    stop_anisotropy: float = Field(default=0.2, gt=0, le=1)
    largest_angle: float = Field(default=45.0, gt=0, le=90)
    step: float = Field(default=1.0, gt=0, le=10)
    shortest: float = Field(default=20.0, ge=0)
    longest: float = Field(default=300.0, gt=0)
    random_seed: int = Field(default=1, ge=1)

    def described(self) -> dict[str, str]:
        """What changes tracks, as text."""
        return {name: f"{value:g}" for name, value in self.model_dump(exclude={"enabled"}).items()}


class DiffusionSettings(BaseModel):
    """How diffusion series are fitted.

    Attributes:
        prior: how the generative prior enters.
        models: what is fitted beside the tensor. "auto" lets the gradient table decide; a list
            of "kurtosis" and "noddi" refuses series whose table does not support them.
        fit: fit of the data alone: "weighted" least squares (weights from an ordinary fit, as
            DIPY), or "ordinary" least squares (as the fit of Siemens scanners). The prior weighs
            the data as the weighted fit does, whatever is chosen here.
        minimum_signal: of the data's own tensor fit alone; neither the prior nor kurtosis looks
            at it. Signals below it are fitted as it, since zero has no logarithm. None
            leaves signals that are not positive out of the weighted fit, and takes the smallest
            signal above zero in the series for the ordinary fit, as Siemens scanners do.
        outlier_volumes: what becomes of volumes whose residuals stand out in a third of the
            slices or more: "keep" reports them, "drop" fits without them and reports that.
        preprocessing: what is done to the images beforehand.
        tracts: tracking of fibres through the fitted tensors.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prior: PriorSettings = PriorSettings()
    models: Literal["auto"] | tuple[Literal["kurtosis", "noddi"], ...] = "auto"
    fit: Literal["weighted", "ordinary"] = "weighted"
    minimum_signal: float | None = Field(default=None, gt=0)
    outlier_volumes: Literal["keep", "drop"] = "keep"
    preprocessing: PreprocessingSettings = PreprocessingSettings()
    tracts: TractSettings = TractSettings()


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


class GuideSettings(BaseModel):
    """What of a guide the headers do not say, or say wrongly; each value given here is used.

    Attributes:
        series_number: the series to take; None takes the finest that fits.
        sequence: its signal equation; None reads it from the headers.
        repetition_time: TR of SE, FSE and SPGR, ms.
        echo_time: TE, ms; the effective one of FSE.
        flip_angle: degrees.
        inversion_time: of MPRAGE, ms.
        shot_repetition_time: of MPRAGE, time between inversions, ms.
        echo_spacing: of MPRAGE, time between readouts, ms.
        readouts: of MPRAGE, number after each inversion.
        centre_readout: of MPRAGE, readouts before that of the centre of k-space.
        echo_train_duration: of FSE, ms.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    series_number: int | None = None
    sequence: Literal["SE", "FSE", "SPGR", "MPRAGE"] | None = None
    repetition_time: float | None = Field(default=None, gt=0)
    echo_time: float | None = Field(default=None, ge=0)
    flip_angle: float | None = Field(default=None, gt=0, le=180)
    inversion_time: float | None = Field(default=None, gt=0)
    shot_repetition_time: float | None = Field(default=None, gt=0)
    echo_spacing: float | None = Field(default=None, gt=0)
    readouts: int | None = Field(default=None, gt=0)
    centre_readout: int | None = Field(default=None, ge=0)
    echo_train_duration: float | None = Field(default=None, ge=0)


class ContrastSettings(BaseModel):
    """A weighted image to be computed from PD, T1 and T2 maps.

    Attributes:
        contrast: what it is called and labelled as.
        sequence: its signal equation; None takes SE for T1w, FLAIR for FLAIR, FSE otherwise.
        repetition_time: TR, ms.
        echo_time: TE, ms.
        inversion_time: TI, ms; of FLAIR, and of no other.
        flip_angle: degrees; of SPGR, and of no other.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    contrast: Literal["t1w", "t2w", "pdw", "flair"]
    sequence: Literal["SE", "FSE", "SPGR", "FLAIR"] | None = None
    repetition_time: float = Field(gt=0)
    echo_time: float = Field(ge=0)
    inversion_time: float | None = Field(default=None, gt=0)
    flip_angle: float | None = Field(default=None, gt=0, le=180)

    @property
    def equation(self) -> str:
        """Name of the signal equation."""
        return self.sequence or {"t1w": "SE", "flair": "FLAIR"}.get(self.contrast, "FSE")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.equation == "FLAIR") != (self.contrast == "flair"):
            raise ValueError("contrast flair and the signal equation FLAIR belong together")
        if (self.inversion_time is not None) != (self.equation == "FLAIR"):
            raise ValueError("inversion_time is needed for FLAIR, and for no other")
        if (self.flip_angle is not None) != (self.equation == "SPGR"):
            raise ValueError("flip_angle is needed for SPGR, and for no other")
        if self.echo_time >= self.repetition_time:
            raise ValueError("echo_time must be shorter than repetition_time")
        if self.inversion_time is not None and self.inversion_time >= self.repetition_time:
            raise ValueError("inversion_time must be shorter than repetition_time")
        return self


DEFAULT_CONTRASTS: dict[str, ContrastSettings] = {
    one.contrast: one
    for one in (
        ContrastSettings(contrast="t1w", repetition_time=500, echo_time=10),
        ContrastSettings(contrast="t2w", repetition_time=4000, echo_time=100),
        ContrastSettings(contrast="pdw", repetition_time=8000, echo_time=10),
        ContrastSettings(
            contrast="flair", repetition_time=9000, echo_time=100, inversion_time=2500
        ),
    )
}


class SuperresSettings(BaseModel):
    """How maps of PD, T1 and T2 are sharpened with the weighted images beside them.

    Attributes:
        t1w: of the T1-weighted guide.
        t2w: of the T2-weighted guide.
        fit_missing: whether sequence parameters that neither headers nor settings give are
            fitted to the measured maps; without it such a guide is refused.
        map_noise: SD of the noise of the measured maps over their mean in the head; it weighs
            them against the guides.
        refine: whether the result of the network is refined with the two losses.
        largest_shift: shift of a guide against the maps from which it is refused, mm.
        relaxation_rates: whether R1 and R2 maps are given too.
        contrasts: weighted images to compute from the result.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    t1w: GuideSettings = GuideSettings()
    t2w: GuideSettings = GuideSettings()
    fit_missing: bool = True
    map_noise: float = Field(default=0.01, gt=0, le=0.2)
    refine: bool = False
    largest_shift: float = Field(default=5.0, gt=0)
    relaxation_rates: bool = False
    contrasts: tuple[ContrastSettings, ...] = tuple(DEFAULT_CONTRASTS.values())

    def guide(self, weighting: str) -> GuideSettings:
        """Settings of the guide "t1w" or "t2w"."""
        return self.t1w if weighting == "t1w" else self.t2w
