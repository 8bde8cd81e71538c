"""Weighted images that were computed from maps and never acquired."""

from __future__ import annotations

from dataclasses import dataclass

import highdicom as hd


@dataclass(frozen=True)
class SyntheticImage:
    """A weighted image computed from PD, T1 and T2 maps.

    Attributes:
        name: snake-case name ("flair"); also of its files.
        label: short text for pictures ("T2-FLAIR").
        kind: value 3 of Image Type ("T1W", "T2W", "PDW", "FLAIR"), beside SYNTHETIC.
        sequence: name of the signal equation ("SE", "FSE", "SPGR", "FLAIR").
        scanning_sequence: tokens of Scanning Sequence (0018,0020) that the equation stands for.
        repetition_time, echo_time: TR and TE, ms.
        inversion_time: TI, ms, or None.
        flip_angle: degrees, or None.
        volume: float32 (slices, rows, columns), units of proton density (1 is the fully relaxed
            signal of water), LPS affine in mm.
    """

    name: str
    label: str
    kind: str
    sequence: str
    scanning_sequence: tuple[str, ...]
    repetition_time: float
    echo_time: float
    inversion_time: float | None
    flip_angle: float | None
    volume: hd.Volume

    @property
    def parameters(self) -> str:
        """TR, TE and what else there is, for people."""
        parts = [f"TR {self.repetition_time:g}", f"TE {self.echo_time:g}"]
        if self.inversion_time is not None:
            parts.append(f"TI {self.inversion_time:g}")
        text = ", ".join(parts) + " ms"
        return text if self.flip_angle is None else f"{text}, flip angle {self.flip_angle:g} deg"
