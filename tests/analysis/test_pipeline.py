from __future__ import annotations

import copy
import logging
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from torch import nn

import eigenboundary as eb
from tests.references import dense_gauss_newton, dense_hessian

Blobs = tuple[np.ndarray, np.ndarray]


@pytest.mark.parametrize("curvature", ["hessian", "gauss_newton"])
def test_analyze_gives_the_eigenpairs_of_the_dense_matrix(
    small_model: nn.Module, blobs: Blobs, curvature: str
) -> None:
    x, y = torch.tensor(blobs[0]), torch.tensor(blobs[1])
    matrix = (
        dense_hessian(small_model, x, y)
        if curvature == "hessian"
        else dense_gauss_newton(small_model, x, y)
    )
    expected = np.linalg.eigvalsh(matrix.numpy())[::-1][:6]
    analysis = eb.analyze(small_model, blobs, k=6, curvature=curvature)
    np.testing.assert_allclose(analysis.eigenvalues, expected, rtol=1e-9)
    images = matrix.numpy() @ analysis.eigenvectors
    norms = np.linalg.norm(images - analysis.eigenvectors * analysis.eigenvalues, axis=0)
    np.testing.assert_allclose(norms / expected[0], analysis.residuals, atol=1e-13)
    assert analysis.converged.all()


def test_alignment_of_the_training_inputs_is_the_training_alignment(
    small_model: nn.Module, blobs: Blobs
) -> None:
    analysis = eb.analyze(small_model, blobs, k=6)
    np.testing.assert_allclose(analysis.alignment(blobs[0]), analysis.training_alignment)
    assert analysis.alignment(blobs[0][:4]).shape == (4, 6)


def test_lists_and_float32_arrays_are_taken_as_data(small_model: nn.Module, blobs: Blobs) -> None:
    expected = eb.analyze(small_model, blobs, k=3, grid=0)
    lists = eb.analyze(small_model, (blobs[0].tolist(), blobs[1].tolist()), k=3, grid=0)
    np.testing.assert_array_equal(lists.eigenvalues, expected.eigenvalues)
    narrow = eb.analyze(
        small_model, (blobs[0].astype(np.float32), blobs[1].astype(np.uint8)), k=3, grid=0
    )
    np.testing.assert_allclose(narrow.eigenvalues, expected.eigenvalues, rtol=1e-4)


def test_the_grid_has_the_predictions_and_alignments_of_its_points(
    small_model: nn.Module, blobs: Blobs
) -> None:
    analysis = eb.analyze(small_model, blobs, k=3, grid=11)
    grid = analysis.grid
    assert grid is not None
    points = np.stack(np.meshgrid(grid.first, grid.second), axis=-1)
    outputs = small_model(torch.tensor(points.reshape(-1, 2))).detach().numpy()
    np.testing.assert_allclose(grid.outputs.reshape(-1, 3), outputs, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(grid.predictions.reshape(-1), outputs.argmax(1))
    np.testing.assert_allclose(
        grid.alignment.reshape(-1, 3), analysis.alignment(points.reshape(-1, 2)), atol=1e-4
    )
    assert grid.first[0] < blobs[0][:, 0].min() < blobs[0][:, 0].max() < grid.first[-1]


def test_inputs_of_other_dimensions_have_no_grid() -> None:
    x = np.random.default_rng(0).normal(size=(20, 3))
    analysis = eb.analyze(nn.Linear(3, 2).double(), (x, np.arange(20) % 2), k=2)
    assert analysis.grid is None
    np.testing.assert_allclose(analysis.inputs, x, rtol=1e-6)


def test_at_most_two_thousand_inputs_are_kept_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eigenboundary.analysis.builder._KEPT_INPUTS", 7)
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    analysis = eb.analyze(nn.Linear(3, 2), (x, np.arange(20) % 2), k=2)
    np.testing.assert_array_equal(analysis.input_indices, np.arange(0, 20, 3))
    np.testing.assert_array_equal(analysis.inputs, x[::3])


def test_controls_align_less_than_the_top_eigenvectors(
    small_model: nn.Module, blobs: Blobs
) -> None:
    kinds = ("lowest", "random_eigenvectors", "random_directions")
    analysis = eb.analyze(small_model, blobs, k=4, controls=kinds, grid=0)
    assert set(analysis.controls) == set(kinds)
    top = np.square(analysis.training_alignment).sum(1).mean()
    for kind in kinds:
        assert analysis.controls[kind].shape == (30, 4)
        assert np.square(analysis.controls[kind]).sum(1).mean() < top


def test_an_interrupt_in_the_controls_is_not_swallowed(
    small_model: nn.Module, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object, **kwargs: object) -> eb.Eigenpairs:
        pairs = eb.top_eigenpairs(*args, **kwargs)  # type: ignore[arg-type]
        return type(pairs)(**{**pairs.__dict__, "outcome": eb.Outcome.INTERRUPTED})

    monkeypatch.setattr("eigenboundary.curvature.spectrum.controls.top_eigenpairs", interrupted)
    found = eb.analyze(small_model, blobs, k=4, controls=("lowest",), grid=0, bulk=True)
    assert (found.controls, found.bulk) == ({}, None)
    assert found.provenance.message == "interrupted"
    assert "Interrupted while control directions were computed: they are missing." in found.notes


def test_an_earlier_analysis_is_a_warm_start() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(2, 60), nn.Tanh(), nn.Linear(60, 60), nn.Tanh(), nn.Linear(60, 3)
    )
    x = np.random.default_rng(0).normal(size=(60, 2))
    data = x, np.argmax(x @ np.array([[1.0, -1, 0], [0, 1, -1]]), axis=1)
    cold = eb.analyze(model, data, k=5, dtype="float64", grid=0)
    warm = eb.analyze(model, data, k=5, dtype="float64", grid=0, start=cold)
    assert cold.provenance.solver == "krylov"
    assert warm.provenance.products < cold.provenance.products
    np.testing.assert_allclose(warm.eigenvalues, cold.eigenvalues, rtol=1e-8)


