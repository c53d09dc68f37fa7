"""Pictures of the sections of a boundary hold the numbers of the sections they show."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

import eigenboundary as eb
from eigenboundary.analysis.input_plane import section_samples
from eigenboundary.displays import (
    ClassPairDisplay,
    MarginDisplay,
    PlaneDisplay,
    SectionDisplay,
)
from eigenboundary.displays.style import class_color
from eigenboundary.runtime.formats import format_number, percent

SIDE = 4


def analysis_of(shape, k=4):
    """Three classes of images, told apart by where they are bright."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 3
    centres = torch.randn(3, *shape, generator=generator)
    x = centres[y] + 0.5 * torch.randn(60, *shape, generator=generator)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 8), nn.ReLU(), nn.Linear(8, 3))
    eb.training.train(model, (x, y), epochs=150, learning_rate=0.03)
    return eb.analyze(model, (x, y), k=k, margins=True)


@pytest.fixture(scope="module")
def analysis():
    return analysis_of((1, SIDE, SIDE))


@pytest.fixture(scope="module")
def plane(analysis):
    return eb.input_plane(analysis, analysis.sections[0], resolution=30)


@pytest.fixture(scope="module")
def plain():
    """An analysis without sections."""
    x = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))
    return eb.analyze(nn.Linear(2, 2), (x, (x[:, 0] > 0).long()), k=2, grid=0)


# --------------------------------------------------------------------------------- plane


def test_plane_panels_are_the_regions_and_each_eigenvectors_alignment(analysis, plane):
    display = PlaneDisplay(plane, analysis.eigenvalues).plot()
    assert len(display.axes_) == 1 + analysis.k
    for i, surface in enumerate(display.surfaces_):
        np.testing.assert_array_equal(
            np.ravel(surface.get_array()), plane.alignment[..., i].ravel()
        )
        assert surface.norm(0.0) == 0.5
        title = display.axes_[i + 1].get_title("left")
        assert format_number(analysis.eigenvalues[i]) in title
        assert ("section" in title) == (i == 0)


def test_plane_regions_have_the_tint_of_their_predicted_class(plane):
    display = PlaneDisplay(plane, eigenvectors=[]).plot()
    assert display.colorbar_ is None
    drawn = np.asarray(display.regions_.get_array())
    for label in np.unique(plane.predictions):
        expected = 1 - 0.3 * (1 - np.array(mpl.colors.to_rgb(class_color(label))))
        region = drawn[plane.predictions == label]
        np.testing.assert_allclose(region, np.broadcast_to(expected, region.shape))


def test_plane_marks_the_three_points_in_every_panel_and_names_them_once(plane):
    display = PlaneDisplay(plane, eigenvectors=[1, 0]).plot()
    assert len(display.points_) == 3
    for points in display.points_:
        np.testing.assert_array_equal(points.get_offsets(), plane.points)
    assert [label.get_text() for label in display.labels_] == ["$x_t^+$", "$x_t^-$", "$x_b$"]
    assert [label.xy for label in display.labels_] == list(map(tuple, plane.points))


def test_plane_lengths_are_alike_on_both_axes(plane):
    display = PlaneDisplay(plane, eigenvectors=[0]).plot()
    assert all(ax.get_aspect() == 1 for ax in display.axes_)


def test_plane_of_any_three_inputs_has_no_names_but_those_given(analysis):
    plane = eb.input_plane(analysis, torch.eye(16).reshape(16, 1, 4, 4)[:3], resolution=5)
    assert PlaneDisplay(plane).plot().labels_ == []
    named = PlaneDisplay(plane, names="abc").plot()
    assert [label.get_text() for label in named.labels_] == ["a", "b", "c"]


def test_plane_legend_names_the_classes_that_are_predicted_there(plane):
    display = PlaneDisplay(plane, eigenvectors=[0], class_names=["p", "q", "r"]).plot()
    named = [text.get_text() for text in display.figure_.legends[0].get_texts()]
    assert named == ["pqr"[c] for c in np.unique(plane.predictions)]


