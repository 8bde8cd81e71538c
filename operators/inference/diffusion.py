"""The diffusion series of a study, each analysed for itself."""

from __future__ import annotations

from collections.abc import Mapping

from operators.inference.bundle import Bundle
from operators.inference.diffusion_result import diffusion_analysis
from operators.inference.diffusion_series import fit_series
from operators.inference.onnx_network import Device
from operators.inference.prior_session import PriorNetwork
from operators.inference.settings import DiffusionSettings
from operators.inference.tensor_field import DiffusionAnalysis
from operators.inference.tractography import with_tracts
from operators.vocabulary.acquisition import Acquisition, GradientTable, SeriesKind
from operators.vocabulary.refusal import Refusal
from operators.vocabulary.run import AcquiredStudy, PipelineOutcome

PIPELINE = "diffusion"


def diffusion_outcome(
    study: AcquiredStudy,
    bundles: Mapping[str, Bundle],
    settings: DiffusionSettings,
    device: Device = "auto",
) -> PipelineOutcome:
    """Analyse every diffusion series of a study; a refused one does not keep others from it.

    Args:
        study: the whole input.
        bundles: networks of the pipeline, by name.
        settings: what is fitted, and how.
        device: where the network runs; "cuda" never falls back.

    Raises:
        BundleError: the network does not do what its metadata says.
        DeviceUnavailableError: ``device`` is "cuda" and cannot be used.
    """
    series = [one for one in study.acquisitions if one.kind is SeriesKind.DIFFUSION]
    prior = PriorNetwork(bundles, device)
    results, refusals = [], []
    for acquisition in series:
        try:
            analysis = analyse_diffusion(acquisition, settings, prior)
            results.append(with_tracts(analysis, settings.tracts))
        except Refusal as refusal:
            refusals.append(refusal)
    return PipelineOutcome(
        PIPELINE,
        tuple(results),
        tuple(refusals),
        idle_because="" if series else "the study holds no diffusion series that can be analysed",
    )


def analyse_diffusion(
    acquisition: Acquisition, settings: DiffusionSettings, prior: PriorNetwork
) -> DiffusionAnalysis:
    """Make every map that the gradient table of a series supports.

    Args:
        acquisition: a diffusion series.
        settings: what is fitted, and how.
        prior: the network, loaded when it is needed: for a brain, and a weight above 0.

    Raises:
        Refusal: the gradient table does not determine a tensor or a model that was asked for, a
            volume is empty, pixels are not finite, or there is no network; names the series.
        TypeError: the acquisition is not a diffusion series.
    """
    table = acquisition.protocol
    if not isinstance(table, GradientTable):
        raise TypeError(f"a diffusion series has a GradientTable, got {type(table).__name__}")
    try:
        return diffusion_analysis(fit_series(acquisition, table, settings, prior), settings)
    except Refusal as refusal:
        raise refusal.of_series(
            acquisition.source.series_instance_uid, acquisition.source.series_number
        ) from None
