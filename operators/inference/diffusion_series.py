"""The steps of one diffusion series: check, fit, adapt the prior, fit several shells."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from operators.inference.brain_mask import foreground_mask
from operators.inference.diffusion_findings import outlier_findings
from operators.inference.gradient_check import (
    GAUSSIAN_UP_TO,
    HIGH_B_VALUE,
    UNWEIGHTED_BELOW,
    check_gradients,
    shells,
)
from operators.inference.model_choice import (
    ChosenModels,
    choose_models,
    part_of,
    tensor_volumes,
)
from operators.inference.multi_shell_maps import MultiShellMaps, multi_shell_maps
from operators.inference.outlier_volumes import outlier_slices, outlier_volumes
from operators.inference.pixel_check import check_pixels, repeated_volumes
from operators.inference.preprocessing import preprocess
from operators.inference.prior_session import PriorNetwork, PriorSession
from operators.inference.segments import brain_of
from operators.inference.settings import DiffusionSettings
from operators.inference.tensor_posterior import (
    TensorPosterior,
    put_posterior,
    tensor_posterior,
)
from operators.inference.volume_fit import VolumeFit, fit_volume
from operators.vocabulary.acquisition import Acquisition, GradientTable
from operators.vocabulary.finding import Finding, Severity


@dataclass
class CheckedSeries:
    """A series that can be fitted.

    Attributes:
        acquisition: what was read.
        table: of the volumes that are left.
        signals: (slices, rows, columns, volumes) of them.
        brain: boolean (slices, rows, columns), or None where the series shows none.
        mask: boolean, voxels that are fitted.
        region: boolean, voxels that are judged: the brain, or all that are fitted.
        minimum: signal as which smaller ones are fitted; None leaves out what is not positive.
        findings: what was noticed.
        seconds: time of each step.
    """

    acquisition: Acquisition
    table: GradientTable
    signals: np.ndarray
    brain: np.ndarray | None
    mask: np.ndarray
    region: np.ndarray
    minimum: float | None
    findings: list[Finding]
    seconds: dict[str, float]

    def part(self, volumes: np.ndarray) -> tuple[np.ndarray, GradientTable]:
        """Signals and table of some volumes; no copy where these are all."""
        if len(volumes) == len(self.table.b_values):
            return self.signals, self.table
        return self.signals[..., volumes], part_of(self.table, volumes)


@dataclass(frozen=True)
class FittedSeries:
    """A series with all that was fitted to it.

    Attributes:
        series: the series.
        fit: tensors of every voxel; with the prior, adapted in the brain.
        volumes: indices of the volumes to which the tensor was fitted.
        plain: FA and MD of the data alone, by quantity name.
        posterior: tensors with their SD; None where no noise can be told.
        models: what was fitted beside the tensor.
        several: its maps.
        network: the prior, or None where it had no say.
    """

    series: CheckedSeries
    fit: VolumeFit
    volumes: np.ndarray
    plain: dict[str, np.ndarray]
    posterior: TensorPosterior | None
    models: ChosenModels
    several: MultiShellMaps
    network: PriorSession | None

    @property
    def noise_floor(self) -> np.ndarray:
        """Voxels of which most signals cannot be told from noise; boolean on the grid."""
        if self.posterior is None:
            return np.zeros(self.series.region.shape, dtype=bool)
        return self.posterior.mask(self.posterior.unsupported)


def fit_series(
    acquisition: Acquisition,
    table: GradientTable,
    settings: DiffusionSettings,
    prior: PriorNetwork,
) -> FittedSeries:
    """Fit everything to one series that its gradient table supports.

    Args:
        acquisition: a diffusion series.
        table: its gradient table.
        settings: what is fitted, and how.
        prior: the network, loaded when it is needed.

    Raises:
        Refusal: as said in ``analyse_diffusion``, without the name of the series.
    """
    findings = [*acquisition.findings, *check_gradients(table)]
    # What was asked for and cannot be is refused before pixels are read.
    choose_models(table, settings, with_prior=settings.prior.weight > 0)
    series = _read(acquisition, table, settings, findings)
    began = time.perf_counter()
    fit, volumes = _fit(series, settings)
    fitted = time.perf_counter()
    network = _network(series, settings, prior)
    plain = {name: fit.maps[name].copy() for name in ("fractional_anisotropy", "mean_diffusivity")}
    posterior = _posterior(series, volumes, settings, network)
    if posterior is not None and network is not None:
        put_posterior(fit, posterior)
    adapted = time.perf_counter()
    models = choose_models(series.table, settings, network is not None)
    series.findings += models.findings
    several = MultiShellMaps()
    if posterior is not None and len(models.volumes):
        several = multi_shell_maps(
            series.signals,
            series.table,
            series.region,
            acquisition.geometry,
            models,
            settings.prior,
            network,
            posterior.noise,
        )
    series.seconds |= {
        "fit": fitted - began,
        "prior": adapted - fitted,
        "several shells": time.perf_counter() - adapted,
    }
    return FittedSeries(series, fit, volumes, plain, posterior, models, several, network)


def least_weighted_image(signals: np.ndarray, b_values: np.ndarray) -> np.ndarray:
    """Mean of the unweighted volumes, or of the lowest shell where there are none.

    Args:
        signals: (slices, rows, columns, volumes).
        b_values: (volumes,) s/mm².

    Returns:
        float32 (slices, rows, columns).
    """
    least = b_values < UNWEIGHTED_BELOW
    if not least.any():
        least = shells(b_values) == 0
    image = np.zeros(signals.shape[:3], np.float32)
    for index in np.flatnonzero(least):
        image += signals[..., index]
    return image / np.float32(np.count_nonzero(least))


def _read(
    acquisition: Acquisition,
    table: GradientTable,
    settings: DiffusionSettings,
    findings: list[Finding],
) -> CheckedSeries:
    """Pixels, checked and preprocessed, and where the brain is."""
    began = time.perf_counter()
    signals = acquisition.volume().array
    seconds = {"read": time.perf_counter() - began}
    began = time.perf_counter()
    check_pixels(signals)
    findings += repeated_volumes(signals)
    image = least_weighted_image(signals, table.b_values)
    brain = brain_of(image, acquisition.geometry, acquisition.source.header)
    mask = foreground_mask(image)
    if brain is not None:
        mask |= brain
    seconds["mask"] = time.perf_counter() - began
    began = time.perf_counter()
    signals, table, done = preprocess(
        signals, table, mask, acquisition.geometry, settings.preprocessing
    )
    if done:
        seconds["preprocessing"] = time.perf_counter() - began
    return CheckedSeries(
        acquisition=acquisition,
        table=table,
        signals=signals,
        brain=brain,
        mask=mask,
        region=mask if brain is None else brain,
        minimum=_minimum_signal(signals, settings),
        findings=findings + done,
        seconds=seconds,
    )


def _fit(series: CheckedSeries, settings: DiffusionSettings) -> tuple[VolumeFit, np.ndarray]:
    """The plain fit; outliers are judged on all shells, the tensor is that of the lower ones.

    Returns:
        The fit, and indices of the volumes to which the tensor was fitted.
    """

    def fit(signals: np.ndarray, table: GradientTable) -> VolumeFit:
        return fit_volume(signals, table, series.mask, series.region, settings.fit, series.minimum)

    found = fit(series.signals, series.table)
    numbers = shells(series.table.b_values)
    slices = outlier_slices(found.bias, found.voxels, numbers)
    volumes = outlier_volumes(found.deviation, found.voxels, numbers)
    series.findings += outlier_findings(slices, volumes, settings.outlier_volumes)
    dropped = settings.outlier_volumes == "drop" and len(volumes) > 0
    if dropped:
        kept = np.setdiff1d(np.arange(len(numbers)), volumes)
        series.table = part_of(series.table, kept)
        check_gradients(series.table)
        series.signals = series.signals[..., kept]
    low = tensor_volumes(series.table)
    if len(low) == len(series.table.b_values):
        return (fit(series.signals, series.table) if dropped else found), low
    series.findings = [one for one in series.findings if one.code != HIGH_B_VALUE]
    series.findings.append(
        Finding(
            "tensor-of-lower-shells",
            f"The tensor is fitted to the {len(low)} of {len(series.table.b_values)} volumes up "
            f"to b {GAUSSIAN_UP_TO:.0f} s/mm².",
            Severity.INFORMATION,
        )
    )
    return fit(*series.part(low)), low


def _network(
    series: CheckedSeries, settings: DiffusionSettings, prior: PriorNetwork
) -> PriorSession | None:
    """The prior where it applies; a finding says where it does not."""
    if settings.prior.weight == 0:
        return None
    if series.brain is None:
        why = "it knows brains only, and the series shows none"
    elif not (series.table.b_values < UNWEIGHTED_BELOW).any():
        why = "it needs a volume without diffusion weighting"
    else:
        return prior.session
    series.findings.append(
        Finding(
            "prior-not-used",
            f"The prior is not used: {why}. Maps are those of the data alone.",
            Severity.INFORMATION,
        )
    )
    return None


def _posterior(
    series: CheckedSeries,
    volumes: np.ndarray,
    settings: DiffusionSettings,
    network: PriorSession | None,
) -> TensorPosterior | None:
    """Tensors with their SD; None where no noise can be told: no signal, nothing unweighted."""
    without = series.table.b_values < UNWEIGHTED_BELOW
    if not series.region.any() or not without.any():
        return None
    if not np.median(series.signals[series.region][:, without]) > 0:
        return None
    signals, table = series.part(volumes)
    return tensor_posterior(
        signals, table, series.region, series.acquisition.geometry, settings.prior, network
    )


def _minimum_signal(signals: np.ndarray, settings: DiffusionSettings) -> float | None:
    """The signal as which smaller ones are fitted, in the unit of the series."""
    if settings.minimum_signal is not None:
        return settings.minimum_signal
    if settings.fit == "weighted":
        return None
    return min(float(plane[plane > 0].min(initial=np.inf)) for plane in signals)
