"""What a reader must know of maps to which the prior, the noise and the two halves contributed."""

from __future__ import annotations

import numpy as np

from operators.inference.midsagittal_plane import MidsagittalPlane
from operators.inference.multi_shell_maps import MOSTLY_WATER, MultiShellMaps
from operators.inference.settings import PriorSettings
from operators.inference.tensor_posterior import TensorPosterior
from operators.vocabulary.acquisition import GradientTable
from operators.vocabulary.finding import Finding, Severity
from operators.vocabulary.result import Segment

#: b-values of the shells whose maps the prior was trained on, s/mm².
TRAINED_FROM_B, TRAINED_TO_B = 600.0, 2600.0
#: Part of the voxels above which a finding is a warning.
NOTABLE = 0.1
#: Noise SD over signal below which images cannot be a scanner's.
LEAST_NOISE = 1e-5


def prior_findings(
    posterior: TensorPosterior,
    plain: dict[str, np.ndarray],
    adapted: dict[str, np.ndarray],
    tissues: tuple[Segment, ...],
    table: GradientTable,
    settings: PriorSettings,
) -> list[Finding]:
    """How the prior was used, what it changed, and where it decides.

    Args:
        posterior: of the tensor.
        plain: FA and MD of the data alone, (slices, rows, columns), by quantity name.
        adapted: the same with the prior.
        tissues: white matter first, grey matter second; or none.
        table: of the volumes that were fitted.
        settings: of the prior.
    """
    supported = posterior.mask(~posterior.unsupported)
    voxels = int(np.count_nonzero(supported))
    if not voxels:
        return []
    share = posterior.data_share[~posterior.unsupported]
    driven = float(np.mean(posterior.prior_driven[~posterior.unsupported]))
    findings = [
        Finding(
            "prior-adapted",
            f"A generative prior of brain maps was adapted to the series (weight "
            f"{settings.weight:g}, {settings.seeds} seeds from {settings.first_seed}; the data are "
            f"weighted as by the weighted fit): median share of the data {np.median(share):.0%}.",
            Severity.INFORMATION,
        ),
        _deviation(plain, adapted, supported, tissues),
    ]
    if driven:
        findings.append(
            Finding(
                "prior-driven",
                f"In {driven:.1%} of {voxels} voxels the prior has more weight than the data: "
                "flagged as a region of their own.",
                Severity.WARNING if driven > NOTABLE else Severity.INFORMATION,
            )
        )
    highest = float(table.b_values.max())
    if not TRAINED_FROM_B <= highest <= TRAINED_TO_B:
        findings.append(
            Finding(
                "beyond-training-of-prior",
                f"The highest b, {highest:.0f} s/mm², lies outside the {TRAINED_FROM_B:.0f} to "
                f"{TRAINED_TO_B:.0f} s/mm² on which the prior was trained.",
            )
        )
    return findings


def _deviation(
    plain: dict[str, np.ndarray],
    adapted: dict[str, np.ndarray],
    inside: np.ndarray,
    tissues: tuple[Segment, ...],
) -> Finding:
    texts = []
    for name, label, unit, factor in (
        ("fractional_anisotropy", "FA", "", 1.0),
        ("mean_diffusivity", "MD", " µm²/ms", 1e3),
    ):
        before, after = plain[name][inside] * factor, adapted[name][inside] * factor
        change = after - before
        alike = before.std() > 0 and after.std() > 0
        correlation = float(np.corrcoef(before, after)[0, 1]) if alike else float("nan")
        texts.append(
            f"{label} by {np.abs(change).mean():.3f}{unit} (mean {change.mean():+.3f}, r "
            f"{correlation:.4f})"
        )
    explanation = ""
    where = [segment.volume.array > 0 for segment in tissues[:2]]
    if len(where) == 2 and all((voxels & inside).any() for voxels in where):
        name = "fractional_anisotropy"
        white, grey = (
            float((adapted[name] - plain[name])[voxels & inside].mean()) for voxels in where
        )
        explanation = (
            f"; noise raises FA most where it is low, so FA falls more in gray matter "
            f"({grey:+.3f}) than in white ({white:+.3f})"
            if grey < white
            else f" (FA: gray matter {grey:+.3f}, white {white:+.3f})"
        )
    return Finding(
        "deviation-from-plain-fit",
        f"The prior moved {' and '.join(texts)} from the fit of the data alone{explanation}.",
        Severity.INFORMATION,
    )


def noise_findings(posterior: TensorPosterior) -> list[Finding]:
    """The noise level, and voxels without usable signal."""
    if not len(posterior.noise):
        return []
    level = float(np.median(posterior.noise))
    signal = float(np.median(posterior.maps.s0.numpy()))
    if level < LEAST_NOISE * signal:
        return [
            Finding(
                "no-noise",
                "The volumes differ by no noise, as those of a scanner do: standard deviations "
                "mean nothing.",
            )
        ]
    findings = [
        Finding(
            "noise-level",
            f"Noise SD {level:.3g}: b0 is {signal / level:.0f} times as high.",
            Severity.INFORMATION,
        )
    ]
    part = float(np.mean(posterior.unsupported))
    if part:
        kept = " They show the fit of the data alone." if posterior.with_prior else ""
        findings.append(
            Finding(
                "signal-at-noise-floor",
                f"In {part:.1%} of {len(posterior.unsupported)} voxels most signals cannot be told "
                f"from noise: flagged as a region of their own, and in no tissue.{kept}",
                Severity.WARNING if part > NOTABLE else Severity.INFORMATION,
            )
        )
    return findings


def multi_shell_findings(found: MultiShellMaps, with_prior: bool) -> list[Finding]:
    """How kurtosis and NODDI were fitted, and where their values are bounds."""
    if not found.maps:
        return []
    how = (
        "the prior was adapted to each shell, and the models were fitted to the shells' "
        "predictions; crossings beyond a tensor are not resolved"
        if with_prior
        else "from the data alone"
    )
    findings = [
        Finding("several-shells-fitted", f"Kurtosis and NODDI: {how}.", Severity.INFORMATION)
    ]
    for number, code, text in (
        (
            found.constrained,
            "kurtosis-constrained",
            "would have a negative kurtosis or a signal that rises with b, and were fitted so as "
            "to have neither",
        ),
        (found.limited, "kurtosis-at-bound", "have a kurtosis at its bound of 0 or 10"),
        (
            found.mostly_water,
            "noddi-in-water",
            f"have a free water fraction above {MOSTLY_WATER:g}, where NDI and ODI mean nothing",
        ),
    ):
        if number:
            part = number / max(found.voxels, 1)
            findings.append(
                Finding(
                    code,
                    f"{number} of {found.voxels} voxels ({part:.1%}) {text}.",
                    Severity.WARNING if part > 2 * NOTABLE else Severity.INFORMATION,
                )
            )
    return findings


def side_finding(plane: MidsagittalPlane | None) -> Finding:
    """How left and right were parted, or that they were not."""
    if plane is None:
        return Finding(
            "no-midsagittal-plane",
            "No plane of symmetry was found in the brain: no ratio of left to right is given.",
            Severity.INFORMATION,
        )
    return Finding(
        "midsagittal-plane",
        f"Left and right (patient frame) are parted by the plane about which the brain is most "
        f"symmetric: {plane.tilt:.1f}° off the left-right axis, correlation with the mirror image "
        f"{plane.symmetry:.2f}. Brains are not symmetric, and a large lesion moves the plane: "
        "ratios of a few percent from 1 mean little.",
        Severity.INFORMATION,
    )