def test_progress_names_every_stage(small_model: nn.Module, blobs: Blobs) -> None:
    seen: list[tuple[str, int, int]] = []
    eb.analyze(
        small_model, blobs, k=3, method="krylov", progress=lambda *report: seen.append(report)
    )
    assert [s for s, done, total in seen if (done, total) == (1, 1)] == [
        "data",
        "eigenpairs",
        "outliers",
        "area",
        "boundary",
        "encoded",
        "alignment",
        "pictures",
    ]
    assert any(stage == "eigenpairs" and total > 1 for stage, _, total in seen)


def test_unconverged_pairs_are_noted(caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 150), nn.ReLU(), nn.Linear(150, 3)).double()
    x = np.random.default_rng(0).normal(size=(60, 2))
    analysis = eb.analyze(model, (x, np.arange(60) % 3), k=8, max_products=60, grid=0)
    assert not analysis.converged.all()
    assert "did not converge" in analysis.notes[-1]
    assert analysis.provenance.message
    assert caplog.records[-1].levelno == logging.WARNING


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k must be an integer of at least 1, 'all' or 'auto'; got 0"),
        ({"k": 40}, "k must be at most p = 39"),
        ({"k": "ten"}, "k must be"),
        ({"curvature": "fisher"}, "curvature must be one of 'hessian', 'gauss_newton'"),
        ({"method": "fast"}, "method must be one of"),
        ({"method": "gram"}, "curvature must be 'gauss_newton'"),
        ({"tolerance": -1}, "tolerance must be"),
        ({"max_products": 0}, "max_products must be"),
        ({"controls": ["highest"]}, "controls must be one of"),
        ({"controls": "lowest"}, "controls must be a sequence"),
        ({"controls": None}, "controls must be a sequence"),
        ({"grid": 1}, "grid must be"),
        ({"grid": "fine"}, "grid must be"),
        ({"start": np.ones((3, 2))}, r"start must have finite eigenvectors of shape \(39, j\)"),
        ({"seed": "x"}, "seed must be"),
    ],
)
def test_unusable_arguments_are_refused_in_one_sentence(
    small_model: nn.Module, blobs: Blobs, options: dict[str, object], message: str
) -> None:
    with pytest.raises(eb.InvalidInputError, match=message) as caught:
        eb.analyze(small_model, blobs, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_loss_without_curvature_has_no_non_null_eigenpairs_to_analyse() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 150), nn.ReLU(), nn.Linear(150, 2))
    model[2].weight.data *= 1e6  # so sure of itself that float32 has no curvature left
    x = torch.randn(20, 2)
    with pytest.raises(eb.InvalidInputError, match="k must be a number where no eigenpair"):
        eb.analyze(model, (x, model(x).argmax(1)), k=None, grid=0)


