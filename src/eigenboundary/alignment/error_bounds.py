r"""Bounds on the errors of alignments with computed eigenvectors.

Let :math:`\tilde v_j` be orthonormal, with Rayleigh quotients :math:`\theta_j` and residuals
:math:`r_j = A\tilde v_j - \theta_j\tilde v_j` of norm :math:`\rho_j`, and v a true eigenvector of
eigenvalue λ. From :math:`\lambda \langle\tilde v_j, v\rangle = \langle A\tilde v_j, v\rangle`,

.. math:: |\langle\tilde v_j, v\rangle| = \frac{|\langle r_j, v\rangle|}{|\lambda - \theta_j|}
          \le \frac{\rho_j}{|\lambda - \theta_j|},

and the part w of v outside of all :math:`\tilde v_j` has
:math:`\|w\| \le \|\sum_j \langle\tilde v_j, v\rangle r_j\| / \mathrm{gap}`, gap the distance of λ
from the other eigenvalues. So an error of v rotates a unit gradient's alignment only with what the
gradient has in the vectors that v is mixed with, which is often little:

.. math:: \big||A_v| - |A_{\tilde v_i}|\big| \le (1 - |c_i|) |A_{\tilde v_i}|
          + \sum_{j \ne i} |c_j| |A_{\tilde v_j}|
          + \|w\| \Big(1 - \sum_j A_{\tilde v_j}^2\Big)^{1/2},
          \qquad c_j = \langle\tilde v_j, v\rangle.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eigenboundary.curvature.eigensolvers.eigenpairs import Eigenpairs, rest_gaps

Array = NDArray[np.float64]

# Eigenvectors whose mixtures with all others are bounded together.
_ROWS = 512


def alignment_errors(pairs: Eigenpairs, alignment: Array) -> Array:
    r"""Bound the difference of each :math:`|A_i(x_s)|` from that of a true eigenvector.

    The alignments (n, k) are those with the eigenvectors of ``pairs``; the bounds are in [0, 1].
    """
    rounding = 10 * torch.finfo(pairs.vectors.dtype).eps
    errors = mixture_errors(alignment, pairs.values, pairs.residual_norms, pairs.rest)
    return np.minimum(errors + rounding, 1)


def mixture_errors(
    alignment: Array, values: Tensor, norms: Tensor, rest: tuple[float, float] | None
) -> Array:
    r"""Bound the errors as :func:`alignment_errors` does, without rounding, shape (n, k).

    ``values`` and ``norms`` (k,) are :math:`\theta_i` and bounds on :math:`\rho_i`; ``rest`` is the
    interval of all other eigenvalues, if it is known.
    """
    sizes = np.abs(alignment)
    outside = np.sqrt(np.clip(1 - np.square(sizes).sum(1, keepdims=True), 0, 1))
    theta, rho, gaps = (t.cpu().numpy() for t in (values, norms, rest_gaps(values, rest)))
    errors = np.empty_like(sizes)
    for start in range(0, len(theta), _ROWS):
        rows = slice(start, min(start + _ROWS, len(theta)))
        shares, mixed = _mixtures(theta, rho, rows)
        # The shares in vectors that cannot be told apart have a norm of at most one together.
        reached = rho[rows] + shares @ rho + np.sqrt(mixed @ np.square(rho))
        w = _ratio(reached, gaps[rows] - rho[rows])
        lost = np.minimum(1, mixed.any(1) + np.square(shares).sum(1) + np.square(w))
        errors[:, rows] = sizes[:, rows] * lost + sizes @ shares.T + outside * w
        errors[:, rows] += np.sqrt(np.square(sizes) @ mixed.T)
    return np.minimum(errors, 1)


def _mixtures(values: Array, norms: Array, rows: slice) -> tuple[Array, NDArray[np.bool_]]:
    r"""Bound a true vector's shares in the other computed ones; say which cannot be told apart.

    Row i of the bounds is :math:`\rho_j / (|\theta_i - \theta_j| - \rho_i)`, as the true
    eigenvalue is within :math:`\rho_i`.
    """
    own = norms[rows, np.newaxis]
    distances = np.abs(values[rows, np.newaxis] - values)
    mixed = distances <= 2 * own
    shares = np.where(mixed, 0, _ratio(norms, distances - own))
    diagonal = np.arange(rows.start, rows.stop)
    mixed[diagonal - rows.start, diagonal] = False
    return shares, mixed


def _ratio(part: Array, whole: Array) -> Array:
    """Divide, up to 1; the ratio is 1 where the whole is not positive."""
    return np.where(whole > 0, np.minimum(part / np.where(whole > 0, whole, 1), 1), 1)
