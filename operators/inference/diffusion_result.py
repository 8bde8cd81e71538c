"""What the fits of a diffusion series become: maps, regions, findings, and who made them."""

from __future__ import annotations

import time

import numpy as np
from highdicom import RGB_COLOR_CHANNEL_DESCRIPTOR

from operators.inference.diffusion_findings import fit_findings
from operators.inference.diffusion_segments import (
    doubtful_segments,
    halves,
    tissue_segments,
    white_and_grey,
)
from operators.inference.diffusion_series import FittedSeries
from operators.inference.midsagittal_plane import MidsagittalPlane, midsagittal_plane
from operators.inference.multi_shell_maps import KURTOSIS_MAPS, NODDI_MAPS
from operators.inference.prior_findings import (
    multi_shell_findings,
    noise_findings,
    prior_findings,
    side_finding,
)
from operators.inference.segments import regions
from operators.inference.settings import DiffusionSettings
from operators.inference.tensor_field import DiffusionAnalysis, TensorField
from operators.vocabulary.finding import Finding
from operators.vocabulary.quantity import QUANTITIES, QuantityMap
from operators.vocabulary.result import (
    Algorithm,
    ColourMap,
    PipelineResult,
    Segment,
    SegmentPair,
)
from operators.vocabulary.version import VERSION

#: Maps in the order in which results show them; each is made where the series supports it, and
#: their SD after all of them.
MAPS = (
    "b0",
    "fractional_anisotropy",
    "mean_diffusivity",
    "axial_diffusivity",
    "radial_diffusivity",
    *KURTOSIS_MAPS,
    *NODDI_MAPS,
    "diffusion_residual",
    "prior_data_share",
)
_SOURCE = "doi 10.1006/jmrb.1994.1037; weights: doi 10.1016/j.neuroimage.2006.07.001"
_PRIOR_SOURCE = "doi 10.1109/TPAMI.2021.3088914 (prior); "
# Lets the shape of the brain count beside its anisotropy.
_BRAIN_LEVEL = 0.3


def diffusion_analysis(fitted: FittedSeries, settings: DiffusionSettings) -> DiffusionAnalysis:
    """Maps, regions and findings of a fitted series.

    Args:
        fitted: the series with its fits.
        settings: how it was fitted.
    """
    began = time.perf_counter()
    series = fitted.series
    acquisition = series.acquisition
    plane = _plane(fitted)
    segments, pairs = _segments(fitted, plane)
    findings = [*series.findings, *_findings(fitted, settings, segments)]
    if series.brain is not None:
        findings.append(side_finding(plane))
    field = TensorField(
        fitted.fit.tensor,
        fitted.fit.principal,
        fitted.fit.maps["fractional_anisotropy"],
        (segments[0].volume.array > 0) & ~fitted.noise_floor,
        acquisition.geometry,
    )
    colours = acquisition.geometry.with_array(
        field.colours(), channels={RGB_COLOR_CHANNEL_DESCRIPTOR: ["R", "G", "B"]}
    )
    result = PipelineResult(
        pipeline="diffusion",
        maps=_maps(fitted),
        colour_maps=(ColourMap("colour_fa", "Colour FA", colours),),
        segments=segments,
        findings=tuple(findings),
        algorithm=_algorithm(fitted, settings),
        source=acquisition.source,
        timings={**series.seconds, "segments": time.perf_counter() - began},
        protocol=acquisition.protocol,
        pairs=pairs,
    )
    return DiffusionAnalysis(result, field, plane)


def _plane(fitted: FittedSeries) -> MidsagittalPlane | None:
    """Between the halves of the brain, by anisotropy: coils shade signals from one side."""
    series = fitted.series
    if series.brain is None:
        return None
    image = _BRAIN_LEVEL + fitted.fit.maps["fractional_anisotropy"].clip(0, 1)
    return midsagittal_plane(image, series.brain, series.acquisition.geometry)