def with_dead_units(
    x: torch.Tensor, y: torch.Tensor
) -> Iterator[tuple[int, nn.Module, torch.Tensor]]:
    """Seeds, networks trained a little, all at once, and their dense Hessians in float64."""
    models, batches = [], []
    for seed in range(300):
        torch.manual_seed(seed)
        models.append(nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3)))
        batches.append(torch.cat([torch.randperm(len(x)) for _ in range(10)]).reshape(10, -1))
    weights, _ = torch.func.stack_module_state(models)
    order = torch.stack(batches)

    def loss(weights: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(torch.func.functional_call(models[0], weights, (x,)), y)

    optimizer = torch.optim.Adam(weights.values(), lr=1e-2)
    for epoch in range(10):
        for batch in order[:, epoch].split(16, dim=1):
            optimizer.zero_grad()
            torch.func.vmap(loss)(weights, x[batch].float(), y[batch]).sum().backward()
            optimizer.step()
        for seed in range(epoch - 4, 300, 6) if epoch >= 4 else ():  # after 5 to 10 epochs
            models[seed].load_state_dict({name: w[seed] for name, w in weights.items()})
    final, _ = torch.func.stack_module_state([copy.deepcopy(m).double() for m in models])

    def flat_loss(theta: torch.Tensor) -> torch.Tensor:
        pieces = theta.split([p.numel() for p in models[0].parameters()])
        named = zip(models[0].named_parameters(), pieces, strict=True)
        return loss({name: piece.reshape(p.shape) for (name, p), piece in named}, x, y)

    thetas = torch.cat([w.detach().flatten(1) for w in final.values()], dim=1)
    hessians = torch.func.vmap(torch.func.hessian(flat_loss), chunk_size=4)(thetas)
    return zip(range(300), models, hessians, strict=True)


def test_networks_with_dead_units_have_finite_and_right_eigenpairs() -> None:
    """Dead units leave zero rows in a dense float32 Hessian, on which LAPACK's float32 fails."""
    x, y = (torch.from_numpy(array) for array in load_iris(return_X_y=True))
    for seed, model, hessian in with_dead_units(x, y):
        expected = np.linalg.eigvalsh(hessian.numpy())
        pairs = eb.top_eigenpairs(eb.MatrixOperator(hessian.float()), 10, method="dense")
        found = [(pairs.values, pairs.vectors, pairs.converged)]
        if seed % 10 == 0:
            analysis = eb.analyze(model, (x.float(), y), k=10, grid=0)
            assert analysis.provenance.solver == "dense"
            found.append((analysis.eigenvalues, analysis.eigenvectors, analysis.converged))
        for values, vectors, converged in found:
            assert converged.all()
            assert np.isfinite(np.asarray(vectors)).all()
            np.testing.assert_allclose(values, expected[::-1][:10], atol=2e-3 * expected[-1])


def test_a_linear_network_has_as_many_outliers_as_directions_of_its_outputs(blobs: Blobs) -> None:
    analysis = eb.analyze(nn.Linear(2, 3).double(), blobs, k=9, grid=0)
    # H = G acts on the contrasts of three outputs of three parameters each.
    assert analysis.outliers == 6
    assert analysis.outlier_count.resolved
    assert analysis.boundary_complexity is not None
    assert analysis.boundary_complexity.count <= 6


def test_a_network_of_one_prediction_has_no_boundary_which_a_note_says(blobs: Blobs) -> None:
    model = nn.Linear(2, 3).double()
    model.bias.data = torch.tensor([100.0, 0.0, 0.0]).double()
    analysis = eb.analyze(model, blobs, k=3, grid=0)
    assert any("predicts class 0 for all 30" in note for note in analysis.notes)
    found = analysis.boundary_complexity
    assert found is not None
    assert np.isnan(found.rank)
    assert not len(found.encoded)
    assert found.dimension > 0
    assert "boundary" in str(analysis)


def test_equal_outputs_leave_no_confidence_which_a_note_says(blobs: Blobs) -> None:
    model = nn.Linear(2, 3).double()
    model.weight.data.zero_()
    model.bias.data.zero_()
    analysis = eb.analyze(model, blobs, k=3, grid=0)
    assert analysis.boundary_complexity is None
    assert any("complexity is missing: level must" in note for note in analysis.notes)


def test_what_eigenvectors_hold_of_the_boundary_is_at_most_the_best(
    small_model: nn.Module, blobs: Blobs
) -> None:
    found = eb.analyze(small_model, blobs, k=6).boundary_complexity
    assert found is not None
    assert found.encoded.shape == found.best.shape == (6,)
    assert (found.encoded <= found.best + 1e-9).all()
    assert (np.diff(found.encoded) >= 0).all()
