"""The one entry point to the eigensolvers, which chooses by size and records the choice."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any, Literal

import torch
from torch import Tensor

from eigenboundary.curvature.eigensolvers.dense import dense_eigenpairs
from eigenboundary.curvature.eigensolvers.eigenpairs import Eigenpairs
from eigenboundary.curvature.eigensolvers.gram import gram_eigenpairs, gram_pays
from eigenboundary.curvature.eigensolvers.krylov import Progress, krylov_eigenpairs
from eigenboundary.curvature.eigensolvers.range_finder import Enough, range_eigenpairs
from eigenboundary.curvature.operators.base import (
    FactoredOperator,
    SymmetricOperator,
    check_operator,
)
from eigenboundary.runtime.arguments import (
    check_choice,
    check_integer,
    check_seed,
    check_tolerance,
    finite_columns,
)
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.precision import full_precision

_log = logging.getLogger(__name__)

METHODS = ("auto", "dense", "gram", "krylov", "range")
_DENSE_BELOW = 400
_DENSE_AT_MOST = 2048


@full_precision()
def top_eigenpairs(
    operator: SymmetricOperator,
    k: int | Literal["all"] | None,
    *,
    which: str = "largest",
    method: str = "auto",
    tolerance: float | None = None,
    guard: int = 0,
    max_products: int | None = None,
    start: Any = None,
    seed: int = 0,
    progress: Progress | None = None,
    enough: Enough | None = None,
) -> Eigenpairs:
    r"""Compute eigenpairs of a symmetric operator, each with its residual.

    Parameters
    ----------
    operator : SymmetricOperator
    k : int or "all"
        Number of eigenpairs; "all" (or None) for all that are numerically non-null: larger than
        rounding of :math:`|\lambda_1|`, or than ``tolerance`` times it if that is given.
    which : {"largest", "smallest", "both"}
        End of the spectrum; "both" gives the k largest and the k smallest.
    method : {"auto", "dense", "gram", "krylov", "range"}
        "dense" forms the p×p matrix; "gram" (Gauss–Newton only) the nC×nC one; "krylov" and
        "range" use products alone, "range" for all non-null eigenpairs.
    tolerance : float, optional
        Residual :math:`\|A v - \lambda v\| / |\lambda_1|` to reach; default 1e-10 in float64,
        1e-6 in float32.
    guard : int
        Further eigenvalues to estimate (to 0.1 %), without vectors. Fewer are sought where as many
        products take more than 10¹³ operations, and none may be found.
    max_products : int, optional
        Products after which "krylov" returns with pairs marked as not converged, and "range"
        returns what has converged.
    start : Tensor, shape (p, j), optional
        Vectors to start "krylov" or "range" from, e.g. the eigenvectors at an earlier checkpoint.
    seed : int
    progress : callable, optional
        Called as ``progress(converged, wanted, products)``.
    enough : callable, optional
        With k="all": ends "range" once it returns True for the :class:`LeadingPairs` found so far.

    Returns
    -------
    Eigenpairs

    Raises
    ------
    InvalidInputError
        If k is below 1 or above p, or another argument is not as described.

    Examples
    --------
    >>> import torch
    >>> import eigenboundary as eb
    >>> matrix = eb.MatrixOperator(torch.diag(torch.arange(500.0, dtype=torch.float64)))
    >>> pairs = eb.top_eigenpairs(matrix, 3)
    >>> [round(v, 6) for v in pairs.values.tolist()], bool(pairs.converged.all()), pairs.method
    ([499.0, 498.0, 497.0], True, 'krylov')
    """
    check_choice(which, "which", ("largest", "smallest", "both"))
    check_choice(method, "method", METHODS)
    check_tolerance(tolerance)
    check_seed(seed)
    check_integer(max_products, "max_products", optional=True)
    check_operator(operator)
    check_integer(guard, "guard", 0)
    number = wanted_number(k)
    check_k(number, operator.size)
    first = None if start is None else as_start(start, operator.size)
    if which == "both" and number is not None:
        number = min(number, operator.size // 2) or 1
    chosen, reason = _choose(operator, number, which) if method == "auto" else (method, "as asked")
    if number is None and chosen == "krylov":
        raise InvalidInputError("k", "be given for method 'krylov'", "'all'")
    if which != "largest" and chosen in ("gram", "range"):
        raise InvalidInputError("which", f"be 'largest' for method {chosen!r}", repr(which))
    _plan_matrices(operator, chosen)
    _log.info("solver: %s (%s)", chosen, reason)
    usual = 1e-10 if operator.dtype == torch.float64 else 1e-6
    limit = usual if tolerance is None else float(tolerance)

    def solve() -> Eigenpairs:
        if chosen == "dense":
            n = operator.size if number is None else number
            return dense_eigenpairs(operator, n, which=which, tolerance=limit, guard=guard)
        if chosen == "gram":
            return gram_eigenpairs(operator, number, tolerance=limit, guard=guard, seed=seed)
        iteration: dict[str, Any] = {"tolerance": limit, "guard": guard, "seed": seed}
        iteration |= {"max_products": max_products, "start": first, "progress": progress}
        if chosen == "range":
            null, until = 0.0 if tolerance is None else limit, enough if number is None else None
            return range_eigenpairs(operator, number, null=null, enough=until, **iteration)
        assert number is not None
        return krylov_eigenpairs(operator, number, which=which, **iteration)

    pairs = operator.led(solve)
    if not pairs.converged.all():
        unsure = f"{int((~pairs.converged).sum())} of {len(pairs.converged)} eigenpairs"
        said = "%s are not certified to the tolerance %.0e (%s)"
        _log.warning(said, unsure, limit, pairs.message)
    return dataclasses.replace(pairs, reason=reason)


def as_start(start: Any, size: int) -> Tensor:
    """Return the vectors to start from as finite columns (p, j)."""
    wanted = f"have finite eigenvectors of shape ({size}, j)"
    return finite_columns(start, "start", size, wanted)


def wanted_number(k: Any) -> int | None:
    """Return the number of eigenpairs that k, an integer or "all", asks for; None for all."""
    if k is None or (isinstance(k, str) and k == "all"):
        return None
    try:
        check_integer(k, "k")
    except InvalidInputError as error:
        raise InvalidInputError("k", f"{error.wanted} or 'all'", error.got) from None
    return int(k)


def check_k(k: int | None, size: int) -> None:
    """Check that k is None, or between 1 and p."""
    check_integer(k, "k", optional=True)
    if k is not None and k > size:
        raise InvalidInputError("k", f"be at most p = {size}, the matrix' size", f"{k}")


def _plan_matrices(operator: SymmetricOperator, method: str) -> None:
    """Reserve the memory of direct methods: three p×p matrices, or three F and its Gram matrix."""
    if method == "dense":
        vector = operator.dtype.itemsize * operator.size
        operator.memory.plan(-(-3 * operator.size // 2), vector, "the dense matrix")
    if method == "gram" and isinstance(operator, FactoredOperator):
        rows = operator.rows
        operator.memory.plan(12 * rows, max(rows, operator.size), "the Gram matrix")


def _choose(operator: SymmetricOperator, k: int | None, which: str) -> tuple[str, str]:
    size = operator.size
    if size <= _DENSE_BELOW:
        return "dense", f"p = {size} is small"
    if isinstance(operator, FactoredOperator) and which == "largest" and gram_pays(operator):
        return "gram", f"nC = {operator.rows} is small"
    if k is None:
        return "range", "all non-null eigenpairs of a large matrix"
    if 5 * k > size and size <= _DENSE_AT_MOST:
        return "dense", f"k = {k} is a large part of p = {size}"
    return "krylov", f"p = {size} is large and k = {k} small"
