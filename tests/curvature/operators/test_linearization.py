from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor

from eigenboundary.curvature.operators.linearization import LinearMap

aten = torch.ops.aten


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def operations(linear: LinearMap) -> Counter[object]:
    return Counter(n.target for n in linear._apply.graph.nodes if n.op == "call_function")


def check(function, tangents: list[Tensor], constants: list[Tensor]) -> LinearMap:
    """The map equals the function, for what it was traced with and for other numbers."""
    linear = LinearMap(function, tangents, constants)
    for scale in (1.0, -0.5):
        t, c = [scale * v for v in tangents], [v / scale for v in constants]
        kept = linear.prepare(c)
        for _ in range(2):  # nothing that is kept has been written into
            for ours, expected in zip(linear.apply(t, kept), function(t, c), strict=True):
                torch.testing.assert_close(ours, expected)
    return linear


def test_what_does_not_see_the_tangents_is_computed_once() -> None:
    linear = check(
        lambda t, c: [(c[0].exp() @ c[1]) * t[0]],
        [numbers(3, 2)],
        [numbers(3, 4, seed=1), numbers(4, 2, seed=2)],
    )
    assert operations(linear) == {aten.mul.Tensor: 1}


def test_sums_of_products_are_one_operation() -> None:
    def function(t: list[Tensor], c: list[Tensor]) -> list[Tensor]:
        entries = t[0] * c[0] + t[0].roll(1, 0) * c[1].unsqueeze(1)  # one of them broadcast
        return [t[0] @ c[2] + entries @ c[3]]

    constants = [numbers(3, 2, seed=1), numbers(3, seed=2), *numbers(2, 2, 5, seed=3)]
    found = operations(check(function, [numbers(3, 2)], constants))
    assert found[aten.addcmul.default] == found[aten.addmm.default] == 1
    assert found[aten.mul.Tensor] == found[aten.mm.default] == 1
    assert not found[aten.add.Tensor]


def test_a_product_that_is_needed_elsewhere_too_stays() -> None:
    def function(t: list[Tensor], c: list[Tensor]) -> list[Tensor]:
        product = t[0] * c[0]
        return [product + t[0], product.sum(0)]

    found = operations(check(function, [numbers(3, 2)], [numbers(3, 2, seed=1)]))
    assert found[aten.mul.Tensor] == found[aten.add.Tensor] == 1


@pytest.mark.parametrize(
    "function",
    [
        lambda t, c: [t[0].sum(0) + t[0] * c[0]],  # the sum is larger than what is added to
        lambda t, c: [t[0] + 2.0 * (t[0] @ c[1])],
        lambda t, c: [torch.add(t[0], t[0] * c[0], alpha=3)],
        lambda t, c: [t[0] * 2.0 + t[0] * c[0]],
        lambda t, c: [t[0].T.contiguous() + (t[0] * c[0]).T],
        lambda t, c: [(t[0].sin() * 0 + t[0] * c[0]) + (t[0] * c[0])],
        lambda t, c: [(h := t[0] * c[0]) + h, (g := t[0] @ c[1]) + g],
        lambda t, c: [(t[0].t() + t[0] @ c[1]).t().reshape(-1)],
        lambda t, c: [t[0] + (t[0].float() @ c[1].float())],
        lambda t, c: [t[0] + t[0].float() * c[1].float()],
        lambda t, c: [t[0] + t[0] * torch.tensor(0.5)],
        lambda t, c: [t[0] + t[0] * (c[1] > 0)],
        lambda t, c: [t[0][:1].expand(2, 2).clone().view(4), t[0].T.contiguous().view(4)],
    ],
)
def test_other_sums_and_copies_are_what_they_were(function) -> None:
    check(function, [numbers(2, 2)], [numbers(2, 2, seed=1), numbers(2, 2, seed=2)])


def test_copies_that_change_nothing_are_left_out() -> None:
    def function(t: list[Tensor], c: list[Tensor]) -> list[Tensor]:
        same = t[0].clone().expand(3, 2).to(torch.float64, copy=True).view(3, 2)
        return [same * c[0]]

    found = operations(check(function, [numbers(3, 2)], [numbers(3, 2, seed=1)]))
    assert found == {aten.mul.Tensor: 1}
