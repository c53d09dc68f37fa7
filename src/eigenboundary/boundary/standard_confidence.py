r"""The standard confidence, at which boundaries of different networks are compared.

A factor on the outputs leaves the decision boundary where it is, but changes the curvature. So the
factor is fixed: samples are labelled by the network's own predictions :math:`\hat y_s`, and the
temperature T is the factor at which the mean cross-entropy has a given value, the level L:

.. math:: \frac1n \sum_s \ell\bigl(T f_\theta(x_s), \hat y_s\bigr) = L.

The Gauss–Newton matrix of this loss needs no labels and no minimum:

.. math:: G_T = \frac1n \sum_s J_s^T \Lambda_s J_s, \qquad
          \Lambda_s = T^2 (\mathrm{diag}\, p_s - p_s p_s^T), \quad
          p_s = \mathrm{softmax}(T f_\theta(x_s)).

:math:`\Lambda_s` weighs a sample by how near the boundary is, in units that T fixes.
"""

from __future__ import annotations

import math

import torch
from scipy.optimize import brentq
from torch import Tensor

from eigenboundary.problem.losses import log_odds_against
from eigenboundary.runtime.arguments import check_number
from eigenboundary.runtime.errors import InvalidInputError

# Powers of ten between which T is looked for, relative to the largest output.
_DECADES = 12


def temperature(outputs: Tensor, level: float) -> float:
    r"""Compute the factor T on the outputs at which the loss of own predictions is the level.

    Parameters
    ----------
    outputs : Tensor, shape (n, C)
    level : float
        L, between 0 and log C.

    Raises
    ------
    InvalidInputError
        If no factor gives this loss: the level is too large, or too many samples have two largest
        outputs that are equal.

    Examples
    --------
    >>> import torch
    >>> round(temperature(torch.tensor([[1.0, 0.0]]), 0.1), 3)  # -log(e^0.1 - 1)
    2.252
    """
    check_number(level, "level", above=0)
    outputs = outputs.double()
    own = outputs.argmax(1)
    most = math.log(outputs.shape[1])
    if level >= most:
        raise InvalidInputError("level", f"be below log C = {most:.3g}", f"{level:g}")
    # The shift of a sample's outputs changes no probability, but costs digits.
    shifted = outputs - outputs.gather(1, own.unsqueeze(1))
    size = float(shifted.abs().max())

    def excess(log_factor: float) -> float:
        odds = log_odds_against(math.exp(log_factor) * shifted, own)
        return float(torch.nn.functional.softplus(odds, threshold=50.0).mean()) - level

    low, high = (sign * _DECADES * math.log(10) - math.log(size or 1.0) for sign in (-1, 1))
    if not size or excess(high) > 0:
        least = "" if not size else f" (ties alone give {excess(high) + level:.3g})"
        raise InvalidInputError(
            "level", f"be a loss that some factor on the outputs gives{least}", f"{level:g}"
        )
    return math.exp(brentq(excess, low, high, xtol=1e-13))


def contrasts(n_classes: int) -> Tensor:
    """Return C - 1 orthonormal columns that sum to zero, shape (C, C - 1), float64.

    Curvature of the cross-entropy acts on these alone: it does not see a sum of all outputs.
    """
    ones = torch.ones(n_classes, 1, dtype=torch.float64)
    return torch.linalg.qr(ones, mode="complete")[0][:, 1:]


def curvature_roots(outputs: Tensor, factor: float) -> Tensor:
    r"""Compute roots of :math:`\Lambda_s` among contrasts B, :math:`R_s^T R_s = B^T\Lambda_s B`.

    Parameters
    ----------
    outputs : Tensor, shape (n, C)
    factor : float
        T.

    Returns
    -------
    Tensor of float64, shape (n, C - 1, C - 1)
    """
    scores = factor * outputs.double()
    basis = contrasts(outputs.shape[1]).to(scores.device)
    # Λ = Σ_c p_c (e_c - p)(e_c - p)^T: rows scaled by roots keep digits where p is nearly 0 or 1.
    p = torch.softmax(scores, 1)
    identity = torch.eye(outputs.shape[1], dtype=p.dtype, device=p.device)
    centred = factor * (identity - p.unsqueeze(1)) * p.sqrt().unsqueeze(2)
    return torch.linalg.qr(centred @ basis, mode="r")[1]
