"""Against five trained networks whose Hessians were evaluated densely in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import eigenboundary as eb
from tests.references import Golden, alignment_from_residual, confidence_gap, exact_output_residual
from tests.shared_analyses import analysis_of

EPSILONS = (1e-3, 1e-2, "random")


def reference_error(golden: Golden) -> np.ndarray:
    """How far the files' alignments can be off, by sample, shape (n, 1).

    They come from softmax(f) − onehot(ŷ) in float64, which loses 1 − p to rounding: its error
    relative to the residual is the machine epsilon over 1 − p.
    """
    return 4 * np.finfo(np.float64).eps / confidence_gap(golden["logits"])[:, None]


def test_float64_has_the_top_ten_and_their_alignments(golden: Golden) -> None:
    analysis = analysis_of(golden, dtype="float64")
    assert analysis.provenance.solver == "krylov"
    assert analysis.converged.all()
    np.testing.assert_allclose(analysis.eigenvalues, golden["eigenvalues"][:10], rtol=1e-6)
    overlap = np.abs((analysis.eigenvectors * golden["eigenvectors_top10"]).sum(0))
    np.testing.assert_allclose(overlap, 1, atol=1e-6)
    difference = np.abs(
        np.abs(analysis.training_alignment) - np.abs(golden["alignment_top50"][:, :10])
    )
    assert (difference <= 1e-5 + reference_error(golden)).all()
    assert analysis.loss_value == pytest.approx(float(golden["loss"]), rel=1e-6)
    np.testing.assert_array_equal(analysis.predictions, golden["logits"].argmax(1))


def test_every_alignment_is_that_of_a_400_digit_softmax(golden: Golden) -> None:
    analysis = analysis_of(golden, dtype="float64")
    model, x = golden.model().double(), torch.tensor(golden["x"]).double()
    residual = torch.tensor(exact_output_residual(golden["logits"]))
    vectors = torch.tensor(golden["eigenvectors_top10"]).double()
    expected = alignment_from_residual(model, x, residual, vectors).numpy()
    difference = np.abs(np.abs(analysis.training_alignment) - np.abs(expected))
    assert difference.max() <= 1e-5


def test_the_files_alignments_are_those_of_a_rounded_softmax(golden: Golden) -> None:
    """The eigenvectors agree on every sample once the files' rounding is put back in."""
    analysis = analysis_of(golden, dtype="float64")
    model, x = golden.model().double(), torch.tensor(golden["x"]).double()
    outputs = model(x).detach()
    rounded = outputs.softmax(1) - torch.nn.functional.one_hot(outputs.argmax(1), outputs.shape[1])
    ours = alignment_from_residual(model, x, rounded, torch.tensor(np.array(analysis.eigenvectors)))
    difference = np.abs(np.abs(ours.numpy()) - np.abs(golden["alignment_top50"][:, :10]))
    assert difference.max() <= 1e-5


def test_float32_keeps_eigenvalues_and_alignments(golden: Golden) -> None:
    analysis = analysis_of(golden, dtype="float32")
    assert analysis.provenance.solver == "krylov"
    np.testing.assert_allclose(analysis.eigenvalues, golden["eigenvalues"][:10], rtol=1e-4)
    difference = np.abs(
        np.abs(analysis.training_alignment) - np.abs(golden["alignment_top50"][:, :10])
    )
    assert (difference <= 1e-3 + reference_error(golden)).all()
    double = analysis_of(golden, dtype="float64")
    in_double = np.abs(np.abs(analysis.training_alignment) - np.abs(double.training_alignment))
    assert in_double.max() <= 1e-3
    # No alignment is lost to underflow.
    assert np.isfinite(analysis.log_gradient_norms).all()
    assert (np.square(analysis.training_alignment).sum(1) > 0).all()
    np.testing.assert_allclose(analysis.log_gradient_norms, double.log_gradient_norms, atol=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_generalization_interval_holds_the_true_value_for_every_k(
    golden: Golden, dtype: str
) -> None:
    analysis = analysis_of(golden, k=50, dtype=dtype)
    whole = analysis.complexity
    for k in range(1, 51):
        part = eb.Complexity(
            whole.alignment[:, :k], whole.n_parameters, whole.alignment_errors[:, :k]
        )
        for statistic in ("mean", "max"):
            for epsilon in EPSILONS:
                g = part.generalization(epsilon, statistic)
                true = float((golden[f"m_{statistic}"] > g.epsilon).mean())
                assert g.interval[0] <= true <= g.interval[1], (k, epsilon, statistic)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_the_interval_of_an_analysis_holds_the_true_value(golden: Golden, k: int) -> None:
    options = {} if k == 10 else {"k": k}
    complexity = analysis_of(golden, dtype="float32", **options).complexity
    for statistic in ("mean", "max"):
        for epsilon in EPSILONS:
            g = complexity.generalization(epsilon, statistic)
            true = float((golden[f"m_{statistic}"] > g.epsilon).mean())
            assert g.interval[0] <= true <= g.interval[1]


def test_the_outliers_do_not_depend_on_k(golden: Golden) -> None:
    analyses = [analysis_of(golden, dtype="float64")]
    analyses += [analysis_of(golden, k=k, dtype="float64") for k in (1, 5, 50)]
    assert len({analysis.outliers for analysis in analyses}) == 1


def test_all_eigenvectors_that_are_not_null_give_the_exact_numbers(gauss_normal: Golden) -> None:
    analysis = analysis_of(gauss_normal, k=None, dtype="float64")
    assert analysis.provenance.solver == "range"
    assert analysis.converged.all()
    assert analysis.eigenvalues.sum() == pytest.approx(float(gauss_normal["trace"]), rel=1e-6)
    norm = np.sqrt(np.square(analysis.eigenvalues).sum())
    assert norm == pytest.approx(float(gauss_normal["fro"]), rel=1e-6)
    complexity = analysis.complexity
    for epsilon in (1e-3, 1e-2, 0.047):
        g = complexity.generalization(epsilon)
        assert g.count == (gauss_normal["m_mean"] > epsilon).sum()
        assert g.interval == (g.value, g.value)
    low, high = complexity.effective_number_interval
    assert low <= complexity.effective_number <= high < 1.002 * low
    assert complexity.effective_number == pytest.approx(11.9, abs=0.05)


@pytest.mark.slow
def test_the_trace_is_the_files(gauss_normal: Golden) -> None:
    problem = eb.Problem(gauss_normal.model(), gauss_normal.data, dtype="float64")
    assert eb.HessianOperator(problem).trace() == pytest.approx(
        float(gauss_normal["trace"]), rel=1e-9
    )


@pytest.mark.slow
def test_dense_is_the_files_to_nine_digits(golden: Golden) -> None:
    problem = eb.Problem(golden.model(), golden.data, dtype="float64")
    pairs = eb.top_eigenpairs(eb.HessianOperator(problem), 10, method="dense")
    np.testing.assert_allclose(pairs.values, golden["eigenvalues"][:10], rtol=1e-9)
    assert pairs.converged.all()


@pytest.mark.slow
def test_every_number_that_needs_no_null_space_is_the_files(golden: Golden) -> None:
    problem = eb.Problem(golden.model(), golden.data, dtype="float64")
    operator = eb.HessianOperator(problem)
    assert operator.trace() == pytest.approx(float(golden["trace"]), rel=1e-6)
    pairs = eb.top_eigenpairs(operator, None)
    fro = float(pairs.values.square().sum().sqrt())
    assert fro == pytest.approx(float(golden["fro"]), rel=1e-6)
