"""The displays draw the numbers of an analysis, all of them and nothing else."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import eigenboundary as eb
from eigenboundary.alignment.complexity import random_alignment
from eigenboundary.displays import (
    AlignmentDisplay,
    ControlsDisplay,
    EmbeddingDisplay,
    MassDisplay,
    PlaneDisplay,
    SpectrumDisplay,
    embed,
)
from eigenboundary.displays.style import class_color, class_marker
from eigenboundary.runtime.formats import format_number


def blobs(n=45, d=2, n_classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    centres = 3 * torch.randn(n_classes, d, generator=generator)
    y = torch.arange(n) % n_classes
    return centres[y] + torch.randn(n, d, generator=generator), y


def trained(x, y, width=8):
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(x.shape[1], width), torch.nn.ReLU(), torch.nn.Linear(width, 3)
    )
    optimizer = torch.optim.Adam(net.parameters(), 3e-2)
    for _ in range(150):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    return net


@pytest.fixture(scope="module")
def analysis():
    x, y = blobs()
    return eb.analyze(trained(x, y), (x, y), k=7, grid=25, controls=("lowest", "random_directions"))


@pytest.fixture(scope="module")
def high_dimensional():
    x, y = blobs(d=6)
    return eb.analyze(trained(x, y), (x, y), k=3)


# -------------------------------------------------------------------------------- spectrum


def test_spectrum_marks_as_many_outliers_as_were_counted(analysis):
    display = SpectrumDisplay.from_analysis(analysis)
    drawn = [line.get_ydata() for name, line in display.lines_.items() if name.endswith("outliers")]
    assert sum(map(len, drawn)) == analysis.outliers
    assert str(analysis.outliers) in display.ax_.get_title("left")


def test_spectrum_draws_each_eigenvalue_once_at_its_index(analysis):
    display = SpectrumDisplay.from_analysis(analysis)
    points = np.concatenate([line.get_xydata() for line in display.lines_.values()])
    points = points[np.argsort(points[:, 0])]
    expected = np.concatenate([analysis.eigenvalues, analysis.next_eigenvalues])
    np.testing.assert_array_equal(points[:, 0], np.arange(1, len(expected) + 1))
    np.testing.assert_array_equal(points[:, 1], expected)


def test_spectrum_calls_an_unresolved_count_a_lower_bound():
    title = SpectrumDisplay([3.0, 2.0, 1.0], [], 2, resolved=False).plot().ax_.get_title("left")
    assert title.startswith("At least 2")


def test_spectrum_has_a_logarithmic_axis_only_where_all_are_positive():
    assert SpectrumDisplay([3.0, 1.0], [0.5], 1).plot().ax_.get_yscale() == "log"
    assert SpectrumDisplay([3.0, 1.0], [-0.5], 1).plot().ax_.get_yscale() == "symlog"


def test_spectrum_marks_outliers_among_the_estimates_hollow():
    display = SpectrumDisplay([9.0], [8.0, 0.1], 2).plot()
    line = display.lines_["next_outliers"]
    assert line.get_ydata().tolist() == [8.0]
    assert line.get_markerfacecolor() == "white"
    assert line.get_color() == display.lines_["outliers"].get_color()


def test_spectrum_error_bars_are_residuals_times_the_largest_eigenvalue():
    display = SpectrumDisplay([4.0, 2.0], [], 1, residuals=[0.1, 0.2]).plot()
    bars = display.errorbars_.lines[2][0].get_segments()
    np.testing.assert_allclose([bar[1][1] for bar in bars], [4.4, 2.8])


def test_spectrum_refuses_more_outliers_than_eigenvalues():
    with pytest.raises(eb.InvalidInputError, match=r"outliers must be between 0 and 2.*got 3"):
        SpectrumDisplay([2.0, 1.0], [], 3)


# ------------------------------------------------------------------------------------ mass


def test_mass_line_ends_at_what_is_not_outside(analysis):
    display = MassDisplay.from_analysis(analysis)
    assert display.line_.get_ydata()[-1] == pytest.approx(1 - analysis.complexity.mass_outside)
    heights = [bar.get_height() for bar in display.bars_]
    np.testing.assert_allclose(heights, analysis.complexity.mass)


def test_mass_refuses_shares_beyond_one():
    with pytest.raises(eb.InvalidInputError, match="mass must be shares"):
        MassDisplay([0.9, 0.3])


# ------------------------------------------------------------------------------- alignment


def test_alignment_map_holds_the_alignments_sorted_by_class_then_by_the_first(analysis):
    display = AlignmentDisplay.from_analysis(analysis)
    order = display.order_
    np.testing.assert_array_equal(display.image_.get_array(), analysis.training_alignment[order].T)
    assert sorted(order) == list(range(analysis.n_samples))
    labels = analysis.labels[order]
    assert (np.diff(labels) >= 0).all()
    for label in np.unique(labels):
        assert (np.diff(analysis.training_alignment[order, 0][labels == label]) >= 0).all()


def test_alignment_strip_spans_each_class(analysis):
    display = AlignmentDisplay.from_analysis(analysis, class_names=["a", "b", "c"])
    assert [bar.get_width() for bar in display.strip_] == np.bincount(analysis.labels).tolist()
    assert [name.get_text() for name in display.names_] == ["a", "b", "c"]


def test_alignment_colours_are_centred_at_zero(analysis):
    norm = AlignmentDisplay.from_analysis(analysis).image_.norm
    assert (norm.vmin, norm(0.0), norm.vmax) == (-1.0, 0.5, 1.0)


def test_alignment_of_very_many_samples_keeps_every_class_and_row():
    rng = np.random.default_rng(0)
    labels = np.zeros(50_000, dtype=int)
    labels[7] = 1
    display = AlignmentDisplay(rng.uniform(-1, 1, (50_000, 50)), labels).plot()
    rows, columns = display.image_.get_array().shape
    assert rows == 50
    assert columns < 2100
    assert display.order_[-1] == 7


def test_alignment_of_one_sample_with_one_eigenvector_is_drawn():
    assert AlignmentDisplay([[0.5]], [0], [2.0]).plot().image_.get_array().shape == (1, 1)


@pytest.mark.parametrize(
    ("alignment", "labels", "match"),
    [
        ([0.1, 0.2], [0, 1], "alignment must be an array of 2 dimensions"),
        ([[1.5]], [0], r"alignment must .* entries in \[-1, 1\]"),
        ([[np.nan]], [0], "alignment must be finite"),
        ([[0.5]], [0, 1], "labels must be 1 integers"),
        ([[0.5]], [0.5], "labels must be 1 integers"),
    ],
)
def test_alignment_names_the_argument_that_is_wrong(alignment, labels, match):
    with pytest.raises(eb.InvalidInputError, match=match):
        AlignmentDisplay(alignment, labels)


# -------------------------------------------------------------------------------- boundary


def test_boundary_panels_are_the_regions_and_the_top_five(analysis):
    display = PlaneDisplay.from_analysis(analysis)
    assert len(display.axes_) == 6
    for i, surface in enumerate(display.surfaces_):
        np.testing.assert_array_equal(
            np.ravel(surface.get_array()), analysis.grid.alignment[..., i].ravel()
        )
        title = display.axes_[i + 1].get_title("left")
        assert format_number(analysis.eigenvalues[i]) in title


def test_boundary_regions_have_a_colour_for_each_predicted_class(analysis):
    display = PlaneDisplay.from_analysis(analysis, n_eigenvectors=1)
    colours = np.asarray(display.regions_.get_array())
    predicted = analysis.grid.predictions
    for label in np.unique(predicted):
        assert len(np.unique(colours[predicted == label], axis=0)) == 1
    assert len(np.unique(colours.reshape(-1, 3), axis=0)) == len(np.unique(predicted))


def test_boundary_lines_run_where_the_two_largest_outputs_are_equal(analysis):
    from scipy.interpolate import RegularGridInterpolator

    grid = analysis.grid
    display = PlaneDisplay.from_analysis(analysis, n_eigenvectors=1)
    outputs = RegularGridInterpolator((grid.second, grid.first), grid.outputs.astype(float))
    for lines in display.boundaries_[0]:
        for path in lines.get_paths():
            x, y = path.vertices.T
            leading = np.sort(outputs(np.stack([y, x], axis=1)), axis=-1)
            step = np.abs(np.diff(np.sort(grid.outputs, axis=-1)[..., -2:], axis=0)).max()
            assert (leading[:, -1] - leading[:, -2]).max() < step


def test_boundary_draws_every_training_point_in_its_class_colour(analysis):
    display = PlaneDisplay.from_analysis(analysis, n_eigenvectors=2)
    for collections in display.samples_:
        drawn = np.concatenate([points.get_offsets() for points in collections])
        assert sorted(map(tuple, drawn)) == sorted(map(tuple, analysis.inputs.astype(float)))
    colours = [mpl.colors.to_hex(points.get_facecolor()[0]) for points in display.samples_[0]]
    assert colours == [class_color(c).lower() for c in range(3)]


def test_boundary_needs_a_plane(high_dimensional):
    with pytest.raises(eb.InvalidInputError, match="analysis must have a plane"):
        PlaneDisplay.from_analysis(high_dimensional)


def test_boundary_names_how_many_axes_it_needs(analysis):
    _, axes = plt.subplots(1, 2)
    with pytest.raises(eb.InvalidInputError, match="at least 4 Axes, one a panel; got 2"):
        PlaneDisplay.from_analysis(analysis, n_eigenvectors=3, ax=axes)
    display = PlaneDisplay.from_analysis(analysis, n_eigenvectors=1, ax=axes)
    assert display.axes_ == list(axes)


def test_no_more_eigenvectors_can_be_drawn_than_were_computed(analysis):
    with pytest.raises(eb.InvalidInputError, match="n_eigenvectors must be at most k = 7"):
        PlaneDisplay.from_analysis(analysis, n_eigenvectors=8)


# ------------------------------------------------------------------------------- embedding


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_embedding_colours_each_sample_by_its_alignment(high_dimensional, method):
    display = EmbeddingDisplay.from_analysis(high_dimensional, method=method)
    assert len(display.axes_) == 1 + high_dimensional.k
    for i, points in enumerate(display.points_):
        values = {
            tuple(np.round(xy, 9)): value
            for xy, value in zip(points.get_offsets().data, points.get_array(), strict=True)
        }
        expected = high_dimensional.training_alignment[high_dimensional.input_indices, i]
        got = [values[tuple(np.round(xy, 9))] for xy in display.embedding]
        np.testing.assert_array_equal(got, expected)


def test_embedding_by_pca_is_the_same_each_time_and_works_in_one_dimension():
    x = np.random.default_rng(0).normal(size=(8, 1))
    np.testing.assert_array_equal(embed(x), embed(x))
    np.testing.assert_allclose(embed(x)[:, 1], 0, atol=1e-12)


def test_tsne_works_for_few_samples():
    assert embed(np.eye(4), "tsne").shape == (4, 2)


def test_embedding_names_a_wrong_method(high_dimensional):
    with pytest.raises(eb.InvalidInputError, match="method must be one of 'pca', 'tsne'"):
        EmbeddingDisplay.from_analysis(high_dimensional, method="umap")


# -------------------------------------------------------------------------------- controls


def test_controls_show_the_median_of_each_kind_and_the_random_level(analysis):
    display = ControlsDisplay.from_analysis(analysis)
    expected = [analysis.training_alignment, *analysis.controls.values()]
    medians = [line.get_xdata()[0] for line in display.boxes_["medians"]]
    np.testing.assert_allclose(
        medians, [max(np.median(np.abs(values)), 1e-6) for values in expected]
    )
    assert display.line_.get_xdata()[0] == random_alignment(analysis.n_parameters)


def test_controls_are_needed_for_their_picture(high_dimensional):
    with pytest.raises(eb.InvalidInputError, match="controls must hold at least one kind"):
        ControlsDisplay.from_analysis(high_dimensional)


# ----------------------------------------------------------------------------------- style


def test_plot_returns_the_display_and_draws_on_the_axes_given(analysis):
    ax = Figure().add_subplot()
    display = SpectrumDisplay([2.0, 1.0], [], 1)
    assert display.plot(ax) is display
    assert display.ax_ is ax
    assert display.figure_ is ax.figure


def test_displays_leave_global_settings_alone(analysis):
    before = dict(mpl.rcParams)
    AlignmentDisplay.from_analysis(analysis)
    PlaneDisplay.from_analysis(analysis)
    assert dict(mpl.rcParams) == before


def test_displays_given_a_figure_open_none_in_pyplot(analysis):
    PlaneDisplay.from_analysis(analysis, ax=Figure())
    SpectrumDisplay.from_analysis(analysis, ax=Figure().add_subplot())
    assert plt.get_fignums() == []


def test_a_hundred_classes_differ_in_colour_or_marker():
    assert len({(class_color(c), class_marker(c)) for c in range(100)}) == 100


def test_tensors_that_require_gradients_can_be_shown() -> None:
    cosines = torch.rand(6, 2, requires_grad=True)
    display = eb.AlignmentDisplay(cosines, torch.arange(6) % 3)
    np.testing.assert_array_equal(display.alignment, cosines.detach().numpy())
