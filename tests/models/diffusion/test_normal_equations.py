from __future__ import annotations

import torch

from models.diffusion.normal_equations import factorise, inverse, lower_triangle, products, solve


def _systems() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Design (20, 7), weights (20, voxels) and normal matrices (voxels, 7, 7)."""
    generator = torch.Generator().manual_seed(0)
    design = torch.randn((20, 7), generator=generator, dtype=torch.float64)
    weights = torch.rand((20, 50), generator=generator, dtype=torch.float64) + 0.1
    return design, weights, torch.einsum("nv,ni,nj->vij", weights, design, design)


def test_products_and_weights_give_the_normal_matrices() -> None:
    design, weights, normal = _systems()
    rows, columns = zip(*lower_triangle(7), strict=True)
    expected = normal[:, list(rows), list(columns)].T
    torch.testing.assert_close(products(design) @ weights, expected)
    batched = products(torch.stack((design, 2 * design)))
    torch.testing.assert_close(batched[1] @ weights, 4 * expected)


def test_solutions_and_inverses_are_those_of_linear_algebra() -> None:
    design, weights, normal = _systems()
    factor = factorise(products(design) @ weights, 7)
    right = torch.randn((7, 50), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(solve(factor, right).T, torch.linalg.solve(normal, right.T))
    torch.testing.assert_close(inverse(factor).movedim(-1, 0), torch.linalg.inv(normal))


def test_a_singular_system_is_not_finite() -> None:
    factor = factorise(torch.zeros((28, 3), dtype=torch.float64), 7)
    assert not solve(factor, torch.ones((7, 3), dtype=torch.float64)).isfinite().any()
