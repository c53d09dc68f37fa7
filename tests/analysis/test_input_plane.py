"""The plane through three inputs, against evaluation input by input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import eigenboundary as eb
from eigenboundary.analysis.input_plane import section_samples

SHAPE = (2, 3, 3)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(18, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def three(seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(3, *SHAPE)))


@pytest.fixture(scope="module")
def problem():
    x = torch.from_numpy(np.random.default_rng(5).normal(size=(40, *SHAPE)))
    model = network()
    return eb.Problem(model, (x, model(x).argmax(1)))


@pytest.fixture(scope="module")
def analysis(problem):
    x, y = next(iter(problem.samples.batches(100)))
    return eb.analyze(network(), (x, y), k=3, margins=True)


def on_grid(plane):
    """The inputs of the grid, (r * r, ...), written out."""
    rows = [
        plane.origin + u * plane.axes[0] + w * plane.axes[1]
        for w in plane.second
        for u in plane.first
    ]
    return torch.from_numpy(np.stack(rows))


# ----------------------------------------------------------------------------- geometry


@given(seed=st.integers(0, 10_000), scale=st.floats(1e-3, 1e3))
def test_distances_in_the_plane_are_distances_of_inputs(seed, scale):
    points = scale * three(seed)
    plane = eb.input_plane(network(), points, resolution=2)
    flat = points.flatten(1).numpy()
    for i in range(3):
        for j in range(3):
            expected = np.linalg.norm(flat[i] - flat[j])
            got = np.linalg.norm(plane.points[i] - plane.points[j])
            assert got == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(seed=st.integers(0, 10_000))
def test_inputs_at_the_points_coordinates_are_the_points(seed):
    points = three(seed)
    plane = eb.input_plane(network(), points, resolution=2)
    np.testing.assert_allclose(plane.inputs_at(plane.points), points, atol=1e-12)
    np.testing.assert_allclose(plane.project(points), plane.points, atol=1e-12)
    steps, x = (torch.tensor(a).requires_grad_() for a in (plane.points, np.asarray(points)))
    np.testing.assert_allclose(plane.inputs_at(steps), points, atol=1e-12)
    np.testing.assert_allclose(plane.project(x), plane.points, atol=1e-12)


def test_axes_are_orthonormal_and_the_third_point_is_on_their_positive_side():
    plane = eb.input_plane(network(), three(), resolution=2)
    flat = plane.axes.reshape(2, -1)
    np.testing.assert_allclose(flat @ flat.T, np.eye(2), atol=1e-14)
    assert plane.points[0].tolist() == [0.0, 0.0]
    assert plane.points[1, 0] > 0
    assert plane.points[1, 1] == 0
    assert plane.points[2, 1] > 0


def test_projecting_an_input_leaves_a_rest_orthogonal_to_the_plane():
    plane = eb.input_plane(network(), three(), resolution=2)
    x = three(9)[:1].numpy()
    rest = (x - plane.inputs_at(plane.project(x))).reshape(-1)
    np.testing.assert_allclose(plane.axes.reshape(2, -1) @ rest, 0, atol=1e-12)


@given(border=st.floats(0, 2))
def test_the_border_is_a_share_of_the_points_larger_extent(border):
    plane = eb.input_plane(network(), three(), resolution=3, border=border)
    low, high = plane.points.min(0), plane.points.max(0)
    wanted = border * (high - low).max()
    np.testing.assert_allclose([plane.first[0], plane.second[0]], low - wanted)
    np.testing.assert_allclose([plane.first[-1], plane.second[-1]], high + wanted)


# --------------------------------------------------------------------- what is evaluated


@given(seed=st.integers(0, 10_000))
def test_outputs_equal_those_of_the_network_at_each_grid_point(seed):
    model = network(seed)
    plane = eb.input_plane(model, three(seed), resolution=5)
    with torch.no_grad():
        outputs = model(on_grid(plane)).numpy()
    np.testing.assert_allclose(plane.outputs.reshape(-1, 3), outputs, rtol=1e-5, atol=1e-6)
    leading = np.sort(outputs, axis=1)
    np.testing.assert_array_equal(plane.predictions.ravel(), plane.outputs.argmax(-1).ravel())
    np.testing.assert_allclose(plane.gap.ravel(), leading[:, -1] - leading[:, -2], atol=1e-5)


def test_without_vectors_there_is_no_alignment():
    assert eb.input_plane(network(), three(), resolution=4).alignment.shape == (4, 4, 0)


@pytest.mark.parametrize("k", [1, 3])
def test_alignment_equals_that_of_the_grids_inputs(problem, k):
    vectors = np.random.default_rng(1).normal(size=(problem.n_parameters, k))
    plane = eb.input_plane(problem, three(), vectors, resolution=6)
    expected = eb.alignments(problem, on_grid(plane), vectors).numpy()
    np.testing.assert_allclose(plane.alignment.reshape(-1, k), expected, atol=1e-6)


def test_small_batches_give_the_same_plane():
    whole = eb.input_plane(network(), three(), resolution=7)
    parts = eb.input_plane(network(), three(), resolution=7, batch_size=3, box=(-9, 9))
    np.testing.assert_allclose(whole.outputs, parts.outputs, rtol=1e-6)
    assert parts.inside.all()


def test_inside_says_which_grid_points_keep_to_the_box():
    points = three().clamp(-1, 1)
    plane = eb.input_plane(network(), points, resolution=30, box=(-1, 1))
    x = on_grid(plane).flatten(1)
    expected = ((x >= -1 - 2e-5) & (x <= 1 + 2e-5)).all(1).numpy()
    np.testing.assert_array_equal(plane.inside.ravel(), expected)
    assert 0 < plane.inside.mean() < 1


def test_an_analysis_brings_its_network_and_its_eigenvectors(analysis):
    plane = eb.input_plane(analysis, three(), resolution=4)
    expected = analysis.alignment(on_grid(plane)).reshape(4, 4, 3)
    np.testing.assert_allclose(plane.alignment, expected, atol=1e-6)
    one = eb.input_plane(analysis, three(), analysis.eigenvectors[:, 1].copy(), resolution=4)
    np.testing.assert_allclose(one.alignment[..., 0], plane.alignment[..., 1], atol=1e-6)


def test_the_plane_of_a_section_goes_through_its_samples_and_its_boundary_point(analysis, problem):
    section = analysis.sections[1]
    plane = eb.input_plane(analysis, section, resolution=4)
    x = problem.samples.inputs_at(torch.arange(problem.n_samples)).numpy()
    expected = [*x[list(section.training_samples)], section.boundary_point]
    np.testing.assert_allclose(plane.inputs_at(plane.points), expected, atol=1e-9)
    assert plane.eigenvector == 1
    distances = np.linalg.norm(plane.points[:2] - plane.points[2], axis=1)
    np.testing.assert_allclose(distances, section.side_paper_margins, rtol=1e-6)


def test_a_loaded_analysis_finds_the_samples_it_kept(analysis, tmp_path):
    analysis.save(tmp_path / "a.safetensors")
    loaded = eb.load(tmp_path / "a.safetensors", model=network())
    section = loaded.sections[0]
    np.testing.assert_allclose(
        section_samples(loaded, section), section_samples(analysis, section), rtol=1e-6
    )
    assert eb.input_plane(loaded, section, resolution=3).alignment.shape == (3, 3, 3)


def test_an_analysis_keeps_the_planes_of_its_first_sections(analysis, tmp_path):
    assert analysis.planes
    analysis.save(tmp_path / "a.safetensors")
    loaded = eb.load(tmp_path / "a.safetensors")
    for plane, kept in zip(analysis.planes, loaded.planes, strict=True):
        expected = eb.input_plane(analysis, analysis.sections[plane.eigenvector], resolution=60)
        k = plane.alignment.shape[-1]
        np.testing.assert_allclose(plane.alignment, expected.alignment[..., :k], atol=1e-5)
        for name in ("first", "second", "outputs", "origin", "axes", "points", "inside"):
            got = getattr(plane, name)
            np.testing.assert_allclose(got, getattr(expected, name), rtol=1e-5, atol=1e-6)
            np.testing.assert_array_equal(getattr(kept, name), got)
        assert kept.eigenvector == plane.eigenvector


def test_planes_are_of_sections_that_lead_and_keep_to_their_box():
    from dataclasses import replace

    from eigenboundary.boundary.planes import planes_of_sections

    x = torch.rand(60, 4, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2))
    model[2].bias.data -= model(x).mean(0)
    found = eb.analyze(model, (x, model(x).argmax(1)), k=7, grid=0, margins=True, box=(0, 1))
    only = tuple(replace(s, share=float(s.eigenvector == 6)) for s in found.sections)
    vectors = torch.from_numpy(found.eigenvectors.copy())
    sections = replace(found.sections, sections=only)
    (plane,) = planes_of_sections(found.problem, sections, vectors, 9)
    assert plane.eigenvector == 6
    assert plane.alignment.shape == (9, 9, 7)
    expected = eb.input_plane(found, found.sections[6], resolution=9, box=(0, 1))
    np.testing.assert_array_equal(plane.inside, expected.inside)
    assert not plane.inside.all()


def test_no_planes_are_kept_where_pictures_are_not_wanted_or_inputs_are_a_plane(with_margins):
    assert with_margins.planes == ()
    x = torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    model = torch.nn.Linear(3, 2)
    model.weight.data = torch.eye(2, 3)
    model.bias.data.zero_()
    data = x, model(x).argmax(1)
    assert eb.analyze(model, data, k=2, margins=True, grid=0).planes == ()
    (first, *_) = eb.analyze(model, data, k=2, margins=True, grid=7).planes
    assert first.outputs.shape == (7, 7, 2)


def test_an_interrupt_at_the_planes_keeps_the_margins(monkeypatch):
    from eigenboundary.analysis import margins

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(margins, "planes_of_sections", interrupted)
    x = torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    model = torch.nn.Linear(3, 2)
    model.weight.data, model.bias.data = torch.eye(2, 3), torch.zeros(2)
    found = eb.analyze(model, (x, model(x).argmax(1)), k=2, margins=True)
    assert found.sections is not None
    assert found.planes == ()
    assert found.provenance.outcome is eb.Outcome.INTERRUPTED
    assert "Interrupted while planes were evaluated: they are missing." in found.notes


def test_the_model_is_left_as_it_was():
    model = network().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    eb.input_plane(model, three(), resolution=3)
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_images_given_as_lists_of_arrays_and_tensors_are_taken():
    a, b, c = three().float()
    plane = eb.input_plane(network().float(), [a.numpy(), b, c.tolist()], resolution=3)
    assert plane.origin.shape == SHAPE


# -------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("points", "match"),
    [
        (three()[:2], r"points must be three inputs of one shape \(3, ...\); got 2"),
        ([np.zeros(18), np.ones(18), np.ones(17)], r"points must be .* got shapes"),
        (torch.zeros(3), "points must be three inputs of one shape"),
        (None, "points must be three inputs or a Section; got NoneType"),
        ([*"abc"], "points must"),
        (three() * np.nan, "points must be finite; 3 input"),
        (three()[[0, 1, 1]], "points must be three different inputs; .* as points 1 and 2"),
    ],
)
def test_points_that_are_no_three_inputs_are_refused(points, match):
    with pytest.raises(eb.InvalidInputError, match=match):
        eb.input_plane(network(), points)


@given(seed=st.integers(0, 10_000), share=st.floats(-3, 3))
def test_points_in_a_line_are_refused(seed, share):
    a, b, _ = three(seed)
    points = torch.stack([a, b, a + share * (b - a)])
    with pytest.raises(eb.InvalidInputError, match="points must"):
        eb.input_plane(network(), points)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"resolution": 1}, "resolution must be an integer of at least 2; got 1"),
        ({"border": -0.1}, "border must be a number of at least 0"),
        ({"border": "wide"}, "border must be a number of at least 0"),
        ({"box": (1, 0)}, "box must be a pair"),
        ({"box": (0, 1)}, "points must lie in the box from 0 to 1"),
        ({"vectors": np.ones(7)}, "vectors must have shape"),
    ],
)
def test_each_wrong_option_is_named(options, match):
    with pytest.raises(eb.InvalidInputError, match=match):
        eb.input_plane(network(), three(), **options)


def test_inputs_of_another_shape_than_the_problems_are_refused(problem):
    with pytest.raises(eb.InvalidInputError, match="points must have shape"):
        eb.input_plane(problem, torch.eye(3))


def test_an_analysis_without_its_network_is_refused(analysis, tmp_path):
    analysis.save(tmp_path / "a.safetensors")
    loaded = eb.load(tmp_path / "a.safetensors")
    with pytest.raises(eb.InvalidInputError, match="model must be an analysis that has its netw"):
        eb.input_plane(loaded, three())


def test_a_section_needs_a_model_with_samples(analysis):
    with pytest.raises(eb.InvalidInputError, match="model must be a Problem or an Analysis"):
        eb.input_plane(network(), analysis.sections[0])


def test_planes_of_a_large_network_are_coarser_or_left_out_with_a_note(monkeypatch) -> None:
    from eigenboundary.analysis import margins

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 4, generator=generator)
    data = x, (x[:, 0] > 0).long()
    model = eb.networks.build("fnn", inputs=4, classes=2, hidden=(8,))
    sizes, notes = [], []
    for flops in (1e13, 3e7, 1.0):
        monkeypatch.setattr(margins, "_PLANE_FLOPS", flops)
        analysis = eb.analyze(model, data, k=2, margins=True)
        sizes.append([len(plane.first) for plane in analysis.planes])
        notes.append(any("eb.input_plane" in note for note in analysis.notes))
    assert set(sizes[0]) == {60}
    assert all(16 <= size < 60 for size in sizes[1])
    assert sizes[1]
    assert sizes[2] == []
    assert notes == [False, False, True]
