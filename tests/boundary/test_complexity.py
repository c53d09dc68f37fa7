from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, jacrev

import eigenboundary as eb
from tests.boundary.test_distance import random_network
from tests.references import Golden, dense_gauss_newton

#: Counts and dimensions of the reference networks by dense matrices in float64.
REFERENCE = {
    "gauss_normal": {0.1: (5, 5.5), 0.03: (6, 7.7), 0.01: (7, 9.2)},
    "gauss_large_norm": {0.1: (8, 10.7), 0.03: (10, 14.2), 0.01: (13, 15.1)},
    "gauss_adversarial": {0.1: (13, 19.5), 0.03: (19, 24.5), 0.01: (19, 23.2)},
}


def dense_spectrum(model: nn.Module, x: torch.Tensor, factor: float) -> np.ndarray:
    class Sharpened(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return factor * self.model(x)

    matrix = dense_gauss_newton(Sharpened(), x, model(x).argmax(1))
    return np.linalg.eigvalsh(matrix.detach().numpy())[::-1]


def squared_singular_values(model: nn.Module, x: torch.Tensor, factor: float) -> np.ndarray:
    """The same spectrum from a root of the matrix: small eigenvalues keep their digits."""
    parameters = dict(model.named_parameters())
    jacobian = jacrev(lambda theta: functional_call(model, theta, (x,)))(parameters)
    rows = torch.cat([part.flatten(2) for part in jacobian.values()], dim=2)
    p = torch.softmax(factor * model(x), 1)
    root = factor * p.sqrt().unsqueeze(2) * (torch.eye(p.shape[1]) - p.unsqueeze(1))
    scaled = (root @ rows).flatten(0, 1) / len(x) ** 0.5
    return torch.linalg.svdvals(scaled.detach()).square().numpy()


def small(seed: int, classes: int = 3) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    model = random_network(seed, 2, classes)
    x = torch.randn(20, 2, generator=torch.Generator().manual_seed(seed)).double()
    return model, x, torch.arange(20) % classes


def test_reference_networks_have_the_counts_of_dense_matrices(golden: Golden) -> None:
    found = eb.boundary_complexity(golden.model(), golden.data, dtype="float64")
    for level, (count, dimension) in REFERENCE.get(golden.name, {}).items():
        at_level = found.at(level)
        assert at_level.count == count
        assert at_level.count_interval == (count, count)
        assert abs(at_level.dimension - dimension) <= 0.05 + 1e-9


def test_the_paper_orders_its_three_starts_as_the_count_does(
    gauss_normal: Golden, gauss_adversarial: Golden
) -> None:
    plain, robust = (
        eb.boundary_complexity(g.model(), g.data) for g in (gauss_normal, gauss_adversarial)
    )
    for level in eb.boundary.complexity.LEVELS:
        assert plain.at(level).count < robust.at(level).count
        assert plain.at(level).dimension_interval[1] < robust.at(level).dimension_interval[0]


@example(2, 2, 1e-3)  # T = 10,030: one sample lies at the boundary
@given(st.integers(0, 10_000), st.integers(2, 4), st.floats(1e-3, 0.5))
def test_eigenvalues_are_those_of_the_dense_matrix(seed: int, classes: int, level: float) -> None:
    model, x, y = small(seed, classes)
    predicted = model(x).argmax(1)
    if not len(predicted.unique()) > 1:
        return
    found = eb.boundary_complexity(model, (x, y), level=level, levels=()).at(level)
    dense = dense_spectrum(model, x, found.temperature)[: len(found.eigenvalues)]
    held = found.eigenvalues[: len(dense)]
    np.testing.assert_allclose(held, dense, atol=1e-9 * dense[0])
    exact = squared_singular_values(model, x, found.temperature)
    assert found.count == (exact > level).sum()
    assert np.isclose(found.dimension, (exact / (exact + level)).sum(), rtol=1e-6)


@example(1526, 3.7)  # λ_1 = 20,000: rounding of it is felt in d_L
@example(1526, 123.4)
@given(st.integers(0, 10_000), st.floats(1e-3, 1e3))
def test_a_factor_on_the_logits_changes_nothing(seed: int, factor: float) -> None:
    model, x, y = small(seed)
    before = eb.boundary_complexity(model, (x, y))
    model[-1].weight.data *= factor  # the last layer's own gradients keep their size
    model[-1].bias.data *= factor
    scaled = eb.boundary_complexity(model, (x, y), parameters=["0.*", "2.*"])
    plain = eb.boundary_complexity(small(seed)[0], (x, y), parameters=["0.*", "2.*"])
    np.testing.assert_allclose(before.temperature / factor, scaled.temperature, rtol=1e-10)
    for one, other in zip(scaled.levels, plain.levels, strict=True):
        np.testing.assert_allclose(one.dimension, other.dimension, rtol=1e-10)
        assert one.count == other.count


def assert_rescaled_layers_change_nothing(
    model: nn.Module, data: tuple[object, object], alphas: list[float], *, worst: float
) -> None:
    other = eb.reparametrize(model, alphas)
    one, two = (
        eb.boundary_complexity(eb.layer_normalized(network, data)) for network in (model, other)
    )
    for a, b in zip(one.levels, two.levels, strict=True):
        # An eigenvalue is known to the rounding of the largest, d_L to that over L.
        rounding = max(1e-10, worst * float(a.eigenvalues[0]) / a.level)
        np.testing.assert_allclose(a.dimension, b.dimension, rtol=rounding)
        assert a.count == b.count or a.count_interval[0] < a.count_interval[1]


@given(st.integers(0, 10_000), st.floats(-2, 2), st.floats(-2, 2))
def test_layer_normalized_numbers_are_invariant_under_rescaled_layers(
    seed: int, first: float, second: float
) -> None:
    model, x, y = small(seed)
    alphas = [10**first, 10**second, 10 ** -(first + second)]
    assert_rescaled_layers_change_nothing(model, (x, y), alphas, worst=1e-15)


def test_layer_normalized_numbers_of_a_trained_network_are_invariant_to_1e_10(
    gauss_normal: Golden,
) -> None:
    x, y = (torch.tensor(part) for part in gauss_normal.data)
    model = gauss_normal.model().double()
    alphas = [30.0, 0.01, 1 / 0.3]
    assert_rescaled_layers_change_nothing(model, (x.double(), y), alphas, worst=0.0)


def test_float32_intervals_hold_the_numbers_of_float64() -> None:
    held = 0
    for seed in range(40):
        model, x, y = small(seed)
        exact = eb.boundary_complexity(model, (x, y))
        found = eb.boundary_complexity(model, (x, y), dtype="float32")
        counted = found.count_interval[0] <= exact.count <= found.count_interval[1]
        low, high = found.dimension_interval
        held += counted and low <= exact.dimension <= high
    assert held >= 38


def test_a_level_that_was_not_computed_is_said_to_be_missing() -> None:
    model, x, y = small(0)
    found = eb.boundary_complexity(model, (x, y))
    assert found.at(0.1).level == 0.1
    with pytest.raises(eb.InvalidInputError, match=r"among 0\.03, 0\.1, 0\.01"):
        found.at(0.5)


@pytest.mark.parametrize("level", [0, -1.0, "much", float("inf"), True])
def test_a_level_that_is_no_positive_number_is_refused(level: object) -> None:
    model, x, y = small(0)
    with pytest.raises(eb.InvalidInputError, match="level"):
        eb.boundary_complexity(model, (x, y), level=level)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"levels": 0.1}, "levels must be a sequence of numbers; got 0.1"),
        ({"levels": [0.1, -1]}, "levels must be a number above 0; got -1"),
        ({"vectors": "some"}, "vectors must be finite orthonormal directions"),
        ({"vectors": torch.ones(3, 2)}, r"vectors must be finite orthonormal .* got \(3, 2\)"),
        ({"points": -1}, "points must"),
        ({"samples": 1}, "samples must"),
        ({"seed": "a"}, "seed must"),
    ],
)
def test_what_does_not_fit_is_named(options: dict[str, object], words: str) -> None:
    model, x, y = small(0)
    with pytest.raises(eb.InvalidInputError, match=words):
        eb.boundary_complexity(model, (x, y), **options)


def test_directions_must_be_orthonormal_and_may_be_read_only(recwarn) -> None:
    model, x, y = small(1)
    analysis = eb.analyze(model, (x, y), k=4, grid=0)
    vectors = analysis.eigenvectors
    assert not vectors.flags.writeable
    found = eb.boundary_complexity(model, (x, y), vectors=vectors)
    np.testing.assert_allclose(found.encoded, analysis.boundary_complexity.encoded, rtol=1e-6)
    eb.analyze(model, (x, y), k=4, grid=0, start=vectors)
    assert not [w for w in recwarn if "writable" in str(w.message)]
    for wrong in (2 * vectors, vectors[:, [0, 0]]):
        with pytest.raises(eb.InvalidInputError, match="inner products differ"):
            eb.boundary_complexity(model, (x, y), vectors=wrong)
