from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import eigenboundary as eb
from eigenboundary.boundary import ascent
from eigenboundary.boundary.ascent import most_aligned
from tests.references import Golden, alignment_from_residual, exact_output_residual
from tests.shared_analyses import analysis_of, sections_of

Blobs = tuple[np.ndarray, np.ndarray]


def absolute_alignment(golden: Golden, x: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """From the definition, sharing no code with the package."""
    model, points = golden.model().double(), torch.as_tensor(x).double()
    residual = torch.tensor(exact_output_residual(model(points).detach().numpy()))
    found = alignment_from_residual(model, points, residual, torch.tensor(vectors).double())
    return found.abs().numpy()


@pytest.fixture
def analysis(golden: Golden) -> eb.Analysis:
    return analysis_of(golden, k=5, dtype="float64")


def test_margins_of_the_top_sections_are_the_true_distances(golden: Golden, analysis) -> None:
    sections = sections_of(golden)
    for section in sections[:3]:
        samples = list(section.training_samples)
        cosines = analysis.training_alignment[:, section.eigenvector]
        assert samples == [cosines.argmax(), cosines.argmin()]
        np.testing.assert_allclose(section.side_margins, golden["true_margin"][samples], rtol=0.01)
        assert section.margin in section.side_margins
        assert section.converged
        x_t = golden["x"][samples]
        np.testing.assert_allclose(
            np.linalg.norm(x_t - section.boundary_point, axis=1), section.side_paper_margins
        )


def test_x_b_is_on_the_boundary_and_no_sampled_point_is_more_aligned(
    golden: Golden, analysis
) -> None:
    sections = sections_of(golden)
    sampled = eb.boundary_points(analysis, n=1000, seed=5).points
    vectors = np.array(analysis.eigenvectors)
    best = absolute_alignment(golden, sampled[::4], vectors).max(0)
    x_b = np.stack([section.boundary_point for section in sections])
    outputs = golden.model().double()(torch.as_tensor(x_b)).detach().numpy()
    top = np.sort(outputs, axis=1)[:, ::-1]
    assert (top[:, 0] - top[:, 1] <= 1e-6 * np.abs(outputs).max()).all()
    leading = np.sort(np.argsort(-outputs, axis=1)[:, :2], axis=1)
    assert [section.classes for section in sections] == [tuple(pair) for pair in leading]
    own = absolute_alignment(golden, x_b, vectors).diagonal()
    np.testing.assert_allclose([s.alignment for s in sections], own, atol=1e-6)
    assert (own >= best - 0.01).all()


def by_definition(model, points, vectors):
    """The two leading classes of each point, and its squared alignments, the mean over both.

    Each gradient is a backward pass of its own.
    """
    pairs, squares = [], []
    for x in torch.as_tensor(points):
        outputs = model(x.unsqueeze(0))
        pairs.append(tuple(sorted(outputs[0].topk(2).indices.tolist())))
        sides = []
        for label in pairs[-1]:
            loss = nn.functional.cross_entropy(outputs, torch.tensor([label]))
            pieces = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
            g = torch.cat([piece.flatten() for piece in pieces]).numpy()
            sides.append(np.square(g @ vectors) / np.square(g).sum())
        squares.append(np.mean(sides, axis=0))
    return pairs, np.array(squares)


def test_shares_and_the_class_pair_table_are_counts_of_sampled_points(
    gauss_normal: Golden,
) -> None:
    analysis = analysis_of(gauss_normal, k=5, dtype="float64")
    sections = sections_of(gauss_normal)
    points = sections.points.points
    pairs, squared = by_definition(gauss_normal.model().double(), points, analysis.eigenvectors)
    leading = np.where(squared.sum(1) < 0.5, -1, squared.argmax(1))
    table = sections.class_pairs
    assert table.to_numpy().sum() == pytest.approx(1)
    for name, row in table.iterrows():
        pair = tuple(int(c) for c in str(name).split(" | "))
        for column, share in row.items():
            number = -1 if column == "none" else int(column) - 1
            expected = np.mean([p == pair and i == number for p, i in zip(pairs, leading)])  # noqa: B905
            assert share == pytest.approx(expected)
    for section in sections:
        assert section.share == pytest.approx((leading == section.eigenvector).mean())
    assert sections.unexplained == pytest.approx((leading < 0).mean())
    assert sections.mass_outside == pytest.approx((1 - squared.sum(1)).mean())
    assert sum(s.share for s in sections) + sections.unexplained == pytest.approx(1)


def test_a_ten_class_table_agrees_with_a_direct_count() -> None:
    torch.manual_seed(0)
    x = torch.randn(400, 6, dtype=torch.float64)
    teacher = nn.Sequential(nn.Linear(6, 30), nn.Tanh(), nn.Linear(30, 10)).double()
    model = nn.Sequential(nn.Linear(6, 20), nn.Tanh(), nn.Linear(20, 10)).double()
    data = (x, (3 * teacher(x)).argmax(1))
    eb.training.train(model, data, epochs=60, learning_rate=0.5, batch_size=50)
    analysis = eb.analyze(model, data, k=20)
    sections = eb.boundary_sections(analysis, n_points=400)
    table = sections.class_pairs
    points = sections.points.points
    pairs, squares = by_definition(model, points, analysis.eigenvectors)
    np.testing.assert_allclose(np.square(sections.alignment), squares, atol=1e-8)
    direct = np.zeros((10, 10, 21))
    for (i, j), squared in zip(pairs, squares, strict=True):
        direct[i, j, 20 if squared.sum() < 0.5 else squared.argmax()] += 1 / len(points)
    for name, row in table.iterrows():
        i, j = (int(c) for c in str(name).split(" | "))
        np.testing.assert_allclose(row.to_numpy(), direct[i, j], atol=1.5 / len(points))
        direct[i, j] = 0
    assert direct.sum() < 0.01
    assert len(table) > 10


def test_overlap_is_one_with_itself_and_small_between_sections_that_part_classes(
    gauss_normal: Golden,
) -> None:
    sections = sections_of(gauss_normal)
    overlap = sections.overlap
    np.testing.assert_allclose(overlap.diagonal(), 1)
    np.testing.assert_allclose(overlap, overlap.T)
    squared = np.square(sections.alignment)
    profiles = squared / squared.sum(0)
    assert overlap[0, 1] == pytest.approx(np.minimum(profiles[:, 0], profiles[:, 1]).sum())
    assert overlap[0, 1] < 0.5


def test_the_narrower_side_counts_unless_it_is_hardly_aligned(gauss_normal: Golden) -> None:
    section = sections_of(gauss_normal)[0]

    def with_sides(margins, alignment):
        from dataclasses import replace

        return replace(section, side_margins=margins, training_alignment=alignment)

    assert with_sides((2.0, 1.0), (0.9, -0.8)).margin == 1.0
    assert with_sides((2.0, 1.0), (0.9, -0.8)).sample_index == section.training_samples[1]
    for name in ("paper_margin", "lower_estimate"):
        sides = getattr(section, f"side_{name}s")
        assert sides[0] != sides[1]
        assert getattr(with_sides((2.0, 1.0), (0.9, -0.8)), name) == sides[1]
    assert with_sides((2.0, 1.0), (0.9, -0.05)).margin == 2.0
    assert with_sides((2.0, 1.0), (0.9, 0.5)).margin == 2.0
    assert np.isnan(with_sides((np.nan, np.nan), (0.9, -0.8)).margin)
    assert with_sides((np.nan, 3.0), (0.9, -0.8)).margin == 3.0


def test_nearest_boundary_points_belong_to_the_eigenvector_that_leads_there(
    gauss_normal: Golden,
) -> None:
    analysis = analysis_of(gauss_normal, k=5, dtype="float64")
    sections = sections_of(gauss_normal)
    points = np.concatenate([section.nearest_points for section in sections])
    squared = absolute_alignment(gauss_normal, points, np.array(analysis.eigenvectors)) ** 2
    expected = np.where(squared.sum(1) < 0.5, -1, squared.argmax(1))
    assert [i for section in sections for i in section.nearest_sections] == expected.tolist()
    assert len(set(expected)) > 1


def test_a_section_of_an_eigenvector_that_has_not_converged_has_not_either(
    small_model, blobs
) -> None:
    from dataclasses import replace

    analysis = eb.analyze(small_model, blobs, k=2)
    doubtful = replace(analysis, converged=np.array([True, False]))
    sections = eb.boundary_sections(doubtful, n_points=40)
    assert [section.converged for section in sections] == [True, False]


def test_a_linear_network_has_one_section_with_its_analytic_margin() -> None:
    model = nn.Linear(3, 2).double()
    model.weight.data = torch.tensor([[1.0, 2.0, -1.0], [0.0, 0.0, 0.0]]).double()
    model.bias.data = torch.tensor([0.5, 0.0]).double()
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for norm, dual in ((2, 6**0.5), (float("inf"), 4.0)):
        sections = eb.boundary_sections(model, (x, model(x).argmax(1)), k=2, norm=norm, n_points=80)
        expected = (x @ model.weight.data[0] + 0.5).abs() / dual
        for section in sections:
            samples = list(section.training_samples)
            np.testing.assert_allclose(section.side_margins, expected[samples], rtol=1e-5)
            np.testing.assert_allclose(section.side_lower_estimates, expected[samples])


def test_margins_in_a_box_stay_in_it() -> None:
    x = torch.rand(60, 4, generator=torch.Generator().manual_seed(1))
    model = nn.Linear(4, 2)
    model.weight.data = torch.tensor([[3.0, 0.1, 0.1, 0.1], [0.0, 0.0, 0.0, 0.0]])
    model.bias.data = torch.tensor([-1.5, 0.0])
    sections = eb.boundary_sections(model, (x, model(x).argmax(1)), k=2, box=(0, 1), n_points=50)
    for section in sections:
        for point in (section.boundary_point, section.nearest_points):
            assert point.min() >= 0
            assert point.max() <= 1


def test_the_ascent_works_without_second_derivatives(monkeypatch, small_model, blobs) -> None:
    problem = eb.Problem(small_model, blobs)
    pairs = eb.top_eigenpairs(eb.HessianOperator(problem), 2)
    points = torch.from_numpy(eb.boundary_points(problem, n=40).points)
    sampled = eb.alignments(problem, points, pairs.vectors).abs().amax(0)

    def refuse(*_):
        raise NotImplementedError("no derivative of floor")

    monkeypatch.setattr(ascent, "_squared_alignment_slopes", refuse)
    x_b, reached = most_aligned(problem, pairs.vectors, points, seed=0)
    assert (reached >= sampled - 1e-9).all()
    gap = small_model(x_b).topk(2, dim=1).values.diff(dim=1).abs()
    assert gap.max() < 1e-9


def test_large_networks_get_fewer_rounds_and_still_a_point_no_less_aligned(
    small_model: nn.Module, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = [ascent.affordable_rounds(flops) for flops in (0, 10**6, 10**8, 10**9, 10**12)]
    assert counts[:2] == [ascent._ROUNDS] * 2
    assert counts[1] > counts[3] >= counts[4] == ascent._LEAST_ROUNDS
    problem = eb.Problem(small_model, blobs)
    pairs = eb.top_eigenpairs(eb.HessianOperator(problem), 2)
    points = torch.from_numpy(eb.boundary_points(problem, n=40).points)
    rounds, propose = [], ascent._proposals
    monkeypatch.setattr(ascent, "_proposals", lambda *a: (rounds.append(1), propose(*a))[1])
    found = []
    for flops in (problem.signature.flops, 10**12):
        rounds.clear()
        network = replace(problem.network, signature=replace(problem.signature, flops=flops))
        large = eb.Problem.of(network, problem.loss, problem.samples)
        found.append(most_aligned(large, pairs.vectors, points, seed=0)[1])
        assert len(rounds) <= ascent.affordable_rounds(flops)
    assert len(rounds) == ascent._LEAST_ROUNDS
    sampled = eb.alignments(problem, points, pairs.vectors).abs().amax(0)
    assert (found[1] >= sampled - 1e-9).all()


def test_the_same_seed_gives_the_same_sections(small_model: nn.Module, blobs: Blobs) -> None:
    first, second = (
        eb.boundary_sections(small_model, blobs, k=3, n_points=60, seed=4) for _ in range(2)
    )
    np.testing.assert_array_equal(first.points.points, second.points.points)
    assert first.to_dataframe().equals(second.to_dataframe())


def test_sections_survive_being_saved(
    with_margins: eb.Analysis, small_model, blobs, tmp_path: Path
) -> None:
    analysis = with_margins
    analysis.save(tmp_path / "run.safetensors")
    loaded = eb.load(tmp_path / "run.safetensors")
    assert loaded.sections.to_dataframe().equals(analysis.sections.to_dataframe())
    assert loaded.sections.class_pairs.equals(analysis.sections.class_pairs)
    assert [vars(s).keys() for s in loaded.sections] == [vars(s).keys() for s in analysis.sections]
    for name in ("points", "classes", "gap", "pairs"):
        np.testing.assert_array_equal(
            getattr(loaded.sections.points, name), getattr(analysis.sections.points, name)
        )
    assert loaded.smallest_margin.value == analysis.smallest_margin.value
    np.testing.assert_array_equal(
        loaded.smallest_margin.examined, analysis.smallest_margin.examined
    )
    assert loaded.test_accuracy == analysis.test_accuracy == analysis.accuracy
    assert loaded.summary()["smallest_margin"]["value"] == analysis.smallest_margin.value
    again = eb.load(tmp_path / "run.safetensors", model=small_model)
    margins = [s.margin for s in eb.boundary_sections(again, blobs, k=2)]
    np.testing.assert_allclose(margins, [s.margin for s in analysis.sections[:2]], rtol=1e-4)


def test_an_analysis_broken_off_at_its_margins_keeps_the_rest(small_model, blobs, monkeypatch):
    from eigenboundary.analysis import margins as steps

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(steps, "sections_of", interrupted)
    analysis = eb.analyze(small_model, blobs, k=3, margins=True)
    assert analysis.converged.all()
    assert analysis.sections is None
    assert analysis.provenance.outcome is eb.Outcome.INTERRUPTED
    assert any("margins" in note for note in analysis.notes)


def test_less_is_searched_of_a_large_network_which_a_note_says(
    with_margins: eb.Analysis, small_model, blobs, monkeypatch
):
    from eigenboundary.analysis import margins as steps
    from eigenboundary.boundary import smallest_margin as smallest

    usual = with_margins
    assert not any("Less was searched" in note for note in usual.notes)
    monkeypatch.setattr(steps, "_POINTS_FLOPS", 1)
    monkeypatch.setattr(smallest, "_FLOPS_OF_ALL", 0)
    monkeypatch.setattr(smallest, "_FLOPS", 1)
    analysis = eb.analyze(small_model, blobs, k=3, margins=True, grid=0)
    (note,) = (note for note in analysis.notes if "Less was searched" in note)
    assert note == (
        "Less was searched than is usual, for the network's size or the memory limit: "
        "the smallest margin from 2 samples, not 3, sections are told from 100 points of the "
        "boundary, not 1000."
    )
    assert len(analysis.sections.points) <= 100 < len(usual.sections.points)
    assert analysis.smallest_margin.n_examined <= 3  # one of them drawn at random
    assert not analysis.smallest_margin.complete
    assert usual.smallest_margin.complete


def test_a_network_whose_boundary_cannot_be_sampled_keeps_its_analysis(
    small_model, blobs, monkeypatch
) -> None:
    from eigenboundary.boundary import sections

    empty = eb.boundary_points(small_model, blobs, n=1)
    nothing = type(empty)(*(getattr(empty, name)[:0] for name in vars(empty)))
    monkeypatch.setattr(sections, "boundary_points", lambda *_, **__: nothing)
    analysis = eb.analyze(small_model, blobs, k=3, margins=True)
    assert analysis.converged.all()
    assert analysis.sections is None
    assert any(note.startswith("Margins are missing: data must hold") for note in analysis.notes)


class Flat(nn.Module):
    """Two outputs whose difference, u³ + 10⁻⁶ u, is nearly flat at the boundary u = 0."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 0.5], dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        u = x @ self.weight
        return torch.stack([u**3 + 1e-6 * u, 0 * u], dim=1)


def test_x_b_stays_where_a_step_off_it_would_leave_the_boundary(monkeypatch) -> None:
    from eigenboundary.boundary import ascent
    from eigenboundary.boundary.search.norms import Geometry

    x = torch.randn(20, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    problem = eb.Problem(Flat(), (x, (x[:, 0] > 0).long()))
    monkeypatch.setattr(ascent, "output_rounding", lambda *_: x.new_full((2,), 1e-3))
    on = torch.tensor([[0.5, -1.0], [-1.0, 2.0]], dtype=torch.float64)
    point, _ = ascent._on_the_more_aligned_side(problem, on, torch.eye(2).double(), Geometry())
    torch.testing.assert_close(point, on)


def test_x_b_is_a_few_roundings_off_so_that_its_class_is_certain(
    monkeypatch, small_model, blobs
) -> None:
    from eigenboundary.boundary import ascent
    from eigenboundary.boundary.search.norms import Geometry

    problem = eb.Problem(small_model, blobs)
    vectors = torch.eye(problem.n_parameters, 2).double()
    on = torch.from_numpy(eb.boundary_points(problem, n=2).points)
    # The point itself would be chosen, were it not for rounding that decides on its class.
    monkeypatch.setattr(
        ascent, "own_alignment", lambda _, x, *__: x.new_tensor([0.1, 0.2, 0.9] * 2)
    )
    point, aligned = ascent._on_the_more_aligned_side(problem, on, vectors, Geometry())
    assert aligned.tolist() == [0.2, 0.2]
    moved = (point - on).norm(dim=1)
    assert (moved > 0).all()
    gap = small_model(point).topk(2, dim=1).values.diff(dim=1).abs()
    assert ((gap > 0) & (gap < 1e-12)).all()
    low, high = (on.min(), on.max())
    kept, _ = ascent._on_the_more_aligned_side(
        problem, on, vectors, Geometry(box=(float(low), float(high)))
    )
    assert ((kept >= low) & (kept <= high)).all()


def test_sections_hold_their_samples_and_their_box_also_from_a_file(tmp_path: Path) -> None:
    x = torch.rand(60, 4, generator=torch.Generator().manual_seed(1))
    model = nn.Linear(4, 2)
    model.weight.data = torch.tensor([[3.0, 0.1, 0.1, 0.1], [0.0, 0.0, 0.0, 0.0]])
    model.bias.data = torch.tensor([-1.5, 0.0])
    analysis = eb.analyze(model, (x, model(x).argmax(1)), k=2, margins=True, box=(0, 1))
    analysis.save(tmp_path / "run.safetensors")
    for sections in (analysis.sections, eb.load(tmp_path / "run.safetensors").sections):
        assert sections.box == (0.0, 1.0)
        for section in sections:
            np.testing.assert_array_equal(section.samples, x[list(section.training_samples)])
    assert eb.boundary_sections(analysis, n_points=30).box is None


def test_networks_without_a_boundary_are_named(blobs: Blobs) -> None:
    constant = nn.Linear(2, 3).double()
    constant.weight.data.zero_()
    constant.bias.data = torch.tensor([0.0, 1.0, 0.0]).double()
    for search in (eb.boundary_sections, eb.smallest_margin):
        with pytest.raises(eb.InvalidInputError, match="predicts class 1 for all 30"):
            search(constant, blobs)
    with pytest.raises(eb.InvalidInputError, match="predicts class 1 for all 30"):
        eb.analyze(constant, blobs, k=3, margins=True)
    embedded = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 2))
    with pytest.raises(eb.InvalidInputError, match="floating-point inputs"):
        eb.boundary_sections(embedded, (torch.arange(20).reshape(10, 2) % 5, torch.arange(10) % 2))


def test_all_eigenvectors_are_taken_by_the_word() -> None:
    torch.manual_seed(0)
    model, x = nn.Linear(5, 3).double(), torch.randn(30, 5, dtype=torch.float64)
    data = x, model(x).argmax(1)
    analysis = eb.analyze(model, data, k="all")
    held = eb.boundary_sections(analysis, k="all", n_points=20)
    anew = eb.boundary_sections(model, data, k="all", n_points=20)
    assert len(held) == len(anew) == analysis.k > 10
    smallest = eb.smallest_margin(model, data, k="all", budget=3)
    assert smallest.value == eb.smallest_margin(analysis, k="all", budget=3).value
    with pytest.raises(eb.InvalidInputError, match="an integer of at least 1 or 'all'; got 'al'"):
        eb.smallest_margin(analysis, k="al")


def test_an_analysis_must_have_what_is_asked_of_it(small_model, blobs, tmp_path: Path) -> None:
    analysis = eb.analyze(small_model, blobs, k=3)
    analysis.save(tmp_path / "run.safetensors")
    without = eb.load(tmp_path / "run.safetensors")
    loaded = eb.load(tmp_path / "run.safetensors", model=small_model)
    few = blobs[0][:9], blobs[1][:9]
    for arguments, message in (
        ((analysis, None, 4), "at most the 3 eigenvectors"),
        ((analysis, blobs), "data must be left out"),
        ((without,), "loaded without"),
        ((loaded,), "data must be given where training samples are needed"),
        ((loaded, few), "data must be the 30 samples"),
    ):
        with pytest.raises(eb.InvalidInputError, match=message):
            eb.boundary_sections(*arguments)
    with pytest.raises(eb.InvalidInputError, match="dtype must be left out"):
        eb.boundary_sections(analysis, dtype="float32")
    with pytest.raises(eb.InvalidInputError, match="margins must be True or False; got 'l2'"):
        eb.analyze(small_model, blobs, margins="l2")
