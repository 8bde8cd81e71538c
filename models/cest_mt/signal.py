"""Bloch-McConnell signals of a saturation schedule, batched over voxels and differentiable.

Each piece of constant radio frequency is solved exactly, M(t) = exp(A t)(M0 - Mss) + Mss,
as an affine map (:mod:`models.cest_mt.propagator`); equal pieces share their map. Relaxation,
exchange with detailed balance and precession follow McConnell, J. Chem. Phys. 28:430 (1958),
doi 10.1063/1.1744152, in the frame of the RF while a pulse is on and in that of water at the
nominal field between pulses.

Signs: a positive offset or shift in ppm is a higher frequency; a positive B0 shift raises the
frequency of every pool, so that the spectrum moves to positive offsets.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal

import torch

from models.cest_mt.cycles import with_cycles
from models.cest_mt.evolution import Evolution, Step, structure
from models.cest_mt.generator import Generators
from models.cest_mt.pools import PoolModel, Value
from models.cest_mt.schedule import SaturationSchedule

GapPhase = Literal["pulseq", "rf_frame"]

# Exponentials computed at once: enough to make little of the time between operations, few
# enough for the memory.
_MATRICES_CPU = 8192
_MATRICES_GPU = 2**18


def simulate(
    schedule: SaturationSchedule,
    pools: PoolModel,
    *,
    b0_shift_ppm: Value = 0.0,
    b1_scale: Value = 1.0,
    gap_phase: GapPhase = "pulseq",
    teacher: torch.Tensor | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> torch.Tensor:
    """Longitudinal magnetisation of water at each acquisition, thermal equilibrium being 1.

    Args:
        schedule: what is played.
        pools: what it is played to; numbers, or (voxels,) tensors in any mixture.
        b0_shift_ppm: local field minus nominal field, ppm; number or (voxels,).
        b1_scale: local B1 over nominal B1; number or (voxels,).
        gap_phase: ``pulseq``: the frame of a pulse is taken over as the water frame at its
            end, and gaps evolve in the water frame; ``rf_frame``: gaps evolve in the frame
            of the pulse before them. The choice moves Z by up to 0.17 in pulse trains.
        teacher: (voxels, images) measured Mz/M0. When given, each image starts from the
            measured magnetisation of the image before it (the other pools in equilibrium with
            water), so that images are independent and gradients short; for training only.
        dtype: float32 or float64; that of the tensors given, or float64 without any.
        device: that of the tensors given, or the CPU.

    Returns:
        (voxels, images), in the order of the schedule.

    Raises:
        ValueError: shapes that do not go together, or parameters that are not finite.
    """
    if gap_phase not in ("pulseq", "rf_frame"):
        raise ValueError(f"gap_phase must be 'pulseq' or 'rf_frame', not {gap_phase!r}")
    if teacher is not None and schedule.relaxed_start:
        raise ValueError("every image of this schedule starts relaxed: there is no teacher")
    columns = _columns([*pools.values(), b0_shift_ppm, b1_scale], teacher, dtype, device)
    voxels = columns[0].shape[0]
    if teacher is not None:
        if teacher.shape != (voxels, schedule.number_of_images):
            raise ValueError(
                f"teacher has shape {tuple(teacher.shape)}, expected "
                f"({voxels}, {schedule.number_of_images})"
            )
        teacher = teacher.to(columns[0])
    rf_frame_gaps = gap_phase == "rf_frame"
    # Where gaps turn the frame no cycle repeats.
    steps = tuple if rf_frame_gaps else with_cycles
    preparations = [steps(image.preparation) for image in schedule.images]
    recoveries = [steps(image.recovery) for image in schedule.images]

    independent = teacher is not None or schedule.relaxed_start
    matrices = _MATRICES_GPU if columns[0].is_cuda else _MATRICES_CPU
    chunk = max(1, matrices // schedule.number_of_images if independent else matrices)
    signals = []
    for start in range(0, voxels, chunk):
        part = slice(start, start + chunk)
        generators = Generators(
            pools, [column[part] for column in columns], schedule.larmor_frequency
        )
        evolution = Evolution(generators, rf_frame_gaps, matrices)
        if teacher is not None:
            state = _recovered(evolution, recoveries, teacher[part].T)
            signal = evolution.water(_grouped(evolution, preparations, state))
        elif schedule.relaxed_start:
            state = evolution.equilibrium(schedule.number_of_images)
            signal = evolution.water(_grouped(evolution, preparations, state))
        else:
            signal = _chained(evolution, preparations, recoveries)
        signals.append(signal.T)
    return torch.cat(signals)


def _columns(
    values: Sequence[Value],
    teacher: torch.Tensor | None,
    dtype: torch.dtype | None,
    device: torch.device | str | None,
) -> list[torch.Tensor]:
    """Every value as (voxels,) of one type on one device."""
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    dtype = dtype or (tensors[0].dtype if tensors else torch.float64)
    device = device or (tensors[0].device if tensors else "cpu")
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"signals are simulated in float32 or float64, not {dtype}")
    columns = [torch.as_tensor(value, dtype=dtype, device=device).reshape(-1) for value in values]
    voxels = max(1 if teacher is None else teacher.shape[0], *map(len, columns))
    lengths = {len(column) for column in columns} - {1, voxels}
    if lengths:
        raise ValueError(f"parameters of {sorted(lengths)} voxels beside others of {voxels}")
    return [column.expand(voxels) for column in columns]


def _chained(
    evolution: Evolution,
    preparations: Sequence[Sequence[Step]],
    recoveries: Sequence[Sequence[Step]],
) -> torch.Tensor:
    """(images, voxels): each image starts where the recovery of the one before it ends."""
    evolution.expect(event for events in (*preparations, *recoveries) for event in events)
    state = evolution.equilibrium(1)
    signals = []
    for preparation, recovery in zip(preparations, recoveries, strict=True):
        state = evolution.play([preparation], state)
        signals.append(evolution.water(state))
        state = evolution.play([recovery], state)
    return torch.cat(signals)


def _recovered(
    evolution: Evolution, recoveries: Sequence[Sequence[Step]], teacher: torch.Tensor
) -> torch.Tensor:
    """(n, images, voxels): the start of each image, from the measured (images, voxels)."""
    measured = evolution.in_equilibrium_with(teacher[:-1])
    recovered = _grouped(evolution, recoveries[:-1], measured)
    return torch.cat([evolution.equilibrium(1), recovered], dim=1)


def _grouped(
    evolution: Evolution, sequences: Sequence[Sequence[Step]], state: torch.Tensor
) -> torch.Tensor:
    """Play one sequence of events per image; images of the same structure go together."""
    groups: dict[Hashable, list[int]] = {}
    for index, events in enumerate(sequences):
        groups.setdefault(structure(events), []).append(index)
    if len(groups) == 1:
        return evolution.play(sequences, state)
    parts, order = [], []
    for members in groups.values():
        parts.append(evolution.play([sequences[index] for index in members], state[:, members]))
        order += members
    inverse = torch.argsort(torch.tensor(order, device=state.device))
    return torch.cat(parts, dim=1)[:, inverse]
