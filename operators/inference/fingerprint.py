"""Exchange parameter maps of a saturation fingerprint, by voxelwise networks.

Finkelstein, Vladimirov, Zaiss, Perlman, Commun. Phys. 8:164 (2025),
doi 10.1038/s42005-025-02063-8: the MT pool first, then the solute with the MT maps given.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np

from models.cest_mt.residual import relative_residual
from models.cest_mt.schedule import SaturationSchedule
from operators.inference.bundle import Bundle
from operators.inference.cest_mt_findings import VoxelEstimates, at_bound, estimate_findings
from operators.inference.condition_maps import ConditionMap, condition_map
from operators.inference.network_choice import SIGNAL, Networks, choose_networks
from operators.inference.onnx_network import Device
from operators.inference.onnx_session import CHUNK_VOXELS, OnnxSession
from operators.inference.saturation_signals import left_out, read_signals
from operators.inference.segments import at_bound_region, brain_of, regions, tissue_regions
from operators.inference.settings import CestMtSettings
from operators.vocabulary.acquisition import Acquisition
from operators.vocabulary.quantity import QUANTITIES, QuantityMap
from operators.vocabulary.refusal import Refusal
from operators.vocabulary.result import Algorithm, PipelineResult
from operators.vocabulary.version import VERSION

RESIDUAL = "saturation_residual"
#: Voxels of which signals are gathered at once: some 8 MB for 31 images.
BLOCK_VOXELS = 8 * CHUNK_VOXELS
_SOURCE = "doi 10.1038/s42005-025-02063-8"


def analyse_fingerprint(
    acquisition: Acquisition,
    schedule: SaturationSchedule,
    maps: Sequence[Acquisition],
    bundles: Mapping[str, Bundle],
    settings: CestMtSettings,
    device: Device = "auto",
    estimated: Sequence[PipelineResult] = (),
) -> PipelineResult:
    """Estimate the quantities that the network of the series' protocol gives.

    Args:
        acquisition: a saturation series.
        schedule: its protocol.
        maps: quantity maps of the study (T1, T2, B0, B1).
        bundles: networks of the pipeline, by name.
        settings: constants that stand in for missing maps.
        device: where networks run; "cuda" never falls back.
        estimated: results of earlier stages, of which maps can be inputs of this one.

    Raises:
        Refusal: no network for the protocol, a wrong number of images, pixels that cannot be
            measurements, or a map that is missing, ambiguous or elsewhere.
        BundleError: a network does not do what its metadata says.
        DeviceUnavailableError: ``device`` is "cuda" and cannot be used.
    """
    networks = choose_networks(bundles, schedule.name)
    _check_images(acquisition, networks)
    conditions = {
        name: condition_map(name, acquisition.geometry, maps, estimated, settings)
        for name in networks.conditions
    }
    findings = [*acquisition.findings]
    for condition in conditions.values():
        findings += condition.findings
    signals = read_signals(acquisition, schedule)
    findings += signals.findings
    region = signals.region
    for condition in conditions.values():
        region = region & condition.known
    findings += left_out(signals.foreground, region)
    began = time.perf_counter()
    sessions = [
        OnnxSession(bundle, device)
        for bundle in (networks.estimator, networks.surrogate)
        if bundle is not None
    ]
    loaded = time.perf_counter()
    estimates = estimate(signals.array, region, conditions, networks, sessions)
    inferred = time.perf_counter()
    brain = brain_of(signals.reference, acquisition.geometry, acquisition.source.header)
    segments = regions(brain, estimates.analysed, acquisition.geometry)
    findings += estimate_findings(estimates, networks, conditions, segments[0], sessions[0])
    t1 = conditions.get("t1")
    if brain is not None and t1 is not None and t1.constant is None:
        segments += tissue_regions(
            t1.values, brain & estimates.analysed, schedule.field_strength, acquisition.geometry
        )
    segments += (at_bound_region(at_bound(estimates, networks), acquisition.geometry),)
    sources = [one.source for one in conditions.values() if one.source is not None]
    return PipelineResult(
        pipeline="cest_mt",
        maps=tuple(
            QuantityMap(QUANTITIES[name], acquisition.geometry.with_array(values))
            for name, values in estimates.maps.items()
        ),
        segments=segments,
        findings=tuple(findings),
        algorithm=_algorithm(networks, conditions, sessions[0].provider),
        source=acquisition.source,
        further_sources=tuple({one.series_instance_uid: one for one in sources}.values()),
        timings={
            **signals.timings,
            "load network": loaded - began,
            "network": inferred - loaded,
            "segments": time.perf_counter() - inferred,
        },
        protocol=schedule,
    )


def estimate(
    signals: np.ndarray,
    region: np.ndarray,
    conditions: Mapping[str, ConditionMap],
    networks: Networks,
    sessions: Sequence[OnnxSession],
) -> VoxelEstimates:
    """Run the networks over the voxels of a region, block by block.

    Signals go in as they were measured: the network normalises them itself, so that nothing
    about it can differ from its training.

    Args:
        signals: (slices, rows, columns, images).
        region: boolean (slices, rows, columns).
        conditions: by quantity name.
        networks: whose metadata say what goes in and comes out.
        sessions: of the estimator and, where there is one, of the surrogate.
    """
    shape = signals.shape[:3]
    names = networks.results + ((RESIDUAL,) if networks.surrogate else ())
    maps = {name: np.zeros(shape, np.float32) for name in names}
    analysed = np.zeros(shape, dtype=bool)
    indices = np.flatnonzero(region)
    for start in range(0, len(indices), BLOCK_VOXELS):
        place = np.unravel_index(indices[start : start + BLOCK_VOXELS], shape)
        features = {name: condition.values[place] for name, condition in conditions.items()}
        features[SIGNAL] = signals[place]
        found = sessions[0].predict(features)
        values = {name: found[name][:, 0] for name in networks.results}
        if networks.surrogate is not None:
            at_hand = features | found
            inputs = {name: at_hand[name] for name in networks.surrogate.metadata.inputs}
            predicted = sessions[1].predict(inputs)[SIGNAL]
            values[RESIDUAL] = relative_residual(features[SIGNAL], predicted)
        finite = np.all([np.isfinite(value) for value in values.values()], axis=0)
        for name, value in values.items():
            maps[name][place] = np.where(finite, value, np.float32(0))
        analysed[place] = finite
    return VoxelEstimates(maps, analysed, region)


def _check_images(acquisition: Acquisition, networks: Networks) -> None:
    wanted = networks.estimator.metadata.inputs[SIGNAL].channels
    if acquisition.volumes != wanted:
        raise Refusal(
            "number-of-images",
            f"the series has {acquisition.volumes} images, network "
            f"{networks.estimator.metadata.name} takes {wanted}",
            "Send the complete series; check the rule in app.yaml that gives it its protocol.",
        )


def _algorithm(
    networks: Networks, conditions: Mapping[str, ConditionMap], provider: str
) -> Algorithm:
    used = [one for one in (networks.estimator, networks.surrogate) if one is not None]
    configuration = {
        f"{name} constant": f"{condition.constant:g}"
        for name, condition in conditions.items()
        if condition.constant is not None
    }
    for bundle in used:
        configuration[f"network {bundle.metadata.name}"] = bundle.metadata.version
    return Algorithm(
        name="QuantMAP CEST/MT",
        version=VERSION,
        model_sha256={
            f"{one.metadata.name}/{one.network.name}": one.metadata.model.sha256 for one in used
        },
        execution_provider=provider,
        configuration=configuration,
        source="; ".join(networks.estimator.metadata.references) or _SOURCE,
    )
