from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from torch import nn

import eigenboundary as eb
from eigenboundary.runtime.formats import percent

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
        percent(analysis.complexity.mass_outside),
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
    assert set(made.seconds) == {
        "data",
        "eigenpairs",
        "outliers",
        "area",
        "boundary",
        "encoded",
        "alignment",
        "pictures",
    }
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


def test_sections_found_later_are_those_of_an_analysis_with_margins(
    small_model: nn.Module, blobs: Blobs, tmp_path: Path
) -> None:
    whole = eb.analyze(small_model, blobs, k=2, grid=0, margins=True, seed=3)
    plain = eb.analyze(small_model, blobs, k=2, grid=0, seed=3)
    assert plain.sections is None
    later = plain.find_sections()
    assert later.sections is not None
    assert whole.sections is not None
    assert [s.margin for s in later.sections] == [s.margin for s in whole.sections]
    assert later.smallest_margin.value == whole.smallest_margin.value
    assert later.find_sections().notes == later.notes
    for grid in (1, -3, 2.0, "many", True):
        with pytest.raises(eb.InvalidInputError, match="grid must be 0 or an integer of at least"):
            plain.find_sections(grid=grid)
    plain.save(tmp_path / "plain.safetensors")
    loaded = eb.load(tmp_path / "plain.safetensors", small_model)
    with pytest.raises(eb.InvalidInputError, match="data must be given"):
        loaded.find_sections()
    found = loaded.find_sections(blobs)
    assert [s.margin for s in found.sections] == [s.margin for s in whole.sections]
    with pytest.raises(
        eb.InvalidInputError, match="data must be the 30 samples that were analysed"
    ):
        loaded.find_sections((blobs[0], (blobs[1] + 1) % 3))


def test_names_of_classes_and_features_are_kept(
    small_model: nn.Module, blobs: Blobs, tmp_path: Path
) -> None:
    names = {"class_names": ["one", "two", "three"], "feature_names": ("width", "height")}
    found = eb.analyze(small_model, blobs, k=2, grid=0, **names)
    assert found.class_names == ("one", "two", "three")
    assert any(name in found.sides(0) for name in found.class_names)
    found.save(tmp_path / "named.safetensors")
    assert eb.load(tmp_path / "named.safetensors").feature_names == ("width", "height")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"class_names": ["a", "b"]}, "class_names must be 3 names; got 2"),
        ({"class_names": "abc"}, "class_names must be a sequence of names; got 'abc'"),
        ({"feature_names": ["a", "a"]}, "feature_names must be different from one another"),
        ({"feature_names": ["a"]}, "feature_names must be 2 names; got 1"),
    ],
)
def test_names_that_do_not_fit_are_refused(
    small_model: nn.Module, blobs: Blobs, names: dict[str, object], said: str
) -> None:
    with pytest.raises(eb.InvalidInputError, match=said):
        eb.analyze(small_model, blobs, k=2, **names)


def test_all_eigenpairs_are_asked_for_by_all(small_model: nn.Module, blobs: Blobs) -> None:
    found = eb.analyze(small_model, blobs, k="all", grid=0)
    operator = eb.HessianOperator(small_model, blobs)
    assert len(eb.top_eigenpairs(operator, "all").values) == found.k
    for k in ("al", 0, 2.5, np.array([1, 2]), [3]):
        with pytest.raises(eb.InvalidInputError, match=r"k must be an integer .* or 'all'; got"):
            eb.top_eigenpairs(operator, k)
        with pytest.raises(eb.InvalidInputError, match=r"k must .* 1, 'all' or 'auto'; got"):
            eb.analyze(small_model, blobs, k=k)


def test_the_text_and_what_a_notebook_shows_are_short(analysis: eb.Analysis) -> None:
    assert repr(analysis) == str(analysis)
    assert len(repr(analysis).splitlines()) < 20
    shown = analysis._repr_html_()
    assert "directions move it" in shown
    assert shown.endswith("</svg>\n")


def test_a_model_its_problem_and_its_analysis_are_asked_alike(
    small_model: nn.Module, blobs: Blobs
) -> None:
    problem = eb.Problem(small_model, blobs)
    analysis = eb.analyze(problem, k=3, grid=0)
    for asked in (
        lambda model, **data: eb.analyze(model, k=3, grid=0, **data).eigenvalues,
        lambda model, **data: eb.boundary_points(model, n=20, **data).points,
        lambda model, **data: eb.loss_along(model, np.ones(39), [0.0, 1.0], **data).loss,
        lambda model, **data: eb.smallest_margin(model, k=3, **data).value,
        lambda model, **data: eb.HessianOperator(model, **data).trace(),
        lambda model, **data: eb.GaussNewtonOperator(model, **data).trace(),
        lambda model, **data: eb.layer_normalized(model, **data).network.scales.numpy(),
    ):
        expected = asked(small_model, data=blobs)
        np.testing.assert_allclose(asked(problem), expected, rtol=1e-10)
        np.testing.assert_allclose(asked(analysis), expected, rtol=1e-10)
        for wrong, said in (
            ({"model": 3}, "model must be a torch.nn.Module, a Problem or an Analysis; got int"),
            ({"model": small_model}, "data must be given for a model that is a torch.nn.Module"),
            ({"model": problem, "data": blobs}, "data must be left out for a model that is a Pro"),
        ):
            with pytest.raises(eb.InvalidInputError, match=said):
                asked(**wrong)
    for asked, close in (
        # The search starts towards a problem's samples, or else towards the inputs themselves.
        (lambda model: eb.boundary_distance(model, blobs[0][:3]).value, 1e-6),
        (lambda model: eb.alignments(model, blobs[0][:3], np.eye(39)[:, :2]).numpy(), 1e-10),
        (lambda model: eb.input_plane(model, np.eye(3)[:, :2]).outputs, 1e-10),
    ):
        expected = asked(small_model)
        np.testing.assert_allclose(asked(problem), expected, rtol=close)
        np.testing.assert_allclose(asked(analysis), expected, rtol=close)