def test_plane_boundary_lines_run_where_the_gap_is_small(plane):
    from scipy.interpolate import RegularGridInterpolator

    display = PlaneDisplay(plane, eigenvectors=[0]).plot()
    assert len(display.boundaries_) == 2
    grid = (plane.second, plane.first)
    outputs = RegularGridInterpolator(
        grid, plane.outputs.astype(float), bounds_error=False, fill_value=None
    )
    step = max(np.abs(np.diff(plane.outputs, axis=axis)).max() for axis in (0, 1))
    for lines in display.boundaries_[1]:
        for path in lines.get_paths():
            u, w = path.vertices.T
            leading = np.sort(outputs(np.stack([w, u], axis=1)), axis=-1)
            assert (leading[:, -1] - leading[:, -2]).max() < 2 * step


def test_plane_veils_only_what_lies_outside_the_box(plane):
    def patches(plane):
        return len(PlaneDisplay(plane, eigenvectors=[]).plot().ax_.collections)

    inside = plane.inside.copy()
    inside[:, :9] = False
    assert patches(dataclasses.replace(plane, inside=inside)) == patches(plane) + 2


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"eigenvectors": [4]}, r"eigenvectors\[0\] must be an integer from 0 to 3; got 4"),
        ({"eigenvectors": [-1]}, r"eigenvectors\[0\] must be an integer from 0 to 3; got -1"),
        ({"names": ["a"]}, "names must be 3, one a point; got 1"),
        ({"eigenvalues": [1.0]}, "eigenvalues must be 4"),
        ({"class_names": ["a"]}, "class_names must have a name for each of 3 classes"),
        ({"inputs": np.zeros((1, 2)), "labels": [0]}, "plane must be of two-dimensional inputs"),
    ],
)
def test_plane_names_the_argument_that_is_wrong(plane, options, match):
    with pytest.raises(eb.InvalidInputError, match=match):
        PlaneDisplay(plane, **options)


# ------------------------------------------------------------------------------- section


@pytest.mark.parametrize("index", [0, 2])
def test_section_shows_each_sample_beside_its_nearest_point_and_then_x_b(analysis, index):
    display = SectionDisplay.from_analysis(analysis, index)
    section = analysis.sections[index]
    x = analysis.problem.samples.inputs_at(torch.tensor(section.training_samples)).numpy()
    expected = {0: x[0], 1: section.nearest_points[0], 3: x[1], 4: section.nearest_points[1]}
    for panel, image in {**expected, 6: section.boundary_point}.items():
        np.testing.assert_allclose(display.images_[panel].get_array(), image[0], rtol=1e-6)
        assert display.images_[panel].get_clim() == display.images_[0].get_clim()


def test_section_differences_are_magnified_by_the_factor_that_is_named(analysis):
    display = SectionDisplay.from_analysis(analysis)
    section = analysis.sections[0]
    steps = section.nearest_points - section_samples(analysis, section)
    low, high = display.images_[0].get_clim()
    for side, panel in enumerate((2, 5)):
        image, factor = display.images_[panel], display.factors_[side]
        np.testing.assert_allclose(image.get_array(), factor * steps[side][0], rtol=1e-5)
        assert image.get_clim() == pytest.approx((-(high - low) / 2, (high - low) / 2))
        title = display.axes_[panel].get_title("left")
        assert title == f"difference × {format_number(factor)}"
        # As strong as it can be without being cut off, in steps of 1, 2, 5.
        largest = factor * np.abs(steps[side]).max() / ((high - low) / 2)
        assert 0.4 <= largest <= 1.0 + 1e-6


def test_section_titles_hold_classes_margins_and_alignments(analysis):
    display = SectionDisplay.from_analysis(analysis, class_names=["ant", "bee", "cow"])
    section, names = analysis.sections[0], ["ant", "bee", "cow"]
    for side, panel in enumerate((0, 3)):
        sample = section.training_samples[side]
        assert str(sample) in display.axes_[panel].get_title("left")
        below = display.axes_[panel].get_xlabel()
        assert f"predicted {names[analysis.predictions[sample]]}" in below
        cosine = f"{section.training_alignment[side]:+.2f}".replace("-", "−")
        assert f"A = {cosine}" in below
        margin = f"margin {format_number(section.side_margins[side])}"
        assert margin in display.axes_[panel + 2].get_xlabel()
        owner = section.nearest_sections[side] + 1
        assert f"v_{{{owner}}}" in display.axes_[panel + 1].get_xlabel()
        length = format_number(section.side_paper_margins[side])
        assert f"{length} from $x_t^{'+-'[side]}$" in display.axes_[6].get_xlabel()
    below = display.axes_[6].get_xlabel()
    assert " | ".join(names[c] for c in section.classes) in below
    assert f"{section.alignment:.2f}" in below
    assert percent(section.share) in below


