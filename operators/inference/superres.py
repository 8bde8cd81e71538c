"""Sharp PD, T1 and T2 maps of a study from coarse ones and its weighted images."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
import torch

from models.superres.disagreement import disagreement, residuals
from models.superres.reconstruction import super_resolve
from models.superres.refine import refine
from models.superres.study import signals, uncropped
from operators.inference.bundle import Bundle
from operators.inference.guide_choice import Guide, choose_guides
from operators.inference.map_set import MapSet, choose_maps
from operators.inference.onnx_image_session import OnnxImageSession
from operators.inference.onnx_network import Device
from operators.inference.settings import SuperresSettings
from operators.inference.superres_readiness import idle_because
from operators.inference.superres_result import Sharpened, superres_result
from operators.inference.superres_study import Prepared, guide_contradicts, prepared
from operators.inference.threads import single_threaded
from operators.vocabulary.finding import Finding
from operators.vocabulary.refusal import Refusal
from operators.vocabulary.result import PipelineResult
from operators.vocabulary.run import AcquiredStudy, PipelineOutcome

PIPELINE = "superres"
NETWORK = "superres"


def superres_outcome(
    study: AcquiredStudy,
    bundles: Mapping[str, Bundle],
    settings: SuperresSettings,
    device: Device = "auto",
) -> PipelineOutcome:
    """Sharpen the maps of a study, if it holds a set of them and a guide.

    A guide that must not be used is refused; the other one may still guide.

    Args:
        study: everything that was acquired.
        bundles: networks of the pipeline, by name.
        settings: of the pipeline.
        device: where the network runs; "cuda" never falls back.

    Raises:
        BundleError: the network does not do what its metadata says.
        DeviceUnavailableError: ``device`` is "cuda" and cannot be used.
    """
    idle = idle_because(study, settings)
    if idle:
        return PipelineOutcome(PIPELINE, idle_because=idle)
    refusals: list[Refusal] = []
    try:
        maps = choose_maps(study.acquisitions)
        choice = choose_guides(study.acquisitions, maps, settings)
        refusals += choice.refusals
        guides = dict(choice.guides)
        while guides:
            try:
                result = analyse(maps, guides, bundles, settings, device, choice.findings)
                return PipelineOutcome(PIPELINE, (result,), tuple(refusals))
            except Refusal as refusal:
                guilty = _weighting_of(refusal, guides)
                if guilty is None:
                    raise
                refusals.append(refusal)
                del guides[guilty]
    except Refusal as refusal:
        refusals.append(refusal)
    return PipelineOutcome(PIPELINE, refusals=tuple(refusals))


def _weighting_of(refusal: Refusal, guides: Mapping[str, Guide]) -> str | None:
    """The guide that was refused, or None where the maps were."""
    for weighting, guide in guides.items():
        if guide.acquisition.source.series_instance_uid == refusal.series_instance_uid:
            return weighting
    return None


def analyse(
    maps: MapSet,
    guides: Mapping[str, Guide],
    bundles: Mapping[str, Bundle],
    settings: SuperresSettings,
    device: Device = "auto",
    findings: tuple[Finding, ...] = (),
) -> PipelineResult:
    """Sharpen one set of maps.

    Args:
        maps: the measured maps.
        guides: by weighting, "t1w" and "t2w"; one or both.
        bundles: networks of the pipeline, by name.
        settings: of the pipeline.
        device: where the network runs.
        findings: of the choice of guides.

    Raises:
        Refusal: maps or guides must not become numbers; names the series.
        BundleError: the network does not do what its metadata says.
        DeviceUnavailableError: ``device`` is "cuda" and cannot be used.
    """
    began = time.perf_counter()
    network = _network(bundles)
    ready = prepared(maps, guides, settings)
    placed = time.perf_counter()
    session = OnnxImageSession(network, device)
    loaded = time.perf_counter()
    with single_threaded():
        sharpened = _sharpened(ready, session, guides, settings)
    done = time.perf_counter()
    return superres_result(
        maps,
        guides,
        ready,
        sharpened,
        network,
        session.provider,
        settings,
        findings,
        {
            "register guides": placed - began,
            "load network": loaded - placed,
            "super-resolve": done - loaded,
        },
    )


def _network(bundles: Mapping[str, Bundle]) -> Bundle:
    if NETWORK not in bundles:
        raise Refusal(
            "no-network",
            f"the network {NETWORK} of the pipeline {PIPELINE} is not installed",
            "Install its bundle in the models folder.",
        )
    return bundles[NETWORK]


@torch.no_grad()
def _sharpened(
    ready: Prepared,
    session: OnnxImageSession,
    guides: Mapping[str, Guide],
    settings: SuperresSettings,
) -> Sharpened:
    study = ready.study
    try:
        stage = super_resolve(study, session.step)
    except ValueError as error:
        labels = " and ".join(guide.label for guide in guides.values())
        raise guide_contradicts(labels, error) from error
    scaled, found = stage.scaled, stage.maps
    del stage
    if settings.refine:
        found = refine(scaled, found)
    synthetic = signals(study.sequences, found)
    inside = study.mask[:, 0] > 0
    mean = [
        float(scaled.guides[0, k][inside[0]].mean()) if sequence else 1.0
        for k, sequence in enumerate(study.sequences)
    ]
    relative = (scaled.guides - synthetic).abs_().mul_(100)
    relative.div_(torch.tensor(mean).view(1, 2, 1, 1, 1))
    relative *= study.mask
    del synthetic
    left = residuals(scaled, found)
    return Sharpened(
        maps=_as_volume(uncropped(found, study)[0], ready),
        guide_residuals=_as_volume(uncropped(relative, study)[0], ready),
        fields=_as_volume(uncropped(scaled.fields * study.mask, study)[0], ready),
        disagreement=_as_volume(uncropped(disagreement(scaled, found), study)[0], ready)[0],
        map_residuals=_as_volume(left.maps[0], ready),
    )


def _as_volume(images: torch.Tensor, ready: Prepared) -> np.ndarray:
    """(channels, three axes of the study) as (channels, slices, rows, columns)."""
    back = [0, *(1 + ready.order.index(axis) for axis in range(3))]
    return images.permute(back).contiguous().numpy()
