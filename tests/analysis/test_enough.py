from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

import eigenboundary as eb
from eigenboundary.analysis import enough
from eigenboundary.analysis.enough import enough_of, wanted_number, what_is_missing
from tests.references import Golden


@cache
def memorised(noise: float) -> tuple[nn.Module, tuple[torch.Tensor, torch.Tensor]]:
    """A network that has learnt some wrong labels of two classes by heart."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(120, 2, generator=generator)
    y = (x[:, 0] > 0).long()
    wrong = torch.rand(120, generator=generator) < noise
    y[wrong] = 1 - y[wrong]
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(2, 60), nn.Tanh(), nn.Linear(60, 2)))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(1500):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model, (x, y)


def rising(k: int, held: float) -> np.ndarray:
    return np.linspace(held / 2, held, k)


@pytest.mark.parametrize(
    ("k", "held", "best", "outliers", "wanted"),
    [
        (10, 0.95, [0.99], 4, 10),  # enough
        (10, 0.85, [0.9], 4, 20),  # too little is held
        (10, 0.95, [0.9], 14, 20),  # an outlier is missing
        (10, 0.95, [0.9], 45, 45),
        (10, 0.4, np.linspace(0.03, 1, 40), 4, 36),  # no fewer directions can hold enough
        (10, 0.4, [], 4, 20),  # nothing is known of the best
    ],
)
def test_more_are_wanted_until_enough_is_held(k, held, best, outliers, wanted) -> None:
    assert wanted_number(rising(k, held), np.array(best), outliers) == wanted


def test_enough_are_the_first_that_hold_ninety_percent_and_all_outliers() -> None:
    shares = np.linspace(0.01, 1, 100)
    assert enough_of(shares, 3) == 90
    assert enough_of(shares, 95) == 95
    assert enough_of(np.ones(20), 3) == 10


def test_a_network_that_learnt_by_heart_needs_more_eigenvectors_than_ten() -> None:
    model, data = memorised(0.1)
    analysis = eb.analyze(model, data, grid=0, dtype="float64")
    encoded = analysis.boundary_complexity.encoded
    assert analysis.k > 10
    assert encoded[-1] >= 0.9
    assert analysis.outliers <= analysis.k
    assert not any("eigenvectors computed hold" in note for note in analysis.notes)
    asked = eb.analyze(model, data, k=analysis.k, grid=0, dtype="float64")
    np.testing.assert_allclose(analysis.eigenvalues, asked.eigenvalues, rtol=1e-8)
    np.testing.assert_allclose(encoded, asked.boundary_complexity.encoded, rtol=1e-5)
    assert analysis.converged.all()
    assert analysis.provenance.products > asked.provenance.products  # those of both searches


def test_ten_are_enough_for_a_simple_network(gauss_normal: Golden) -> None:
    analysis = eb.analyze(gauss_normal.model(), gauss_normal.data, grid=0)
    assert analysis.k == 10
    assert analysis.boundary_complexity.encoded[-1] >= 0.9
    assert analysis.outliers <= 10


def test_no_more_are_computed_where_more_hold_hardly_more(gauss_adversarial: Golden) -> None:
    """Much of the boundary lies in eigenvectors whose eigenvalues are nearly zero."""
    analysis = eb.analyze(gauss_adversarial.model(), gauss_adversarial.data, grid=0)
    encoded = analysis.boundary_complexity.encoded
    assert analysis.k == 20
    assert encoded[-1] < encoded[9] + 0.1 * (0.9 - encoded[9])
    assert any("20 eigenvectors computed hold" in note for note in analysis.notes)


def test_as_many_are_computed_as_asked_for() -> None:
    model, data = memorised(0.1)
    assert eb.analyze(model, data, k=3, grid=0).k == 3


def test_a_budget_that_is_spent_is_said(monkeypatch) -> None:
    model, data = memorised(0.1)
    monkeypatch.setattr(enough, "_MOST", 12)
    analysis = eb.analyze(model, data, grid=0)
    held = analysis.boundary_complexity.encoded[-1]
    assert analysis.k == 12
    assert held < 0.9
    shares = analysis.boundary_complexity.encoded
    said = what_is_missing(shares, "the boundary's", analysis.outliers)
    assert said
    assert set(said) <= set(analysis.notes)


@pytest.mark.parametrize("name", ["_FLOPS", "_BYTES"])
def test_neither_work_nor_memory_grow_beyond_their_bounds(monkeypatch, name) -> None:
    model, data = memorised(0.1)
    monkeypatch.setattr(enough, name, 1)
    analysis = eb.analyze(model, data, grid=0)
    assert analysis.k == 10
    assert any("eigenvectors computed hold" in note for note in analysis.notes)


def test_fewer_parameters_than_ten_are_all_computed() -> None:
    x = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))
    model = nn.Linear(2, 2)
    model.weight.data, model.bias.data = torch.eye(2), torch.zeros(2)
    assert eb.analyze(model, (x, x.argmax(1)), grid=0).k == 6


def test_integer_inputs_are_judged_by_the_samples_gradients() -> None:
    torch.manual_seed(0)
    x = torch.arange(80).reshape(40, 2) % 7
    model = nn.Sequential(nn.Embedding(7, 3), nn.Flatten(), nn.Linear(6, 2))
    analysis = eb.analyze(model, (x, x[:, 0] % 2), grid=0, dtype="float64")
    assert analysis.complexity.mass_outside <= 0.1
    assert analysis.outliers <= analysis.k


def test_an_interrupt_keeps_the_eigenpairs_known_before(monkeypatch) -> None:
    model, data = memorised(0.1)
    calls = []

    def interrupted(*arguments: object) -> int:
        calls.append(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr("eigenboundary.analysis.builder.affordable_number", interrupted)
    analysis = eb.analyze(model, data, grid=0)
    assert len(calls) == 1
    assert analysis.k == len(analysis.boundary_complexity.encoded) == 10
    assert analysis.provenance.outcome is eb.Outcome.INTERRUPTED
    assert any("Interrupted while what eigenvectors hold" in note for note in analysis.notes)


def test_products_are_counted_over_all_searches_and_converged_pairs_are_kept() -> None:
    model, data = memorised(0.1)
    alone = eb.analyze(model, data, k=10, grid=0, method="krylov")
    most = alone.provenance.products + 20
    analysis = eb.analyze(model, data, grid=0, method="krylov", max_products=most)
    assert analysis.k == 10
    assert analysis.converged.all()
    assert analysis.provenance.products <= most + 40  # those that check residuals beside
    assert any("did not converge" in note for note in analysis.notes)


@pytest.mark.parametrize("method", ["dense", "gram"])
def test_null_vectors_are_not_computed_for_more(method: str) -> None:
    x = torch.randn(12, 10, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 20), nn.Tanh(), nn.Linear(20, 3))
    y = torch.arange(12) % 3
    how = {"curvature": "gauss_newton", "method": method, "dtype": "float64"}
    analysis = eb.analyze(model, (x, y), grid=0, **how)
    assert 10 < analysis.k <= 24  # n (C - 1): all others are null
    assert (analysis.eigenvalues[10:] > 1e-12).all()
    every = eb.analyze(model, (x, y), k="all", grid=0, **how)
    np.testing.assert_allclose(analysis.eigenvalues, every.eigenvalues[: analysis.k], rtol=1e-6)


def test_where_nothing_is_left_to_see_all_eigenpairs_are_refused() -> None:
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 200), nn.ReLU(), nn.Linear(200, 2))
    model[-1].weight.data *= 1e6
    with pytest.raises(eb.InvalidInputError, match="no eigenpair is known not to be null"):
        eb.analyze(model, (x, model(x).argmax(1)), k="all", grid=0)


def test_one_sample_of_another_class_that_is_not_looked_at_loses_no_analysis() -> None:
    x = torch.zeros(10_002, 1)
    x[1] = 1.0
    model = nn.Linear(1, 2)
    model.weight.data, model.bias.data = torch.tensor([[0.0], [2.0]]), torch.tensor([0.5, 0.0])
    analysis = eb.analyze(model, (x, model(x).argmax(1)), grid=0, k=2)
    assert analysis.boundary_area is None
    assert any("No boundary to measure" in note for note in analysis.notes)


@pytest.mark.parametrize("wrong", ["some", 0, 2.5, True])
def test_a_number_of_eigenvectors_that_is_none_is_refused(small_model, blobs, wrong) -> None:
    with pytest.raises(eb.InvalidInputError, match="'all' or 'auto'"):
        eb.analyze(small_model, blobs, k=wrong)