def test_section_says_where_a_nearest_point_belongs_to_no_eigenvector(analysis):
    section = dataclasses.replace(analysis.sections[0], nearest_sections=(-1, 1))
    display = SectionDisplay(section, section_samples(analysis, section)).plot()
    assert display.axes_[1].get_xlabel() == "of no eigenvector"
    assert display.axes_[4].get_xlabel() == "where $v_{2}$ leads"


def test_section_shows_no_boundary_point_where_none_was_found(analysis):
    section = dataclasses.replace(
        analysis.sections[0], side_margins=(float("nan"), 2.0), converged=False
    )
    display = SectionDisplay(section, section_samples(analysis, section)).plot()
    assert display.images_[1] is None
    assert display.images_[2] is None
    assert "margin not found" in display.axes_[2].get_xlabel()
    assert [text.get_text() for text in display.axes_[1].texts] == ["not found"]
    assert "margin 2" in display.axes_[5].get_xlabel()
    assert "not converged" in display.figure_.get_suptitle()
    shown = [*section_samples(analysis, section), section.boundary_point, section.nearest_points[1]]
    assert display.images_[0].get_clim() == pytest.approx((np.min(shown), np.max(shown)))


def test_section_of_colour_images_keeps_their_channels():
    analysis = analysis_of((3, SIDE, SIDE), k=1)
    display = SectionDisplay.from_analysis(analysis)
    section = analysis.sections[0]
    three = [*section_samples(analysis, section), section.boundary_point, *section.nearest_points]
    low, high = np.min(three), np.max(three)
    expected = (three[0] - low) / (high - low)
    np.testing.assert_allclose(
        display.images_[0].get_array(), expected.transpose(1, 2, 0), atol=1e-6
    )
    step = display.factors_[0] * (three[3] - three[0]) / (high - low)
    np.testing.assert_allclose(
        display.images_[2].get_array(), 0.5 + step.transpose(1, 2, 0), atol=1e-5
    )


def test_section_draws_on_seven_axes_that_are_given(analysis):
    axes = Figure().subplots(2, 4).ravel()
    display = SectionDisplay.from_analysis(analysis, ax=axes)
    assert display.axes_ == list(axes[:7])
    with pytest.raises(eb.InvalidInputError, match="at least 7 Axes"):
        SectionDisplay.from_analysis(analysis, ax=axes[:6])


def test_section_of_flattened_images_is_drawn_in_the_shape_given():
    analysis = analysis_of((SIDE * SIDE,), k=1)
    display = SectionDisplay.from_analysis(analysis, image_shape=(1, SIDE, SIDE))
    point = analysis.sections[0].boundary_point.reshape(SIDE, SIDE)
    np.testing.assert_allclose(display.images_[6].get_array(), point)
    with pytest.raises(eb.InvalidInputError, match=r"section must be one of images.*\(16,\)"):
        SectionDisplay.from_analysis(analysis)
    with pytest.raises(eb.InvalidInputError, match="image_shape must be"):
        SectionDisplay.from_analysis(analysis, image_shape=(1, SIDE, 5))


def test_section_of_an_analysis_from_a_file_is_the_same_picture(analysis, tmp_path):
    analysis.save(tmp_path / "a.safetensors")
    loaded = SectionDisplay.from_analysis(eb.load(tmp_path / "a.safetensors"))
    display = SectionDisplay.from_analysis(analysis)
    for one, other in zip(loaded.images_, display.images_, strict=True):
        np.testing.assert_allclose(one.get_array(), other.get_array(), rtol=1e-6)


def test_planes_of_an_analysis_are_those_it_has_kept(analysis, tmp_path):
    analysis.save(tmp_path / "a.safetensors")
    loaded = eb.load(tmp_path / "a.safetensors")
    kept = [plane.eigenvector for plane in analysis.planes]
    assert kept == [s.eigenvector for s in analysis.sections if s.share > 0][:3]
    display = PlaneDisplay.from_analysis(loaded, kept[-1])
    assert display.plane.eigenvector == kept[-1]
    title = display.axes_[1].get_title("left")
    assert format_number(analysis.eigenvalues[0]) in title
    default = PlaneDisplay.from_analysis(loaded, eigenvectors=[])
    np.testing.assert_array_equal(default.plane.outputs, analysis.planes[0].outputs)
    with pytest.raises(eb.InvalidInputError, match=r"index must be one of .* got 99"):
        PlaneDisplay.from_analysis(loaded, 99)


