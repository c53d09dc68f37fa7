from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from torch import nn

import eigenboundary as eb

Blobs = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def analysis(small_model: nn.Module, blobs: Blobs) -> eb.Analysis:
    return eb.analyze(small_model, blobs, k=4, grid=9)


def test_an_analysis_is_frozen_down_to_its_arrays(analysis: eb.Analysis) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        analysis.loss_value = 0.0  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        analysis.eigenvalues[0] = 0
    assert analysis.grid is not None
    with pytest.raises(ValueError, match="read-only"):
        analysis.grid.alignment[0] = 0


@pytest.mark.parametrize(
    ("cosines", "predictions", "said"),
    [
        ([0.9, -0.5, 0.2], [1, 2, 1], "1 | 2"),
        ([0.1, 0.2, 0.7], [1, 2, 1], "1 only"),
        ([0.9, -0.08, 0.7], [1, 2, 1], "1 only"),
        ([0.08, -0.9, 0.0], [1, 2, 1], "2 only"),
        ([0.3, -0.4, 0.0], [1, 1, 1], "within 1"),
        ([0.0, 0.0, 0.0], [1, 2, 1], "–"),
    ],
)
def test_sides_name_the_predicted_classes_of_the_most_aligned_samples(
    analysis: eb.Analysis, cosines: list[float], predictions: list[int], said: str
) -> None:
    made = dataclasses.replace(
        analysis,
        training_alignment=np.array(cosines)[:, None],
        predictions=np.array(predictions),
    )
    assert made.sides(0) == said


def test_integers_are_taken_for_inputs_of_a_network_of_floats(analysis: eb.Analysis) -> None:
    whole = np.array([[1, 2], [-3, 0]])
    np.testing.assert_array_equal(analysis.alignment(whole), analysis.alignment(whole * 1.0))


def test_ids_out_of_range_and_floats_for_ids_are_refused_in_one_sentence() -> None:
    network = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(8, 2))
    ids = np.arange(12).reshape(6, 2) % 5
    found = eb.analyze(network, (ids, np.arange(6) % 2), k=2)
    with pytest.raises(eb.InvalidInputError, match="index out of range") as caught:
        found.alignment(np.array([[0, 5]]))
    assert "\n" not in str(caught.value)
    with pytest.raises(eb.InvalidInputError, match="x must hold integers"):
        found.alignment(np.array([[0.0, 1.0]]))
    with pytest.raises(eb.InvalidInputError, match="index out of range"):
        eb.analyze(network, (np.vstack([np.tile(ids, (3, 1)), [[0, 7]]]), np.arange(19) % 2), k=2)


def test_printing_shows_the_headline_numbers(analysis: eb.Analysis) -> None:
    text = str(analysis)
    low, high = analysis.complexity.effective_number_interval
    for part in (
        "3-class network",
        "p = 39",
        "n = 30",
        f"{analysis.eigenvalues[0]:.4g}",
        "4 of 4 converged",
        f"[{low:.3g}, {high:.3g}]",
        f"{analysis.complexity.mass_outside:.1%}",
        "dense",
    ):
        assert part in text


def test_the_table_of_eigenvectors_has_its_numbers(analysis: eb.Analysis) -> None:
    table = analysis.to_dataframe()
    assert table.index.tolist() == [1, 2, 3, 4]
    np.testing.assert_array_equal(table["eigenvalue"], analysis.eigenvalues)
    np.testing.assert_allclose(table["mass"].sum(), 1 - analysis.complexity.mass_outside)
    top = int(table["sample_positive"].iloc[0])
    assert analysis.training_alignment[top, 0] == analysis.training_alignment[:, 0].max()
    assert table["class_positive"].iloc[0] == analysis.predictions[top]
    assert table["outlier"].sum() == min(analysis.outliers, 4)


def test_the_table_of_samples_has_their_alignments(analysis: eb.Analysis, blobs: Blobs) -> None:
    table = analysis.samples_to_dataframe()
    np.testing.assert_array_equal(table["label"], blobs[1])
    np.testing.assert_array_equal(table[["A_1", "A_2", "A_3", "A_4"]], analysis.training_alignment)


def test_the_summary_is_plain_and_complete(analysis: eb.Analysis) -> None:
    import json

    summary = json.loads(json.dumps(analysis.summary()))
    g = analysis.complexity.generalization("random")
    assert summary["generalization"]["random"]["value"] == g.value
    assert summary["generalization"]["random"]["interval"] == list(g.interval)
    assert summary["outliers"] == analysis.outliers
    assert summary == analysis.summary()


def test_provenance_says_how_the_numbers_came_about(small_model: nn.Module, blobs: Blobs) -> None:
    made = eb.analyze(small_model, blobs, k=4, seed=5, method="krylov", dtype="float32").provenance
    assert (made.seed, made.dtype, made.device, made.solver) == (5, "float32", "cpu", "krylov")
    assert made.products > 0
    assert set(made.seconds) == {"data", "eigenpairs", "alignment", "controls", "pictures"}
    assert set(made.versions) == {"eigenboundary", "torch", "numpy", "python"}
    assert made.computed == (
        "double backward (1 of 1 chunks of 30 samples kept; too few products for tracing to pay)"
    )


def test_float32_intervals_allow_for_rounding(small_model: nn.Module, blobs: Blobs) -> None:
    whole = eb.analyze(small_model, blobs, k=39, dtype="float64", method="dense").complexity
    for k in (3, 10, 39):
        part = eb.analyze(small_model, blobs, k=k, dtype="float32", method="dense").complexity
        for epsilon in (1e-3, 1e-2, "random"):
            low, high = part.generalization(epsilon).interval
            assert low <= whole.generalization(epsilon).value <= high
