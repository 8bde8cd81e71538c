"""The saturation series of a study, each analysed as its protocol says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from models.cest_mt.schedule import Analysis, SaturationSchedule
from operators.inference.bundle import Bundle
from operators.inference.fingerprint import analyse_fingerprint
from operators.inference.network_choice import choose_networks
from operators.inference.onnx_network import Device
from operators.inference.settings import CestMtSettings
from operators.inference.wasabi import analyse_wasabi
from operators.inference.z_spectrum import analyse_z_spectrum
from operators.vocabulary.acquisition import Acquisition, SeriesKind
from operators.vocabulary.refusal import Refusal
from operators.vocabulary.result import PipelineResult
from operators.vocabulary.run import AcquiredStudy, PipelineOutcome

PIPELINE = "cest_mt"


def cest_mt_outcome(
    study: AcquiredStudy,
    bundles: Mapping[str, Bundle],
    settings: CestMtSettings,
    device: Device = "auto",
) -> PipelineOutcome:
    """Analyse every saturation series of a study; a refused one does not keep others from it.

    WASABI series come first, as their B0 and B1 maps serve the others; series of which the
    network takes another network's result come last.
    """
    series = [one for one in study.acquisitions if one.kind is SeriesKind.SATURATION]
    maps = [one for one in study.acquisitions if one.kind is SeriesKind.QUANTITY_MAP]
    results: list[PipelineResult] = []
    refusals: list[Refusal] = []
    for acquisition in sorted(series, key=lambda one: _turn(one, bundles)):
        try:
            results.append(
                analyse_saturation(acquisition, maps, bundles, settings, device, _inputs(results))
            )
        except Refusal as refusal:
            refusals.append(refusal)
    return PipelineOutcome(
        PIPELINE,
        tuple(results),
        tuple(refusals),
        idle_because="" if series else "the study holds no saturation series that can be analysed",
    )


def analyse_saturation(
    acquisition: Acquisition,
    maps: Sequence[Acquisition],
    bundles: Mapping[str, Bundle],
    settings: CestMtSettings,
    device: Device = "auto",
    estimated: Sequence[PipelineResult] = (),
) -> PipelineResult:
    """Analyse one series as its protocol says: fingerprint, Z-spectrum or WASABI.

    Args:
        acquisition: a saturation series.
        maps: quantity maps of the study (T1, T2, B0, B1).
        bundles: networks of the pipeline, by name.
        settings: constants that stand in for missing maps.
        device: where networks run; "cuda" never falls back.
        estimated: results of earlier stages, of which maps can be inputs of this one.

    Raises:
        Refusal: the series must not become numbers; names the series.
        BundleError: a network does not do what its metadata says.
        DeviceUnavailableError: ``device`` is "cuda" and cannot be used.
        TypeError: the acquisition is not a saturation series.
    """
    schedule = acquisition.protocol
    if not isinstance(schedule, SaturationSchedule):
        raise TypeError(
            f"a saturation series has a SaturationSchedule, got {type(schedule).__name__}"
        )
    try:
        match schedule.analysis:
            case Analysis.WASABI:
                return analyse_wasabi(acquisition, schedule)
            case Analysis.Z_SPECTRUM:
                return analyse_z_spectrum(acquisition, schedule, maps, estimated)
            case Analysis.FINGERPRINT:
                return analyse_fingerprint(
                    acquisition, schedule, maps, bundles, settings, device, estimated
                )
    except Refusal as refusal:
        raise refusal.of_series(
            acquisition.source.series_instance_uid, acquisition.source.series_number
        ) from None


def _turn(acquisition: Acquisition, bundles: Mapping[str, Bundle]) -> int:
    """When a series is analysed: what others need comes first."""
    schedule = acquisition.protocol
    if not isinstance(schedule, SaturationSchedule) or schedule.analysis is Analysis.Z_SPECTRUM:
        return 1
    if schedule.analysis is Analysis.WASABI:
        return 0
    try:
        return 2 if choose_networks(bundles, schedule.name).needs_estimates else 1
    except Refusal:
        return 1


def _inputs(results: Sequence[PipelineResult]) -> tuple[PipelineResult, ...]:
    """Results that serve other series: a Z-spectrum's B0 map is for that spectrum alone."""
    return tuple(
        one
        for one in results
        if isinstance(one.protocol, SaturationSchedule)
        and one.protocol.analysis is not Analysis.Z_SPECTRUM
    )