def test_planes_are_not_drawn_of_an_analysis_without_them(plain):
    with pytest.raises(eb.InvalidInputError, match="analysis must have a plane"):
        PlaneDisplay.from_analysis(plain)


def test_plane_regions_are_named_inside_and_away_from_the_points(plane):
    display = PlaneDisplay(plane, eigenvectors=[], class_names=["p", "q", "r"]).plot()
    assert display.region_names_
    for text in display.region_names_:
        u, w = text.get_position()
        row, column = np.argmin(abs(plane.second - w)), np.argmin(abs(plane.first - u))
        assert text.get_text() == "pqr"[plane.predictions[row, column]]
        distances = np.linalg.norm(plane.points - [u, w], axis=1)
        assert distances.min() > 0.08 * np.ptp(plane.first)
    numbered = PlaneDisplay(plane, eigenvectors=[]).plot()
    assert {text.get_text() for text in numbered.region_names_} <= set("012")


def test_section_names_a_wrong_index_and_wrong_samples(analysis):
    with pytest.raises(eb.InvalidInputError, match="index must be an integer from 0 to 3"):
        SectionDisplay.from_analysis(analysis, 4)
    with pytest.raises(eb.InvalidInputError, match="samples must have shape"):
        SectionDisplay(analysis.sections[0], np.zeros((2, 16)))


# --------------------------------------------------------------------------- class pairs


def test_class_pairs_map_holds_the_table_with_blank_zeros(analysis):
    display = ClassPairDisplay.from_analysis(analysis)
    table = analysis.sections.class_pairs.to_numpy()
    drawn = display.image_.get_array()
    np.testing.assert_array_equal(np.ma.getmaskarray(drawn), table == 0)
    np.testing.assert_array_equal(drawn.filled(0), table)
    assert len(display.texts_) == np.count_nonzero(table)


def test_class_pairs_numbers_are_per_cent_of_their_cells():
    table = pd.DataFrame(
        [[0.5, 0.0, 0.0], [0.031, 0.0, 0.0004]], ["0 | 1", "0 | 2"], ["1", "2", "none"]
    )
    display = ClassPairDisplay(table).plot()
    got = {text.get_position(): text.get_text() for text in display.texts_}
    assert got == {(0, 0): "50", (0, 1): "3.1", (2, 1): "<0.1"}
    names = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert names == ["$v_{1}$", "$v_{2}$", "none"]


def test_forty_five_class_pairs_have_rows_that_can_be_read():
    pairs = [f"{a} | {b}" for a in range(10) for b in range(a + 1, 10)]
    shares = np.random.default_rng(0).dirichlet(np.ones(45 * 11)).reshape(45, 11)
    table = pd.DataFrame(shares, pairs, [*map(str, range(1, 11)), "none"])
    display = ClassPairDisplay(table, class_names=list("abcdefghij")).plot()
    display.figure_.canvas.draw()
    labels = display.ax_.get_yticklabels()
    assert [label.get_text() for label in labels][:2] == ["a | b", "a | c"]
    boxes = [label.get_window_extent() for label in labels]
    assert all(low.y1 <= high.y0 + 0.5 for high, low in pairwise(boxes))


def test_class_pairs_of_many_eigenvectors_keep_their_names_apart():
    columns = [*map(str, range(1, 41)), "none"]
    table = pd.DataFrame(np.full((1, 41), 1 / 41), ["0 | 1"], columns)
    display = ClassPairDisplay(table).plot()
    assert display.texts_ == []
    display.figure_.canvas.draw()
    boxes = [label.get_window_extent() for label in display.ax_.get_xticklabels()]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


