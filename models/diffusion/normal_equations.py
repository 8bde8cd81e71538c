"""Small positive definite systems of many voxels at once, by Cholesky factors.

Arrays are (elements, voxels): every step then runs over contiguous voxels, on any device, which
is many times faster than one small factorisation a voxel.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor


@functools.cache
def lower_triangle(size: int) -> tuple[tuple[int, int], ...]:
    """(row, column) of the elements of a lower triangle, column after column."""
    return tuple((row, column) for column in range(size) for row in range(column, size))


@functools.cache
def _column_starts(size: int) -> tuple[int, ...]:
    return tuple(lower_triangle(size).index((column, column)) for column in range(size))


def products(design: Tensor) -> Tensor:
    """Products of pairs of columns of designs (..., volumes, size).

    Returns:
        (..., pairs, volumes) in the order of :func:`lower_triangle`; times (volumes, voxels) of
        weights they give the normal matrices.
    """
    columns = design.movedim(-1, 0)
    pairs = [columns[row] * columns[column] for row, column in lower_triangle(len(columns))]
    return torch.stack(pairs, dim=-2)


def factorise(normal: Tensor, size: int) -> Tensor:
    """Cholesky factors.

    Args:
        normal: (pairs, voxels) lower triangles in the order of :func:`lower_triangle`.
        size: unknowns of a system.

    Returns:
        (size, size, voxels), lower triangular; not finite where a matrix is singular.
    """
    factor = normal.new_zeros((size, size, normal.shape[1]))
    for j, start in enumerate(_column_starts(size)):
        column = normal[start : start + size - j]
        if j:
            column = column - (factor[j:, :j] * factor[j, :j]).sum(dim=1)
        factor[j:, j] = column * torch.rsqrt(column[0])
    return factor


def solve(factor: Tensor, right: Tensor) -> Tensor:
    """Solutions (size, voxels) of systems with right sides (size, voxels)."""
    solution = right.clone()
    for j in range(len(factor)):
        solution[j] /= factor[j, j]
        solution[j + 1 :] -= factor[j + 1 :, j] * solution[j]
    for j in reversed(range(len(factor))):
        solution[j] /= factor[j, j]
        solution[:j] -= factor[j, :j] * solution[j]
    return solution


def inverse(factor: Tensor) -> Tensor:
    """Inverses (size, size, voxels) of the matrices with these factors."""
    size = len(factor)
    lower = torch.zeros_like(factor)  # inverse of the factor
    for j in range(size):
        lower[j, j] = 1 / factor[j, j]
        for i in range(j + 1, size):
            lower[i, j] = -(factor[i, j:i] * lower[j:i, j]).sum(dim=0) / factor[i, i]
    found = torch.empty_like(factor)
    for row, column in lower_triangle(size):
        found[row, column] = (lower[row:, row] * lower[row:, column]).sum(dim=0)
        found[column, row] = found[row, column]
    return found
