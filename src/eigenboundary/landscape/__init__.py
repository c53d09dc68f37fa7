"""The loss away from where training ended.

=========================  ==================================================================
:func:`loss_at`            at any points of parameter space
:func:`loss_along`         on a line along a direction, e.g. an eigenvector
:func:`loss_between`       on the segment between two networks
:func:`loss_plane`         on a plane along two directions
:func:`plane_through`      on the plane through three networks
:func:`low_loss_curve`     on a curve between two networks that was trained to stay low
=========================  ==================================================================

All take a model and its data, a :class:`~eigenboundary.Problem` or an analysis, leave it unchanged,
and stream the data; many points of parameter space are evaluated at once.
"""

from eigenboundary.landscape.bezier import LowLossCurve, low_loss_curve
from eigenboundary.landscape.points import LandscapeValues, loss_at
from eigenboundary.landscape.reparametrization import layer_normalized, random_alphas, reparametrize
from eigenboundary.landscape.slices import (
    LossCurve,
    LossPlane,
    loss_along,
    loss_between,
    loss_plane,
    plane_through,
)

__all__ = [
    "LandscapeValues",
    "LossCurve",
    "LossPlane",
    "LowLossCurve",
    "layer_normalized",
    "loss_along",
    "loss_at",
    "loss_between",
    "loss_plane",
    "low_loss_curve",
    "plane_through",
    "random_alphas",
    "reparametrize",
]
