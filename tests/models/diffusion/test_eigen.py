"""The closed-form eigen-solver against LAPACK, also where eigenvalues coincide."""

import pytest
import torch

from models.diffusion.eigen import symmetric_eigen

EIGENVALUES = {
    "distinct": (3.0, 1.0, -2.0),
    "largest two equal": (2.0, 2.0, 1.0),
    "smallest two equal": (2.0, 1.0, 1.0),
    "largest two nearly equal": (2.0, 2.0 - 1e-9, 1.0),
    "smallest two nearly equal": (2.0, 1.0 + 1e-9, 1.0),
    "all nearly equal": (1.0 + 2e-9, 1.0 + 1e-9, 1.0),
    "all equal": (1.0, 1.0, 1.0),
    "a line": (1.0, 0.0, 0.0),
    "zero": (0.0, 0.0, 0.0),
}


def rotations(number: int) -> torch.Tensor:
    """Uniformly random rotations, (number, 3, 3), float64."""
    generator = torch.Generator().manual_seed(1)
    matrices, triangles = torch.linalg.qr(
        torch.randn(number, 3, 3, generator=generator, dtype=torch.float64)
    )
    return matrices * torch.sign(torch.diagonal(triangles, dim1=-2, dim2=-1))[:, None, :]


def elements(matrices: torch.Tensor) -> torch.Tensor:
    """(n, 3, 3) symmetric to (6, n)."""
    xx, yy, zz = torch.diagonal(matrices, dim1=-2, dim2=-1).unbind(-1)
    return torch.stack((xx, yy, zz, matrices[:, 0, 1], matrices[:, 0, 2], matrices[:, 1, 2]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("scale", [1.0, 1e-3])
@pytest.mark.parametrize("kind", EIGENVALUES)
def test_agrees_with_lapack(kind: str, scale: float, dtype: torch.dtype) -> None:
    frames = rotations(500)
    values = scale * torch.tensor(EIGENVALUES[kind], dtype=torch.float64)
    matrices = (frames @ torch.diag(values) @ frames.mT).to(dtype)
    matrices = (matrices + matrices.mT) / 2

    found, principal = symmetric_eigen(elements(matrices))

    expected = torch.linalg.eigvalsh(matrices.double()).flip(-1).T
    precision = 10 * torch.finfo(dtype).eps * 3 * scale
    assert (found.double() - expected).abs().max() <= precision
    assert torch.allclose(principal.norm(dim=0), torch.ones(500, dtype=dtype))
    image = torch.einsum("nij,jn->in", matrices, principal)
    assert (image - found[0] * principal).abs().max() <= precision


def test_eigenvalues_are_descending_for_random_matrices() -> None:
    matrices = torch.randn(
        6, 10_000, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )
    values, _ = symmetric_eigen(matrices)
    assert (values[:-1] >= values[1:]).all()
    assert torch.allclose(values.sum(dim=0), matrices[:3].sum(dim=0))
