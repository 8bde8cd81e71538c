"""Diffusion tensor maps of one acquisition, by least squares alone.

The conventional fit: it is the data step and the baseline of the pipeline's prior.
"""

from __future__ import annotations

import time

import numpy as np
from highdicom import RGB_COLOR_CHANNEL_DESCRIPTOR

from models.diffusion.tensor_fit import MINIMUM_SIGNAL
from operators.inference.brain_mask import foreground_mask
from operators.inference.diffusion_findings import fit_findings, outlier_findings
from operators.inference.gradient_check import UNWEIGHTED_BELOW, check_gradients, shells
from operators.inference.outlier_volumes import outlier_slices, outlier_volumes
from operators.inference.pixel_check import check_pixels, repeated_volumes
from operators.inference.segments import brain_of, regions
from operators.inference.settings import DiffusionSettings
from operators.inference.tensor_field import DiffusionAnalysis, TensorField
from operators.inference.volume_fit import MAPS, fit_volume
from operators.vocabulary.acquisition import Acquisition, GradientTable, SeriesKind
from operators.vocabulary.quantity import QUANTITIES, QuantityMap
from operators.vocabulary.refusal import Refusal
from operators.vocabulary.result import Algorithm, ColourMap, PipelineResult
from operators.vocabulary.run import AcquiredStudy, PipelineOutcome
from operators.vocabulary.version import VERSION

PIPELINE = "diffusion"
_SOURCE = "doi 10.1006/jmrb.1994.1037; weights: doi 10.1016/j.neuroimage.2006.07.001"


def diffusion_outcome(study: AcquiredStudy, settings: DiffusionSettings) -> PipelineOutcome:
    """Analyse every diffusion series of a study; a refused one does not keep others from it."""
    series = [one for one in study.acquisitions if one.kind is SeriesKind.DIFFUSION]
    results, refusals = [], []
    for acquisition in series:
        try:
            results.append(analyse_diffusion(acquisition, settings).result)
        except Refusal as refusal:
            refusals.append(refusal)
    return PipelineOutcome(
        PIPELINE,
        tuple(results),
        tuple(refusals),
        idle_because="" if series else "the study holds no diffusion series that can be analysed",
    )


def analyse_diffusion(acquisition: Acquisition, settings: DiffusionSettings) -> DiffusionAnalysis:
    """Fit the diffusion tensor and make its maps: b0, MD, FA, AD, RD, residual, colour FA.

    Args:
        acquisition: a diffusion series.
        settings: how to fit.

    Raises:
        Refusal: the gradient table does not determine a tensor, a volume is empty, or pixels
            are not finite; names the series.
        TypeError: the acquisition is not a diffusion series.
    """
    table = acquisition.protocol
    if not isinstance(table, GradientTable):
        raise TypeError(f"a diffusion series has a GradientTable, got {type(table).__name__}")
    try:
        return _analyse(acquisition, table, settings)
    except Refusal as refusal:
        raise refusal.of_series(
            acquisition.source.series_instance_uid, acquisition.source.series_number
        ) from None


def _analyse(
    acquisition: Acquisition, table: GradientTable, settings: DiffusionSettings
) -> DiffusionAnalysis:
    findings = [*acquisition.findings, *check_gradients(table)]
    began = time.perf_counter()
    signals = acquisition.volume().array
    read = time.perf_counter()
    check_pixels(signals)
    findings += repeated_volumes(signals)
    image = least_weighted_image(signals, table.b_values)
    brain = brain_of(image, acquisition.geometry, acquisition.source.header)
    mask = foreground_mask(image)
    if brain is not None:
        mask |= brain
    region = mask if brain is None else brain
    minimum = _minimum_signal(signals, settings)
    masked = time.perf_counter()
    fit = fit_volume(signals, table, mask, region, settings.fit, minimum)
    numbers = shells(table.b_values)
    slices = outlier_slices(fit.bias, fit.voxels, numbers)
    volumes = outlier_volumes(fit.deviation, fit.voxels, numbers)
    findings += outlier_findings(slices, volumes, settings.outlier_volumes)
    if settings.outlier_volumes == "drop" and len(volumes):
        kept = np.setdiff1d(np.arange(acquisition.volumes), volumes)
        table = GradientTable(table.b_values[kept], table.directions[kept])
        check_gradients(table)
        signals = signals[..., kept]
        fit = fit_volume(signals, table, mask, region, settings.fit, minimum)
    fitted = time.perf_counter()
    segments = regions(brain, fit.analysed, acquisition.geometry)
    findings += fit_findings(fit, signals, table, segments[0].name, minimum)
    field = TensorField(
        fit.tensor,
        fit.principal,
        fit.maps["fractional_anisotropy"],
        segments[0].volume.array > 0,
        acquisition.geometry,
    )
    result = PipelineResult(
        pipeline=PIPELINE,
        maps=tuple(
            QuantityMap(QUANTITIES[name], acquisition.geometry.with_array(fit.maps[name]))
            for name in MAPS
        ),
        colour_maps=(
            ColourMap(
                "colour_fa",
                "Colour FA",
                acquisition.geometry.with_array(
                    field.colours(), channels={RGB_COLOR_CHANNEL_DESCRIPTOR: ["R", "G", "B"]}
                ),
            ),
        ),
        segments=segments,
        findings=tuple(findings),
        algorithm=_algorithm(settings, minimum),
        source=acquisition.source,
        timings={
            "read": read - began,
            "mask": masked - read,
            "fit": fitted - masked,
            "segments": time.perf_counter() - fitted,
        },
        protocol=acquisition.protocol,
    )
    return DiffusionAnalysis(result, field)


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


def _minimum_signal(signals: np.ndarray, settings: DiffusionSettings) -> float:
    """The signal as which smaller ones are fitted, in the unit of the series."""
    if settings.minimum_signal is not None:
        return settings.minimum_signal
    if settings.fit == "weighted":
        return MINIMUM_SIGNAL
    return min(float(plane[plane > 0].min(initial=np.inf)) for plane in signals)


def _algorithm(settings: DiffusionSettings, minimum_signal: float) -> Algorithm:
    return Algorithm(
        name="QuantMAP diffusion",
        version=VERSION,
        model_sha256={},
        execution_provider="torch cpu",
        configuration={
            "fit": settings.fit,
            "minimum_signal": f"{minimum_signal:.6g}",
            "outlier_volumes": settings.outlier_volumes,
        },
        source=_SOURCE,
    )
