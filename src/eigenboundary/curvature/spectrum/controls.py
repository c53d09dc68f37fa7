"""The paper's control directions, which should not encode the boundary.

They are the lowest eigenvectors, random eigenvectors and random directions. Most eigenvectors of a
large network lie in the numerical null space of the Hessian, where they are an arbitrary
orthonormal basis. A random eigenvector is therefore a non-null one with the probability of their
share of p, and otherwise uniform in the null space.
"""

from __future__ import annotations

import torch
from torch import Tensor

from eigenboundary.curvature.eigensolvers.eigenpairs import Eigenpairs
from eigenboundary.curvature.eigensolvers.solve import check_k, top_eigenpairs
from eigenboundary.curvature.operators.base import SymmetricOperator
from eigenboundary.runtime.arguments import check_choice, check_seed
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.linalg import orthonormal_extension, random_block
from eigenboundary.runtime.precision import full_precision

CONTROLS = ("lowest", "random_eigenvectors", "random_directions")


@full_precision()
def control_vectors(
    operator: SymmetricOperator,
    kind: str,
    k: int = 10,
    *,
    seed: int = 0,
    eigenpairs: Eigenpairs | None = None,
) -> Tensor:
    """Compute orthonormal control directions.

    Parameters
    ----------
    operator : SymmetricOperator
    kind : {"lowest", "random_eigenvectors", "random_directions"}
        "random_eigenvectors" needs all non-null eigenpairs.
    k : int
        Number of directions.
    seed : int
    eigenpairs : Eigenpairs, optional
        All non-null eigenpairs of the operator, if known.

    Returns
    -------
    Tensor, shape (p, k)

    Examples
    --------
    >>> import torch
    >>> import eigenboundary as eb
    >>> matrix = eb.MatrixOperator(torch.diag(torch.arange(9.0)))
    >>> eb.control_vectors(matrix, "lowest", 2).argmax(0)
    tensor([1, 0])
    """
    check_choice(kind, "kind", CONTROLS)
    check_seed(seed)
    check_k(k, operator.size)
    return operator.led(lambda: _vectors(operator, kind, k, seed, eigenpairs))


def _vectors(
    operator: SymmetricOperator, kind: str, k: int, seed: int, eigenpairs: Eigenpairs | None
) -> Tensor:
    if kind == "lowest":
        if eigenpairs is not None and eigenpairs.vectors.shape[1] >= k:
            lowest = eigenpairs.vectors[:, -k:].flip(1)
            if float(eigenpairs.values[-k]) < 0:  # otherwise the null space is lower
                return lowest.to(operator.device, operator.dtype)
        lowest_pairs = top_eigenpairs(operator, k, which="smallest", seed=seed)
        lowest_pairs.outcome.raise_if_interrupted()
        return lowest_pairs.vectors
    if kind == "random_directions":
        return orthonormal_extension(random_block(operator.like, k, seed), [])
    if eigenpairs is None:
        eigenpairs = top_eigenpairs(operator, None, seed=seed)
    eigenpairs.outcome.raise_if_interrupted()
    known = eigenpairs.vectors.to(operator.device, operator.dtype)
    if not eigenpairs.outcome.finished:  # other eigenvectors are not null
        wanted = "not hold 'random_eigenvectors' where not all eigenvectors can be found"
        raise InvalidInputError("controls", wanted, because=eigenpairs.message)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randperm(operator.size, generator=generator)[:k]
    picked = known[:, drawn[drawn < known.shape[1]].to(known.device)]
    missing = k - picked.shape[1]
    if not missing:
        return picked
    null = orthonormal_extension(random_block(operator.like, missing, seed), [known])
    return torch.cat([picked, null], dim=1)
