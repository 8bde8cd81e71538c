"""Settings of the results wing: which kinds of objects are written."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator


class ResultsSettings(BaseModel):
    """Which objects are written for each result.

    Attributes:
        parametric_maps: float Parametric Map of every quantity: the exact values.
        viewer_images: integer MR Image copy of every quantity, and Secondary Capture of every
            colour map, for viewers and archives that show neither parametric nor colour maps.
        colour_maps: Enhanced MR Color Image of direction-encoded maps.
        segmentation: one Segmentation with every region.
        measurement_report: TID 1500 report of statistics per region and map.
        synthetic_images: MR Image series of every weighted image computed from maps.
        tractogram: Tractography Results of the tracks, where there are any.
        tractogram_file: the same tracks as a TRX file, for research tools.
        connectivity_table: CSV table of what the tracks connect, per parcellation of the study.
        summary: one page per result, as a PNG picture and as Encapsulated PDF.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    parametric_maps: bool = True
    viewer_images: bool = True
    colour_maps: bool = True
    segmentation: bool = True
    measurement_report: bool = True
    synthetic_images: bool = True
    tractogram: bool = True
    tractogram_file: bool = True
    connectivity_table: bool = True
    summary: bool = True

    @model_validator(mode="after")
    def _report_needs_segmentation(self) -> Self:
        if self.measurement_report and not self.segmentation:
            raise ValueError(
                "measurement_report refers to the regions of the segmentation: "
                "switch segmentation on, or measurement_report off"
            )
        return self
