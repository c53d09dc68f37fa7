from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import eigenboundary as eb
from tests.cases import random_problem

WIDTHS = [2, 20, 20, 3]  # p = 543: too many for the dense route


def trained(seed: int = 0) -> tuple[nn.Module, Any]:
    """A small network that has learnt something, so that its spectrum decays."""
    model, x, y = random_problem(seed, WIDTHS, nn.Tanh)
    eb.training.train(model, (x, y), epochs=200, learning_rate=0.1, batch_size=11)
    return model, (x, y)


def counted(model: nn.Module, data: Any, epsilon: float) -> int:
    """By the definition, from all eigenvectors of the dense matrix."""
    whole = eb.analyze(model, data, k=543, method="dense", grid=0)
    return int((np.abs(whole.training_alignment).mean(0) > epsilon).sum())


@pytest.mark.parametrize("epsilon", [1e-2, 0.05])
def test_the_interval_closes_around_the_true_count(epsilon: float) -> None:
    model, data = trained()
    analysis = eb.analyze(model, data, complexity_tolerance=0, epsilon=epsilon, grid=0)
    g = analysis.complexity.generalization(epsilon)
    assert g.interval == (g.value, g.value)
    assert g.count == counted(model, data, epsilon) > 0
    assert analysis.provenance.solver == "range"
    assert analysis.converged.all()
    assert not any("wider" in note for note in analysis.notes)


def test_a_wider_interval_takes_fewer_products_and_k_is_the_least() -> None:
    model, data = trained()
    products = {}
    for width in (0.0, 0.05, 0.9):
        analysis = eb.analyze(model, data, k=7, complexity_tolerance=width, epsilon=0.02, grid=0)
        low, high = analysis.complexity.generalization(0.02).interval
        assert high - low <= width
        assert low <= counted(model, data, 0.02) / 543 <= high
        assert analysis.k >= 7
        products[width] = analysis.provenance.products
    assert products[0.0] > products[0.9]


def test_what_cannot_be_reached_is_noted() -> None:
    model, data = trained()
    options: dict = {"complexity_tolerance": 0, "epsilon": 1e-3, "grid": 0}
    analysis = eb.analyze(model, data, dtype="float32", **options)
    (note,) = (note for note in analysis.notes if "wider" in note)
    assert "The interval of G_θ at 0.001" in note
    assert "float64" in note
    stopped = eb.analyze(model, data, max_products=70, **options)
    assert stopped.provenance.products < 200
    assert stopped.provenance.outcome is eb.Outcome.BUDGET_SPENT
    assert stopped.provenance.message.startswith("stopped after")
    assert any("wider" in note for note in stopped.notes)


def test_an_interrupt_keeps_the_pairs_found_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = trained()
    multiply, calls = eb.HessianOperator._product, []

    def interrupted(self: eb.HessianOperator, block: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return multiply(self, block)

    monkeypatch.setattr(eb.HessianOperator, "_product", interrupted)
    analysis = eb.analyze(model, data, complexity_tolerance=0, epsilon=1e-3, grid=0)
    assert analysis.provenance.outcome is eb.Outcome.INTERRUPTED
    assert analysis.converged.any()
    exact = np.linalg.eigvalsh(eb.HessianOperator(eb.Problem(model, data)).to_dense().numpy())
    nearest = np.abs(analysis.eigenvalues[:, None] - exact).min(1)
    assert (nearest <= 1e-9 * exact.max())[analysis.converged].all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epsilon": 1e-2}, "complexity_tolerance must be given with epsilon; got epsilon=0.01"),
        ({"complexity_tolerance": -1}, "complexity_tolerance must be a number of at least 0 and"),
        ({"complexity_tolerance": "0"}, "complexity_tolerance must be a number of at least 0 and"),
        ({"complexity_tolerance": 0, "epsilon": 0}, "epsilon must be a number between 0 and 1"),
        ({"complexity_tolerance": 0, "method": "krylov"}, "method must be 'auto' or 'range' with"),
    ],
)
def test_what_makes_no_sense_is_refused_before_data_are_read(options: dict, said: str) -> None:
    class Unread(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> Any:
            raise AssertionError("data were read")

    with pytest.raises(eb.InvalidInputError, match=said):
        eb.analyze(nn.Linear(2, 3), Unread(), **options)
