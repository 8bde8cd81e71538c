"""Which networks belong to a protocol, and whether they fit the vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from operators.inference.bundle import Bundle, BundleError
from operators.vocabulary.quantity import QUANTITIES
from operators.vocabulary.refusal import Refusal

SIGNAL = "signal"
#: What describes the water and the fields of a voxel. Maps give it; where a network estimates
#: it beside what it is for, that is no measurement and no result.
CONDITIONS = ("t1", "t2", "b0_shift", "b1_scale")


@dataclass(frozen=True)
class Networks:
    """The networks of one protocol.

    Attributes:
        estimator: from signal and conditions to quantities.
        surrogate: from those back to the signal, or None.
    """

    estimator: Bundle
    surrogate: Bundle | None

    @property
    def conditions(self) -> tuple[str, ...]:
        """Quantities that the estimator takes beside the signal."""
        return tuple(name for name in self.estimator.metadata.inputs if name != SIGNAL)

    @property
    def results(self) -> tuple[str, ...]:
        """Quantities that the estimator gives as results."""
        return tuple(name for name in self.estimator.metadata.outputs if name not in CONDITIONS)

    @property
    def needs_estimates(self) -> bool:
        """Whether a condition is the result of another network: it then runs after that."""
        return any(name not in CONDITIONS for name in self.conditions)


def choose_networks(bundles: Mapping[str, Bundle], protocol: str) -> Networks:
    """The networks made for a protocol.

    Args:
        bundles: of the pipeline, by name.
        protocol: name of the saturation schedule.

    Raises:
        Refusal: no network was made for it.
        BundleError: several were, or one speaks of quantities or units that the vocabulary
            does not hold.
    """
    mine = [one for one in bundles.values() if one.metadata.protocol == protocol]
    surrogates = [one for one in mine if SIGNAL in one.metadata.outputs]
    estimators = [one for one in mine if SIGNAL in one.metadata.inputs]
    if not estimators:
        known = sorted({one.metadata.protocol for one in bundles.values()})
        raise Refusal(
            "no-network-for-protocol",
            f"no installed network was made for the protocol {protocol} "
            f"(networks are there for: {', '.join(known) or 'none'})",
            "Install its bundle in the models folder, or correct the rule in app.yaml that "
            "gives the series its protocol.",
        )
    for several in (estimators, surrogates):
        if len(several) > 1:
            names = ", ".join(one.metadata.name for one in several)
            raise BundleError(f"several networks are made for the protocol {protocol}: {names}")
    networks = Networks(estimators[0], surrogates[0] if surrogates else None)
    for bundle in (networks.estimator, networks.surrogate):
        if bundle is not None:
            _check_quantities(bundle)
    _check_surrogate(networks)
    return networks


def _check_quantities(bundle: Bundle) -> None:
    for name, tensor in (*bundle.metadata.inputs.items(), *bundle.metadata.outputs.items()):
        if name == SIGNAL:
            continue
        quantity = QUANTITIES.get(name)
        if quantity is None:
            raise BundleError(f"bundle {bundle.metadata.name}: {name} is not a quantity")
        if tensor.unit != quantity.unit.value or tensor.channels != 1:
            raise BundleError(
                f"bundle {bundle.metadata.name}: {name} must have one channel in "
                f"{quantity.unit.value}, has {tensor.channels} in {tensor.unit}"
            )


def _check_surrogate(networks: Networks) -> None:
    if networks.surrogate is None:
        return
    at_hand = {*networks.conditions, *networks.estimator.metadata.outputs}
    missing = set(networks.surrogate.metadata.inputs) - at_hand
    images = networks.estimator.metadata.inputs[SIGNAL].channels
    if missing or networks.surrogate.metadata.outputs[SIGNAL].channels != images:
        raise BundleError(
            f"bundle {networks.surrogate.metadata.name} does not fit "
            f"{networks.estimator.metadata.name}: it must give {images} images from what that "
            f"takes and gives (lacking: {', '.join(sorted(missing)) or 'nothing'})"
        )