def _findings(
    fitted: FittedSeries, settings: DiffusionSettings, segments: tuple[Segment, ...]
) -> list[Finding]:
    series, posterior = fitted.series, fitted.posterior
    with_prior = fitted.network is not None
    signals, table = series.part(fitted.volumes)
    findings: list[Finding] = []
    if posterior is not None:
        if with_prior:
            findings += prior_findings(
                posterior,
                fitted.plain,
                fitted.fit.maps,
                white_and_grey(segments),
                table,
                settings.prior,
            )
        findings += noise_findings(posterior)
    findings += multi_shell_findings(fitted.several, with_prior)
    return findings + fit_findings(fitted.fit, signals, table, segments[0].name, series.minimum)


def _segments(
    fitted: FittedSeries, plane: MidsagittalPlane | None
) -> tuple[tuple[Segment, ...], tuple[SegmentPair, ...]]:
    """Brain and its tissues, then all analysed voxels, then those not to be believed."""
    series, fit, posterior = fitted.series, fitted.fit, fitted.posterior
    geometry = series.acquisition.geometry
    found = regions(series.brain, fit.analysed, geometry)
    tissues: tuple[Segment, ...] = ()
    sides: tuple[Segment, ...] = ()
    pairs: tuple[SegmentPair, ...] = ()
    if series.brain is not None:
        tissues = tissue_segments(
            fit.maps["fractional_anisotropy"],
            fit.maps["mean_diffusivity"],
            fitted.several.maps.get("free_water_fraction"),
            series.brain & fit.analysed & ~fitted.noise_floor,
            geometry,
        )
        if plane is not None:
            sides, pairs = halves(white_and_grey(tissues), plane, geometry)
    driven = np.zeros_like(fitted.noise_floor)
    if posterior is not None and posterior.with_prior:
        driven = posterior.mask(posterior.prior_driven & ~posterior.unsupported)
    doubtful = doubtful_segments(driven & fit.analysed, fitted.noise_floor & fit.analysed, geometry)
    return (*found[:-1], *tissues, *sides, found[-1], *doubtful), pairs


def _maps(fitted: FittedSeries) -> tuple[QuantityMap, ...]:
    """Every map that there is: values first, then their SD in the same order."""
    posterior, geometry = fitted.posterior, fitted.series.acquisition.geometry
    arrays = {**fitted.fit.maps, **fitted.several.maps}
    if posterior is not None:
        arrays |= posterior.standard_deviations()
        if posterior.with_prior:
            arrays["prior_data_share"] = posterior.grid(
                np.where(posterior.unsupported, 0, posterior.data_share)
            )
    return tuple(
        QuantityMap(QUANTITIES[name], geometry.with_array(arrays[name]))
        for name in (*MAPS, *(f"{name}_sd" for name in MAPS))
        if name in arrays
    )


def _algorithm(fitted: FittedSeries, settings: DiffusionSettings) -> Algorithm:
    models, network, minimum = fitted.models, fitted.network, fitted.series.minimum
    made = ("tensor",) + ("kurtosis",) * models.kurtosis + ("NODDI",) * models.noddi
    configuration = {
        "fit": settings.fit,
        "minimum_signal": "none" if minimum is None else f"{minimum:.6g}",
        "outlier_volumes": settings.outlier_volumes,
        "models": " ".join(made),
        "prior weight": "0",
    }
    for step, wanted in settings.preprocessing.model_dump().items():
        if wanted:
            configuration[step] = "DIPY"
    digests: dict[str, str] = {}
    if network is not None:
        bundle = network.bundle
        configuration |= {
            "prior weight": f"{settings.prior.weight:g}",
            "prior seeds": f"{settings.prior.seeds} from {settings.prior.first_seed}",
            f"network {bundle.metadata.name}": bundle.metadata.version,
        }
        digests[f"{bundle.metadata.name}/{bundle.network.name}"] = bundle.metadata.model.sha256
    return Algorithm(
        name="QuantMAP diffusion",
        version=VERSION,
        model_sha256=digests,
        execution_provider=network.provider if network else "torch cpu",
        configuration=configuration,
        source=_SOURCE if network is None else _PRIOR_SOURCE + _SOURCE,
    )
