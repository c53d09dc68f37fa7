"""``analysis.plot`` draws every picture of an analysis, or says what would compute it."""

from __future__ import annotations

import dataclasses

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

import eigenboundary as eb
from eigenboundary import displays
from eigenboundary.displays.accessor import AnalysisPlots

PICTURES = {
    "spectrum": displays.SpectrumDisplay,
    "density": displays.DensityDisplay,
    "alignment": displays.AlignmentDisplay,
    "boundary": displays.EmbeddingDisplay,
    "embedding": displays.EmbeddingDisplay,
    "controls": displays.ControlsDisplay,
    "mass": displays.MassDisplay,
    "sections": displays.SectionDisplay,
    "class_pairs": displays.ClassPairDisplay,
    "margins": displays.MarginDisplay,
    "plane": displays.PlaneDisplay,
}


def analysis_of(shape, **options):
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(45) % 3
    x = torch.randn(3, *shape, generator=generator)[y]
    x = x + 0.5 * torch.randn(45, *shape, generator=generator)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 6), nn.Tanh(), nn.Linear(6, 3))
    eb.training.train(model, (x, y), epochs=60, learning_rate=0.03)
    return eb.analyze(model, (x, y), k=3, **options)


@pytest.fixture(scope="module")
def images():
    """An analysis of images with everything that can be computed."""
    return analysis_of((1, 4, 4), margins=True, bulk=True, controls=("random_directions",))


@pytest.fixture(scope="module")
def flat():
    """An analysis of two-dimensional inputs."""
    return analysis_of((2,), grid=15)


@pytest.mark.parametrize(("name", "display"), PICTURES.items())
def test_each_method_draws_its_picture_and_returns_its_display(images, name, display):
    figure, before = Figure(), plt.get_fignums()
    drawn = getattr(images.plot, name)(ax=figure)
    assert type(drawn) is display
    assert drawn.figure_ is figure
    assert figure.axes
    assert plt.get_fignums() == before


def test_the_methods_are_all_pictures_of_an_analysis():
    assert {name for name in vars(AnalysisPlots) if not name.startswith("_")} == set(PICTURES)


def test_without_axes_a_picture_is_drawn_on_a_new_pyplot_figure(flat):
    assert plt.figure(flat.plot.mass().figure_.number) is plt.gcf()


def test_the_boundary_of_flat_inputs_is_their_plane(flat):
    display = flat.plot.boundary(ax=Figure(), n_eigenvectors=2)
    assert display.plane is flat.grid
    assert len(display.axes_) == 3
    assert flat.plot.plane(ax=Figure()).plane is flat.grid


def test_options_reach_the_display(images):
    assert images.plot.sections(1, ax=Figure()).section is images.sections[1]
    index = images.planes[-1].eigenvector
    assert images.plot.plane(index, ax=Figure()).plane is images.planes[-1]
    assert images.plot.embedding(ax=Figure(), method="tsne", n_eigenvectors=1).method == "t-SNE"
    names = images.plot.alignment(ax=Figure(), class_names=list("abc")).names_
    assert [name.get_text() for name in names] == ["a", "b", "c"]


def test_the_class_names_of_an_analysis_are_on_its_pictures(images):
    plots = dataclasses.replace(images, class_names=("ant", "bee", "cow")).plot
    for name in ("alignment", "embedding", "sections", "plane"):
        assert getattr(plots, name)(ax=Figure()).class_names[:3] == ["ant", "bee", "cow"]
    rows = plots.class_pairs(ax=Figure()).rows
    assert {word for row in rows for word in row.split(" | ")} <= {"ant", "bee", "cow"}
    assert plots.alignment(ax=Figure(), class_names=list("abc")).class_names == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("density", r"analyze\(\.\.\., bulk=True\)"),
        ("controls", r"analyze\(\.\.\., controls="),
        ("sections", r"analyze\(\.\.\., margins=True\) or analysis\.find_sections\(\)"),
        ("class_pairs", r"analysis\.find_sections\(\)"),
        ("margins", r"analysis\.find_sections\(\)"),
        ("plane", r"analyze\(\.\.\., grid=100\)"),
        ("boundary", r"analyze\(\.\.\., grid=100\)"),
    ],
)
def test_what_is_missing_is_said_with_the_call_that_computes_it(flat, name, call):
    with pytest.raises(eb.InvalidInputError, match=call):
        getattr(dataclasses.replace(flat, grid=None).plot, name)()
    assert plt.get_fignums() == []


def test_planes_of_images_need_margins(images):
    with pytest.raises(eb.InvalidInputError, match=r"margins=True"):
        dataclasses.replace(images, planes=()).plot.plane()


@pytest.mark.parametrize("which", ["flat", "images"])
def test_the_overview_has_spectrum_mass_and_the_boundary(which, request):
    analysis = request.getfixturevalue(which)
    figure = analysis.plot()
    assert figure is plt.gcf()
    titles = [ax.get_title("left") for ax in figure.axes]
    assert figure.axes[0].get_ylabel() == r"eigenvalue $\lambda_i$"
    assert "captured" in titles[1]
    assert titles[2] in ("decision regions", "classes, PCA")
    assert len(figure.axes) == 2 + 4 + 1  # the colour bar has axes, too
    given = Figure()
    assert analysis.plot(given) is given


def test_the_overview_of_two_samples_has_no_embedding(images):
    few = dataclasses.replace(images, inputs=images.inputs[:2], input_indices=[0, 1])
    assert len(few.plot(Figure()).axes) == 2


def test_a_comparison_draws_its_display(images):
    comparison = eb.compare({"one": images, "two": images})
    figure = Figure()
    display = comparison.plot(figure)
    assert isinstance(display, displays.ComparisonDisplay)
    assert display.figure_ is figure
    assert len(display.axes_) == 5
