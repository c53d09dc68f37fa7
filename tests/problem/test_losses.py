from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from eigenboundary.problem.losses import as_loss, log_odds_against
from eigenboundary.runtime.errors import InvalidInputError
from tests.references import exact_output_residual

LOGITS = arrays(np.float64, (4, 3), elements=st.floats(-30, 30))
LABELS = torch.tensor([0, 1, 2, 1])


@given(LOGITS)
def test_cross_entropy_is_torchs(logits: np.ndarray) -> None:
    f = torch.tensor(logits)
    expected = torch.nn.functional.cross_entropy(f, LABELS, reduction="none")
    torch.testing.assert_close(as_loss("cross_entropy").per_sample(f, LABELS), expected)


@given(LOGITS)
def test_output_hessian_of_cross_entropy_is_diag_p_minus_ppt(logits: np.ndarray) -> None:
    f = torch.tensor(logits)
    p = f.softmax(-1)
    expected = torch.diag_embed(p) - p.unsqueeze(2) * p.unsqueeze(1)
    torch.testing.assert_close(
        as_loss("cross_entropy").output_hessian(f, LABELS), expected, rtol=1e-9, atol=1e-13
    )


def test_curvature_of_a_confident_sample_survives_float32() -> None:
    f = torch.tensor([[40.0, 0.0, 1.0]])
    curvature = as_loss("cross_entropy").output_hessian(f, torch.tensor([0]))[0, 0, 0]
    expected = math.exp(-40) + math.exp(-39)
    assert float(curvature) == pytest.approx(expected, rel=1e-5)


def test_residual_is_exact_where_softmax_minus_onehot_underflows() -> None:
    logits = np.array([[170.0, 0.0, -3.0], [-400.0, 300.0, -390.0], [0.1, 0.0, -0.1]])
    f = torch.tensor(logits)
    direction, log_scale = as_loss("cross_entropy").residual(f, f.argmax(-1))
    scaled = direction / direction.abs().amax(-1, keepdim=True)
    np.testing.assert_allclose(scaled, exact_output_residual(logits), rtol=1e-12, atol=1e-300)
    with mpmath.workdps(60):
        odds = mpmath.e ** (-170) + mpmath.e ** (-173)
        assert float(log_scale[0]) == pytest.approx(float(mpmath.log(odds / (1 + odds))), rel=1e-14)


@given(LOGITS)
def test_residual_times_scale_is_the_gradient(logits: np.ndarray) -> None:
    for name in ("cross_entropy", "mse"):
        f = torch.tensor(logits, requires_grad=True)
        loss = as_loss(name)
        (expected,) = torch.autograd.grad(loss.per_sample(f, LABELS).sum(), f)
        direction, log_scale = loss.residual(f.detach(), LABELS)
        product = direction * log_scale.exp().unsqueeze(-1)
        torch.testing.assert_close(product, expected, rtol=1e-8, atol=1e-15)


def test_mse_is_torchs_on_one_hot_targets() -> None:
    f = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    targets = torch.nn.functional.one_hot(LABELS, 3).float()
    expected = torch.nn.functional.mse_loss(f, targets)
    torch.testing.assert_close(as_loss("mse").per_sample(f, LABELS).mean(), expected)


def test_nll_of_log_probabilities_is_torchs() -> None:
    f = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    expected = torch.nn.functional.nll_loss(f, LABELS, reduction="none")
    torch.testing.assert_close(as_loss("nll").per_sample(f, LABELS), expected)


def test_log_odds_against_a_class_are_those_of_its_probability() -> None:
    f = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    p = f.softmax(-1).gather(1, LABELS.unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(log_odds_against(f, LABELS), ((1 - p) / p).log())


@pytest.mark.parametrize("loss", ["hinge", 3, None])
def test_an_unknown_loss_is_refused_by_name(loss: object) -> None:
    with pytest.raises(InvalidInputError, match=r"^loss must be .*got"):
        as_loss(loss)  # type: ignore[arg-type]