@pytest.mark.parametrize(
    ("table", "match"),
    [
        (pd.DataFrame(), "class_pairs must be a table"),
        ([[0.5]], "class_pairs must be a table .* got list"),
        (pd.DataFrame([[2.0]], ["0 | 1"], ["1"]), "class_pairs must hold shares"),
        (pd.DataFrame([[-0.1]], ["0 | 1"], ["1"]), "class_pairs must hold shares"),
    ],
)
def test_class_pairs_that_are_no_shares_are_refused(table, match):
    with pytest.raises(eb.InvalidInputError, match=match):
        ClassPairDisplay(table)


# ------------------------------------------------------------------------------- margins


def test_margins_are_those_of_the_sections(analysis):
    display = MarginDisplay.from_analysis(analysis)
    sections = analysis.sections
    for name in ("margin", "lower_estimate", "paper_margin"):
        drawn = {}
        for key in (name, f"{name}_hollow"):
            if key in display.lines_:
                drawn |= dict(display.lines_[key].get_xydata())
        expected = {
            s.eigenvector + 1: getattr(s, name) for s in sections if name != "margin" or s.converged
        }
        assert drawn == pytest.approx(expected)


def margins(**changes):
    values = {
        "margin": [2.0, 3.0, np.nan, 1.0, 4.0],
        "lower_estimate": [1.5, 2.0, 2.0, np.nan, 3.0],
        "paper_margin": [4.0, 5.0, 3.0, np.nan, 6.0],
        "share": [0.6, 0.3, 0.0, 0.1, 0.0],
        "converged": [True, True, False, False, True],
    }
    return MarginDisplay(**(values | changes)).plot(Figure().add_subplot())


def test_margins_that_lead_nowhere_are_hollow():
    display = margins()
    hollow = display.lines_["margin_hollow"]
    assert hollow.get_xydata().tolist() == [[5.0, 4.0]]
    assert hollow.get_markerfacecolor() == "white"
    assert display.lines_["margin"].get_markerfacecolor() != "white"


def test_margins_that_have_not_converged_are_crossed_and_never_drawn_as_one():
    display = margins()
    drawn = np.concatenate([display.lines_[name].get_xdata() for name in ("margin",)])
    assert drawn.tolist() == [1, 2]
    assert display.lines_["unconverged"].get_xdata().tolist() == [3, 4]
    # In the title neither: the narrowest number, 1, belongs to an unconverged search.
    assert display.ax_.get_title("left") == "Narrowest margin 2, at the section of $v_{1}$"


def test_margin_estimates_that_are_missing_are_left_out():
    display = margins()
    assert display.lines_["lower_estimate"].get_xdata().tolist() == [1, 2]
    assert display.lines_["lower_estimate_hollow"].get_xdata().tolist() == [3, 5]


def test_margins_of_no_search_that_converged_are_told_as_such():
    display = margins(converged=[False] * 5)
    assert "margin" not in display.lines_
    assert display.ax_.get_title("left") == "No margin was found"


def test_margins_are_on_a_logarithmic_axis_only_where_distances_differ_much():
    assert margins().ax_.get_yscale() == "linear"
    assert margins(paper_margin=[400.0, 5.0, 3.0, 2.0, 6.0]).ax_.get_yscale() == "log"


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"margin": [1.0]}, r"margin must be 5 distances.*\(1,\)"),
        ({"paper_margin": [-1.0] * 5}, "paper_margin must be 5 distances.* the least -1"),
        ({"converged": [1] * 5}, "converged must be 5 booleans"),
        ({"share": []}, "share must be numbers of at least 0"),
    ],
)
def test_margins_name_the_argument_that_is_wrong(changes, match):
    with pytest.raises(eb.InvalidInputError, match=match):
        margins(**changes)


# ---------------------------------------------------------------------------------- all


@pytest.mark.parametrize("display", [SectionDisplay, ClassPairDisplay, MarginDisplay])
def test_an_analysis_without_sections_is_refused(plain, display):
    with pytest.raises(eb.InvalidInputError, match="analysis must have sections"):
        display.from_analysis(plain)


def test_displays_leave_global_settings_alone_and_open_no_window(analysis, plane):
    before = dict(mpl.rcParams)
    PlaneDisplay(plane).plot(Figure())
    SectionDisplay.from_analysis(analysis, ax=Figure())
    for display in (ClassPairDisplay, MarginDisplay):
        ax = Figure().add_subplot()
        assert display.from_analysis(analysis, ax=ax).ax_ is ax
    assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == []
