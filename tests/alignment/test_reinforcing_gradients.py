from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import eigenboundary as eb
from eigenboundary.alignment import reinforcing_gradients as alignments
from tests.cases import random_problem
from tests.references import (
    Golden,
    alignment_from_residual,
    exact_output_residual,
    flat_gradient,
    textbook_loss,
)

Blobs = tuple[np.ndarray, np.ndarray]


def textbook_alignment(
    model: nn.Module, x: torch.Tensor, vectors: torch.Tensor, loss: str = "cross_entropy"
) -> torch.Tensor:
    """One backward pass a sample through torch's own loss, with the prediction as target."""
    rows = []
    for sample in x:
        outputs = model(sample.unsqueeze(0))
        g = flat_gradient(textbook_loss(loss, outputs, outputs.argmax(1)), model)
        rows.append((g @ vectors) / (g.norm() * vectors.norm(dim=0)))
    return torch.stack(rows)


@given(st.integers(0, 10_000), st.sampled_from(["cross_entropy", "mse"]), st.integers(1, 6))
def test_alignment_is_the_cosine_of_gradient_and_vector(seed: int, loss: str, k: int) -> None:
    model, x, y = random_problem(seed, [3, 4, 3], nn.Tanh)
    vectors = torch.randn(31, k, generator=torch.Generator().manual_seed(seed)).double()
    ours = eb.alignments(eb.Problem(model, (x, y), loss=loss), x, vectors)
    torch.testing.assert_close(
        ours, textbook_alignment(model, x, vectors, loss), rtol=1e-7, atol=1e-9
    )


def test_alignment_of_confident_samples_is_exact(gauss_adversarial: Golden) -> None:
    """Where 1 − p is 1e-74, against the gradient from a 400-digit softmax."""
    model = gauss_adversarial.model().double()
    x = torch.tensor(gauss_adversarial["x"]).double()
    vectors = torch.tensor(gauss_adversarial["eigenvectors_top10"]).double()
    residual = torch.tensor(exact_output_residual(model(x).detach().numpy()))
    expected = alignment_from_residual(model, x, residual, vectors)
    problem = eb.Problem(model, gauss_adversarial.data)
    torch.testing.assert_close(eb.alignments(problem, x, vectors), expected, rtol=0, atol=1e-9)
    single = eb.Problem(gauss_adversarial.model(), gauss_adversarial.data)
    in_float32 = eb.alignments(single, x.float(), vectors).double()
    torch.testing.assert_close(in_float32, expected, rtol=0, atol=1e-4)


def test_gradient_norms_are_known_below_the_underflow(gauss_adversarial: Golden) -> None:
    problem = eb.Problem(gauss_adversarial.model(), gauss_adversarial.data)
    vectors = torch.eye(problem.n_parameters)[:, :1]
    norms = alignments.training_alignment(problem, vectors).log_norms
    # The file's norms lack the predicted class' share, one of at most three equal ones.
    np.testing.assert_allclose(norms, np.log(gauss_adversarial["grad_norm"]), atol=1.2)
    assert norms.min() < np.log(1e-72)
    confident = gauss_adversarial["grad_norm"] < 1e-9
    np.testing.assert_allclose(
        norms[~confident], np.log(gauss_adversarial["grad_norm"])[~confident], atol=1e-4
    )


@pytest.mark.parametrize("entries", [0.0, 1e9])
def test_neither_chunks_nor_the_order_of_products_change_the_alignment(
    small_model: nn.Module, blobs: Blobs, monkeypatch: pytest.MonkeyPatch, entries: float
) -> None:
    vectors = torch.randn(39, 3, dtype=torch.float64)
    whole = eb.alignments(eb.Problem(small_model, blobs), blobs[0], vectors)
    pushed, push = [], alignments.pushforward
    monkeypatch.setattr(alignments, "pushforward", lambda *a: (pushed.append(1), push(*a))[1])
    monkeypatch.setattr(alignments, "_GRADIENT_BYTES", 1)
    monkeypatch.setattr(alignments, "_ENTRIES_AN_OPERATION", entries)
    chunked = eb.alignments(eb.Problem(small_model, blobs, batch_size=4), blobs[0], vectors)
    torch.testing.assert_close(chunked, whole)
    assert bool(pushed) == (entries == 0)


def test_the_length_of_a_direction_does_not_matter_and_its_sign_flips(
    small_model: nn.Module, blobs: Blobs
) -> None:
    problem = eb.Problem(small_model, blobs)
    v = np.random.default_rng(0).normal(size=39)
    expected = eb.alignments(problem, blobs[0], v)
    torch.testing.assert_close(eb.alignments(problem, blobs[0], -1e6 * v), -expected)


def test_a_complete_basis_holds_all_of_every_gradient(small_model: nn.Module, blobs: Blobs) -> None:
    basis = torch.linalg.qr(torch.randn(39, 39, dtype=torch.float64))[0]
    cosines = eb.alignments(eb.Problem(small_model, blobs), blobs[0], basis)
    torch.testing.assert_close(cosines.square().sum(1), torch.ones(30, dtype=torch.float64))


def test_a_gradient_that_vanishes_is_said_and_given_alignment_zero(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = nn.Linear(3, 3, bias=False).double()
    model.weight.data = torch.eye(3, dtype=torch.float64)
    x = torch.eye(3, dtype=torch.float64)  # every output is its own one-hot target
    analysis = eb.analyze(model, (x, torch.arange(3)), k=2, loss="mse")
    assert (analysis.training_alignment == 0).all()
    assert np.isneginf(analysis.log_gradient_norms).all()
    assert "3 reinforcing gradients vanish" in analysis.notes[0]
    assert "vanish" in caplog.text


def test_no_inputs_give_no_rows(small_model: nn.Module, blobs: Blobs) -> None:
    problem = eb.Problem(small_model, blobs)
    assert eb.alignments(problem, blobs[0][:0], np.eye(39)).shape == (0, 39)


@pytest.mark.parametrize(
    ("x", "vectors", "message"),
    [
        (np.ones((4, 3)), np.eye(39), r"x must have shape \(n, 2\)"),
        (np.full((4, 2), np.nan), np.eye(39), "x must be finite"),
        ("abc", np.eye(39), "x must be a numeric array"),
        (np.ones((4, 2)), np.eye(38), r"vectors must have shape \(39, k\)"),
        (np.ones((4, 2)), np.zeros((39, 2)), "vectors must be finite and not zero"),
        (np.ones((4, 2)), np.full((39, 2), np.inf), "vectors must be finite"),
    ],
)
def test_unusable_arguments_are_refused(
    small_model: nn.Module, blobs: Blobs, x: object, vectors: np.ndarray, message: str
) -> None:
    with pytest.raises(eb.InvalidInputError, match=message):
        eb.alignments(eb.Problem(small_model, blobs), x, vectors)


def test_norms_of_millions_of_parameters_do_not_drift() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 10**6, generator=generator) * torch.rand(2, 10**6, generator=generator) ** 4
    model = nn.Linear(10**6, 2)
    problem = eb.Problem(model, (x, torch.arange(2)))
    vectors = torch.eye(1, problem.n_parameters).T
    outputs = model(x).double().detach()
    share = outputs.softmax(1).amin(1)  # of the gradient in the two outputs, with either sign
    expected = (share * (2 * (x.double().square().sum(1) + 1)).sqrt()).log()
    found = alignments.training_alignment(problem, vectors).log_norms
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
