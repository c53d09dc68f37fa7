r"""The eigenvalues of a Hessian that its functional part cannot have made.

With H = G + F, G the Gauss–Newton matrix and F the functional Hessian, a unit eigenvector v of H
has

.. math:: v^T G v = \lambda - v^T F v \ge \lambda - \|F\|_2,

so an eigenvalue above :math:`\|F\|_2` stands for a direction in which the outputs themselves
change, and one of F alone cannot exceed it. The eigenvalues above it are the outliers,

.. math:: N_F = \#\{i : \lambda_i(H) > \|F\|_2\}.
"""

from __future__ import annotations

from dataclasses import dataclass

from numpy.typing import ArrayLike

from eigenboundary.runtime.arguments import check_number, finite_array


@dataclass(frozen=True)
class OutlierCount:
    """The number of outliers, with its threshold.

    Attributes
    ----------
    count : int
        A lower bound where ``resolved`` is False.
    interval : (int, int)
        Least and largest number, by the errors of the eigenvalues and of the threshold; p is the
        largest where ``resolved`` is False.
    threshold : float
        The largest eigenvalue that the functional Hessian can have made; NaN where an interrupt
        left it out.
    resolved : bool
        False if all known eigenvalues exceed the threshold, so that there may be more.
    """

    count: int
    interval: tuple[int, int]
    threshold: float
    resolved: bool


def count_outliers(
    eigenvalues: ArrayLike, threshold: float, *, size: int, uncertainty: float = 0.0
) -> OutlierCount:
    """Count the eigenvalues above a threshold.

    Parameters
    ----------
    eigenvalues : array, shape (K,)
        The K largest eigenvalues.
    threshold : float
    size : int
        p, the number of all eigenvalues.
    uncertainty : float
        Bound on the error of an eigenvalue plus that of the threshold.

    Returns
    -------
    OutlierCount

    Examples
    --------
    >>> count_outliers([9.0, 4.0, 1.1, 0.2], 1.0, size=100, uncertainty=0.15)
    OutlierCount(count=3, interval=(2, 3), threshold=1.0, resolved=True)
    """
    values = finite_array(eigenvalues, "eigenvalues")
    check_number(threshold, "threshold", at_least=0)
    count, least, most = (
        int((values > threshold + shift).sum()) for shift in (0.0, uncertainty, -uncertainty)
    )
    resolved = most < len(values) or len(values) == size
    return OutlierCount(count, (least, most if resolved else size), float(threshold), resolved)
