"""The loss on lines and planes of parameter space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm, Normalize
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import ArrayLike

from eigenboundary.displays import style
from eigenboundary.displays.arguments import Array, check_count
from eigenboundary.displays.base import Display
from eigenboundary.landscape import LossCurve, LossPlane
from eigenboundary.runtime.arguments import check_instance, check_shape, finite_array
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.formats import format_number

_CURVE_COLORS = (style.SECOND, style.ACCENT, "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# Losses that differ by more than this are drawn on a logarithmic scale.
_LOG_FROM = 100.0
_LOG_SURFACE_FROM = 10.0
_LEVELS = 18
_NUMBER = FuncFormatter(lambda value, _: format_number(value, 2))


class LossCurveDisplay(Display):
    """Loss along one or several curves through parameter space.

    Parameters
    ----------
    curves : LossCurve or mapping of str to LossCurve
        Curves by their name in the legend.
    xlabel : str
        Name of the curves' parameter.

    Attributes
    ----------
    lines_ : dict of Line2D
        Lines by name; a single unnamed curve is "loss".

    Raises
    ------
    InvalidInputError
        If there is no curve, or a curve has no finite loss.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from eigenboundary.landscape import LossCurve
    >>> t = np.linspace(-1, 1, 5)
    >>> display = LossCurveDisplay(LossCurve(t, t**2, np.ones(5))).plot(Figure().add_subplot())
    >>> display.lines_["loss"].get_ydata().tolist()
    [1.0, 0.25, 0.0, 0.25, 1.0]
    """

    size = (6.2, 3.7)

    def __init__(self, curves: LossCurve | Mapping[str, LossCurve], *, xlabel: str = "$t$") -> None:
        self.curves = {"loss": curves} if isinstance(curves, LossCurve) else dict(curves)
        if not self.curves:
            raise InvalidInputError("curves", "hold at least one LossCurve", "none")
        for name, curve in self.curves.items():
            check_instance(curve, f"curves[{name!r}]", LossCurve)
            if not np.isfinite(curve.loss).any():
                because = f"{name!r} has none that is"
                raise InvalidInputError("curves", "hold finite losses", because=because)
        self.xlabel = xlabel

    def _draw(self) -> None:
        self.lines_: dict[str, Line2D] = {}
        for i, (name, curve) in enumerate(self.curves.items()):
            order = np.argsort(curve.steps)
            color = _CURVE_COLORS[i % len(_CURVE_COLORS)]
            how: dict[str, Any] = {"linestyle": "-" if i < len(_CURVE_COLORS) else "--"}
            how |= {"color": color, "linewidth": 2.0, "label": name}
            (self.lines_[name],) = self.ax_.plot(curve.steps[order], curve.loss[order], **how)
        values = np.concatenate([curve.loss for curve in self.curves.values()])
        values = values[np.isfinite(values)]
        if values.min() > 0 and values.max() > _LOG_FROM * values.min():
            self.ax_.set_yscale("log")
            self.ax_.yaxis.set_major_formatter(_NUMBER)
        elif values.min() >= 0:
            self.ax_.set_ylim(0, 1.06 * values.max() if values.max() > 0 else 1.0)
        self.ax_.margins(x=0.02)
        self.ax_.grid(axis="y")
        self.ax_.set(xlabel=self.xlabel, ylabel=r"training loss $L$", title=self._title())
        if len(self.curves) > 1:
            self.ax_.legend(loc="best")

    def _title(self) -> str:
        heights = {name: format_number(c.barrier) for name, c in self.curves.items()}
        barrier = any(curve.barrier > 0 for curve in self.curves.values())
        if len(heights) == 1:
            return f"Loss barrier {heights.popitem()[1]}" if barrier else "No loss barrier"
        if len(heights) > 3 or not barrier:
            return "Training loss"
        return "Loss barrier: " + ", ".join(f"{h} {name}" for name, h in heights.items())


class LossSurfaceDisplay(Display):
    """Loss on a plane through parameter space, as filled contours.

    Parameters
    ----------
    plane : LossPlane
    names : sequence of str, optional
        Names of the plane's points, one a point.
    path : array, shape (m, 2), optional
        Coordinates of a curve to draw, e.g. ``plane.project(found.points(steps))``.
    labels : (str, str)
        Labels of the axes.

    Attributes
    ----------
    contours_, points_, path_, colorbar_
        Artists; the path is None where none is given.

    Raises
    ------
    InvalidInputError
        If the plane has no area or no finite loss, or shapes do not fit.
    """

    size = (5.8, 4.6)

    def __init__(
        self,
        plane: LossPlane,
        names: Sequence[str] | None = None,
        path: ArrayLike | None = None,
        *,
        labels: tuple[str, str] = ("first axis", "second axis"),
    ) -> None:
        check_instance(plane, "plane", LossPlane)
        if min(plane.loss.shape) < 2:
            wanted = "have at least two points along each axis"
            raise InvalidInputError("plane", wanted, f"{plane.loss.shape}")
        if not np.isfinite(plane.loss).any():
            raise InvalidInputError("plane", "hold finite losses", because="it has none that is")
        self.plane, self.labels = plane, labels
        self.names = [] if names is None else [str(name) for name in names]
        if names is not None:
            check_count(self.names, "names", len(plane.points), "a point")
        self.path: Array | None = None
        if path is not None:
            self.path = finite_array(path, "path")
            check_shape(self.path, "path", ("m", 2))

    def _draw(self) -> None:
        self._surface()
        self.path_: Line2D | None = None
        if self.path is not None:
            (self.path_,) = self.ax_.plot(*self.path.T, color="white", linewidth=2.0, zorder=3)
        points = self.plane.points
        how: dict[str, Any] = {"color": style.ACCENT, "edgecolors": "white", "linewidths": 1.2}
        how |= {"s": 42, "zorder": 4}
        self.points_ = self.ax_.scatter(*points.T, **how)
        how = {"textcoords": "offset points", "ha": "center", "va": "bottom", "zorder": 5}
        how["bbox"] = {"boxstyle": "round,pad=0.25", "fc": "white", "ec": "none", "alpha": 0.85}
        for name, (x, y) in zip(self.names, points, strict=False):
            self.ax_.annotate(name, (x, y), (0, 8), **how)
        first, second = self.plane.first, self.plane.second
        self.ax_.set(xlim=(first.min(), first.max()), ylim=(second.min(), second.max()))
        self.ax_.set(aspect="equal", xlabel=self.labels[0], ylabel=self.labels[1])

    def _surface(self) -> None:
        values = np.ma.masked_invalid(self.plane.loss)
        low, high = float(values.min()), float(values.max())
        span = f"{format_number(low)} to {format_number(high)}"
        self.ax_.set_title(f"Training loss from {span}")
        norm: Normalize
        if low > 0 and high > _LOG_SURFACE_FROM * low:
            norm, levels = LogNorm(low, high), np.geomspace(low, high, _LEVELS)
        else:
            high = high if high > low else low + max(abs(low), 1.0)
            norm, levels = Normalize(low, high), np.linspace(low, high, _LEVELS)
        # Rounding must not put the extreme values outside of all levels.
        levels[0], levels[-1] = np.nextafter(low, -np.inf), np.nextafter(high, np.inf)
        grid = (self.plane.first, self.plane.second, values)
        how: dict[str, Any] = {"levels": levels, "norm": norm, "cmap": "viridis"}
        self.contours_ = self.ax_.contourf(*grid, zorder=0, **how)
        self.ax_.contour(*grid, levels=levels, colors="white", linewidths=0.4, alpha=0.45, zorder=1)
        # The bar is as tall as the plane, whatever the plane's aspect.
        beside = self.ax_.inset_axes((1.03, 0.0, 0.04, 1.0))
        self.colorbar_ = self._colorbar(self.contours_, "training loss $L$", cax=beside)
        shown = levels[:: max(1, (_LEVELS - 1) // 5)]
        self.colorbar_.ax.yaxis.set_minor_locator(NullLocator())
        self.colorbar_.ax.yaxis.set_major_locator(FixedLocator(shown.tolist()))
        self.colorbar_.ax.yaxis.set_major_formatter(_NUMBER)
