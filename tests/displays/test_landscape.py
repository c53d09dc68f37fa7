"""Pictures of the loss and of the boundary away from where training ended."""

from __future__ import annotations

from dataclasses import replace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import nn

import eigenboundary as eb
from eigenboundary.boundary.motion import BoundaryMotion
from eigenboundary.displays import BoundaryMotionDisplay, LossCurveDisplay, LossSurfaceDisplay
from eigenboundary.landscape import LossCurve, LossPlane

T = np.linspace(0, 1, 11)


def curve(loss) -> LossCurve:
    return LossCurve(T, np.asarray(loss, dtype=float), np.ones(11))


def plane(loss) -> LossPlane:
    loss = np.asarray(loss, dtype=float)
    rows, columns = loss.shape
    return LossPlane(
        first=np.linspace(-1, 1, columns),
        second=np.linspace(-2, 2, rows),
        loss=loss,
        accuracy=np.ones_like(loss),
        origin=torch.zeros(3),
        axes=torch.eye(3)[:, :2],
        points=np.array([[0.0, 0.0], [0.5, 1.0]]),
    )


@pytest.fixture(scope="module")
def motion() -> BoundaryMotion:
    """A boundary x = t between two classes."""
    steps = np.linspace(-0.5, 0.5, 7)
    x = np.linspace(-1, 1, 21)
    right = np.broadcast_to(x, (7, 15, 21)) - steps[:, None, None]
    outputs = np.stack([-right, right], axis=-1).astype(np.float32)
    return BoundaryMotion(steps, x, np.linspace(0, 3, 15), outputs)


@pytest.fixture
def samples() -> tuple[np.ndarray, np.ndarray]:
    return np.array([[-0.8, 1.0], [0.8, 2.0], [0.7, 0.5]]), np.array([0, 1, 1])


# ------------------------------------------------------------------------------------ curves


def test_each_curve_is_drawn_under_its_name_with_its_barrier():
    curves = {"along the curve": curve(1 + 0.1 * T), "on the segment": curve(1 + 4 * T * (1 - T))}
    display = LossCurveDisplay(curves).plot(Figure().add_subplot())
    for name, line in display.lines_.items():
        np.testing.assert_array_equal(line.get_ydata(), curves[name].loss)
    names = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert names == list(curves)
    assert display.ax_.get_title("left") == "Loss barrier: 0 along the curve, 1 on the segment"


def test_steps_out_of_order_are_drawn_in_order():
    display = LossCurveDisplay(LossCurve(T[::-1], T[::-1] ** 2, T)).plot(Figure().add_subplot())
    np.testing.assert_array_equal(display.lines_["loss"].get_xdata(), T)


def test_losses_of_many_sizes_are_on_a_logarithmic_scale_and_others_start_at_zero():
    wide = LossCurveDisplay(curve(np.geomspace(1e-4, 10, 11))).plot(Figure().add_subplot())
    assert wide.ax_.get_yscale() == "log"
    narrow = LossCurveDisplay(curve(1 + T)).plot(Figure().add_subplot())
    assert narrow.ax_.get_yscale() == "linear"
    assert narrow.ax_.get_ylim()[0] == 0


def test_losses_that_overflow_leave_a_gap():
    loss = 1 + T
    loss[5] = np.inf
    display = LossCurveDisplay(curve(loss)).plot(Figure().add_subplot())
    display.figure_.canvas.draw()
    assert np.isfinite(display.ax_.get_ylim()).all()


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ({}, "curves must hold at least one LossCurve"),
        ({"a": T}, r"curves\['a'\] must be a LossCurve; got ndarray"),
        (curve(np.full(11, np.nan)), "curves must hold finite losses"),
    ],
)
def test_curves_that_cannot_be_drawn_are_refused(curves, message):
    with pytest.raises(eb.InvalidInputError, match=message):
        LossCurveDisplay(curves)


# ------------------------------------------------------------------------------------ planes


def test_a_surface_marks_its_points_by_name_and_draws_the_path():
    path = np.array([[0.0, 0.0], [0.2, 0.9], [0.5, 1.0]])
    values = 1 + np.arange(20.0).reshape(4, 5)
    display = LossSurfaceDisplay(plane(values), ["start", "end"], path).plot(Figure().add_subplot())
    np.testing.assert_array_equal(display.points_.get_offsets(), display.plane.points)
    np.testing.assert_array_equal(display.path_.get_xydata(), path)
    assert [text.get_text() for text in display.ax_.texts] == ["start", "end"]
    assert "1 to 20" in display.ax_.get_title("left")


def test_all_of_the_surface_is_filled_whatever_the_losses():
    cases = [np.arange(20.0), np.geomspace(1e-6, 1e6, 20), np.full(20, 2.0), -np.arange(20.0)]
    for values in cases:
        display = LossSurfaceDisplay(plane(values.reshape(4, 5))).plot(Figure().add_subplot())
        display.figure_.canvas.draw()
        levels = display.contours_.levels
        assert levels[0] < values.min()
        assert levels[-1] > values.max()


