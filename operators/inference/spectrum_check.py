"""Whether a series and its protocol can be read as a spectrum over the saturation offset."""

from __future__ import annotations

from models.cest_mt.schedule import SaturationSchedule
from models.cest_mt.zspectrum import SpectrumSamples, spectrum_samples
from operators.vocabulary.acquisition import Acquisition
from operators.vocabulary.refusal import Refusal


def check_number_of_images(acquisition: Acquisition, schedule: SaturationSchedule) -> None:
    """Refuse a series that has not the images of its protocol.

    Raises:
        Refusal: the numbers differ.
    """
    if acquisition.volumes != schedule.number_of_images:
        raise Refusal(
            "number-of-images",
            f"the series has {acquisition.volumes} images, protocol {schedule.name} "
            f"{schedule.number_of_images}",
            "Send the complete series; check the rule in app.yaml that gives it its protocol.",
        )


def samples_of(schedule: SaturationSchedule) -> SpectrumSamples:
    """The images that sample the spectrum, by offset.

    Raises:
        Refusal: the protocol has no M0 image or samples an offset twice.
    """
    try:
        return spectrum_samples(schedule)
    except ValueError as error:
        raise Refusal(
            "unusable-saturation-protocol", str(error), "Correct the protocol file."
        ) from error