def test_a_surface_with_overflow_is_drawn_where_it_is_finite():
    values = np.arange(20.0).reshape(4, 5)
    values[0, 0], values[3, 4] = np.nan, np.inf
    display = LossSurfaceDisplay(plane(values)).plot(Figure().add_subplot())
    display.figure_.canvas.draw()
    assert display.contours_.levels[-1] == pytest.approx(18)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones((1, 5)),), "plane must have at least two points along each axis"),
        ((np.full((4, 5), np.nan),), "plane must hold finite losses"),
        ((np.ones((4, 5)), ["one"]), "names must be 2, one a point; got 1"),
        ((np.ones((4, 5)), None, np.ones((3, 3))), "path must have shape"),
    ],
)
def test_surfaces_that_cannot_be_drawn_are_refused(arguments, message):
    loss, *others = arguments
    with pytest.raises(eb.InvalidInputError, match=message):
        LossSurfaceDisplay(plane(loss), *others)


# ------------------------------------------------------------------------------------ motion


def test_each_panel_has_the_boundary_of_its_step(motion, samples):
    display = BoundaryMotionDisplay(motion, *samples, direction="$v_1$").plot(Figure())
    assert display.shown_[0] == 0
    assert display.shown_[-1] == 6
    assert len(display.axes_) == 5
    for index, contours in zip(display.shown_, display.boundaries_, strict=True):
        (line,) = contours
        x = np.concatenate([path.vertices[:, 0] for path in line.get_paths()])
        np.testing.assert_allclose(x, motion.steps[index], atol=1e-6)
    titles = [ax.get_title("left") for ax in display.axes_]
    assert titles[2] == r"$\theta$"
    assert titles[0] == r"$\theta$ − 0.5 $v_1$"


@pytest.mark.parametrize(
    ("shift", "said"), [(0.0, r"at $\theta$"), (2.0, r"at $\theta$ + 1.5 $v$")]
)
def test_the_grey_line_says_at_which_step_it_is(motion, samples, shift, said):
    moved = replace(motion, steps=motion.steps + shift)
    display = BoundaryMotionDisplay(moved, *samples).plot(Figure())
    (legend,) = [*display.figure_.legends, *filter(None, [display.ax_.get_legend()])]
    assert said in [text.get_text() for text in legend.get_texts()]


def test_a_step_of_rounding_is_theta(motion, samples):
    steps = np.arange(-1, 1.1, 0.5)
    steps[2] = -2e-16
    display = BoundaryMotionDisplay(replace(motion, steps=steps), *samples).plot(Figure())
    assert display.axes_[2].get_title("left") == r"$\theta$"


def test_what_is_no_motion_and_no_plane_is_refused(samples):
    with pytest.raises(eb.InvalidInputError, match="motion must be a BoundaryMotion; got str"):
        BoundaryMotionDisplay("motion", *samples)
    with pytest.raises(eb.InvalidInputError, match="plane must be a LossPlane; got ndarray"):
        LossSurfaceDisplay(np.ones((3, 3)))


def test_more_panels_are_drawn_where_asked_and_no_more_than_steps(motion, samples):
    assert len(BoundaryMotionDisplay(motion, *samples, n_panels=99).plot(Figure()).axes_) == 7


def test_an_animation_goes_there_and_back(motion, samples, tmp_path):
    path = BoundaryMotionDisplay(motion, *samples).save_animation(tmp_path / "motion.gif", dpi=30)
    with Image.open(path) as image:
        assert image.n_frames == 2 * 7 - 2
    assert plt.get_fignums() == []


def test_an_animation_is_a_gif_in_a_folder_that_exists(motion, samples, tmp_path):
    display = BoundaryMotionDisplay(motion, *samples)
    for path in (tmp_path / "motion.mp4", tmp_path / "nowhere" / "motion.gif"):
        with pytest.raises(
            eb.InvalidInputError, match=r"path must end in .gif and lie in a folder"
        ):
            display.save_animation(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": np.ones((3, 3))}, "inputs must have two features"),
        ({"labels": np.array([0, 1])}, "labels must be 3 integers"),
        ({"n_panels": 0}, "n_panels must be an integer of at least 1"),
        ({"class_names": ["one"]}, "class_names must have a name for each of 2"),
    ],
)
def test_motions_that_cannot_be_drawn_are_refused(motion, samples, change, message):
    arguments = {"inputs": samples[0], "labels": samples[1], **change}
    with pytest.raises(eb.InvalidInputError, match=message):
        BoundaryMotionDisplay(motion, **arguments)


def test_a_motion_of_one_point_has_no_extent(samples):
    single = BoundaryMotion(np.zeros(1), np.zeros(1), np.zeros(1), np.zeros((1, 1, 1, 2)))
    with pytest.raises(eb.InvalidInputError, match="motion must have at least two grid points"):
        BoundaryMotionDisplay(single, *samples)


# ------------------------------------------------------------------------------------- style


def test_what_the_landscape_computes_can_be_drawn():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 3))
    x, y = torch.randn(30, 2), torch.arange(30) % 3
    problem = eb.Problem(model, (x, y))
    v, w = torch.randn(2, problem.n_parameters)
    before = dict(mpl.rcParams)
    LossCurveDisplay(eb.loss_along(problem, v, T)).plot(Figure().add_subplot())
    LossSurfaceDisplay(eb.loss_plane(problem, v, w, T)).plot(Figure().add_subplot())
    motion = eb.boundary_along(problem, v, [-1.0, 0.0, 1.0], resolution=8)
    BoundaryMotionDisplay(motion, x, y).plot(Figure())
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == before


def test_plot_returns_the_display_and_draws_on_the_axes_given(motion, samples):
    ax = Figure().add_subplot()
    display = LossCurveDisplay(curve(T))
    assert display.plot(ax) is display
    assert display.ax_ is ax
    axes = Figure().subplots(1, 5)
    assert BoundaryMotionDisplay(motion, *samples).plot(axes).axes_ == list(axes)
