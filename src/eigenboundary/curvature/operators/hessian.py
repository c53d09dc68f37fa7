r"""Symmetric matrices known by their products with blocks of vectors.

=========================  ==========================================================
:class:`HessianOperator`   :math:`H = \nabla^2_\theta L(D; \theta)`
:class:`GaussNewtonOperator`  :math:`G = \frac1n \sum_s J_s^T \Lambda_s J_s`
:class:`MatrixOperator`    a matrix that is there
=========================  ==========================================================

An operator does not know who calls it, and a solver sees only an operator.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from eigenboundary.curvature.operators.base import _T, FactoredOperator, SymmetricOperator
from eigenboundary.curvature.operators.products import (
    KeptGradients,
    LinearizedProducts,
    ProductRecord,
    first_line,
    pays,
)
from eigenboundary.problem.derivatives import (
    batch_gauss_newton_product,
    batch_hessian_product,
    hessian_product,
    pullback,
    pushforward,
    summed_pullback,
)
from eigenboundary.problem.network import Tree
from eigenboundary.problem.problem import Problem
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.interrupts import safe_point
from eigenboundary.runtime.linalg import eigh
from eigenboundary.runtime.precision import full_precision

_log = logging.getLogger(__name__)


class ProblemOperator(SymmetricOperator):
    """A curvature matrix of a problem's training loss, its products summed over the data.

    Parameters
    ----------
    problem : Problem
    kept_bytes : int, optional
        Most bytes of intermediate results to keep between products, 0 for none; default: a
        quarter of the free memory, on the host of 1 to 8 GiB, or what a memory limit leaves.
    """

    #: What it needs of `derivatives`, by the names under which missing forward modes are noted.
    derivatives: frozenset[str] = frozenset()

    def __init__(self, problem: Problem, *, kept_bytes: int | None = None) -> None:
        if not isinstance(problem, Problem):
            raise InvalidInputError("problem", "be a Problem", type(problem).__name__)
        given = kept_bytes is not None
        if given and (type(kept_bytes) is not int or kept_bytes < 0):
            raise InvalidInputError("kept_bytes", "be an integer of at least 0", repr(kept_bytes))
        super().__init__(problem.n_parameters, problem.dtype, problem.device)
        self.problem, self.kept_bytes, self.memory = problem, kept_bytes, problem.network.memory
        # The gradient's forward and backward pass, three in all, and their tangents.
        self.flops = 6 * problem.n_samples * problem.signature.flops
        self._kept: KeptGradients | LinearizedProducts | None = None
        self._done, self._obstacle, self._tried_gradients = 0, "", False

    @abstractmethod
    def _batch_product(self, x: Tensor, y: Tensor, block: Tensor) -> Tensor:
        """The product of one batch's summed curvature with a (p, k) block."""

    @abstractmethod
    def _traced_product(
        self, x: Tensor, y: Tensor, weights: Tensor, parameters: Tree, tangents: Tree
    ) -> Tree:
        """The same with one vector, each sample weighted, as a pure function for tracing."""

    @property
    def record(self) -> ProductRecord:
        """How products are computed by now, and why."""
        reason = self._obstacle or "too few products for tracing to pay"
        if isinstance(self._kept, LinearizedProducts):
            return self._kept.record
        if self._kept is not None:
            return self._kept.record(reason)
        reverse = self.derivatives & self.problem.network.reverse_only
        return ProductRecord("double backward" if reverse else "recomputed", reason)

    def led(self, job: Callable[[], _T]) -> _T:
        """The job's value, from the first of the processes; all have taken part in its products."""
        value, self.products = self.problem.processes.led(lambda: (job(), self.products), self)
        return value

    def expect(self, products: int) -> None:
        """Say in all processes that at least so many products are going to be asked for."""
        self.problem.processes.call(SymmetricOperator.expect, self, products)

    def _product(self, block: Tensor) -> Tensor:
        return self.problem.processes.call(ProblemOperator._summed, self, block.T).T

    def _summed(self, rows: Tensor) -> Tensor:
        """The product with vectors (k, p), over the samples of all processes."""
        total = self.problem.processes.sum(lambda: self._own_sum(rows.T).T, rows)
        return total / self.problem.n_samples

    @full_precision()
    def _own_sum(self, block: Tensor) -> Tensor:
        """The product of the curvature summed over this process' samples."""
        self._prepare()
        self._done += block.shape[1]
        if self._kept is not None:
            return self._kept(block)
        total = torch.zeros_like(block)
        for x, y in self.problem.samples.own_batches(
            self.problem.network.samples_per_chunk(block.shape[1])
        ):
            safe_point()
            total += self._batch_product(x, y, block)
        return total

    @property
    def _most_kept(self) -> int:
        return self.memory.kept(self.kept_bytes)

    def forget(self) -> None:
        """Give up what is kept between products; the next one chooses its route anew."""
        self._kept, self._tried_gradients = None, False
        self._note_kept()

    def _prepare(self) -> None:
        """Change to a faster route once the products that were computed say that it pays."""
        if isinstance(self._kept, LinearizedProducts):
            return
        if not self._obstacle and self.derivatives & self.problem.network.reverse_only:
            self._obstacle = "an operation of the network lacks forward mode"
        elif not self._obstacle and pays(self.problem, max(self._done, self.expected)):
            self._linearize()
        if self._done and self._kept is None and not self._tried_gradients:
            self._tried_gradients = True
            self._kept = self._gradients()
            self._note_kept()

    def _gradients(self) -> KeptGradients | None:
        """Products by kept graphs of the gradient, where the curvature is its derivative."""
        return None

    def _linearize(self) -> None:
        """Trace the product, if that can be done."""
        self.forget()  # both at once may not fit
        try:
            self._kept = LinearizedProducts(
                self.problem, self._traced_product, self._batch_product, self._most_kept
            )
        except Exception as error:  # whatever an operation that cannot be traced raises
            self._obstacle = f"tracing it failed: {first_line(error)}"
        self._note_kept()
        _log.info("products: %s", self.record)

    def _note_kept(self) -> None:
        self.memory.keep(self, self._kept.kept_bytes if self._kept is not None else 0)


class HessianOperator(ProblemOperator):
    r"""The Hessian of the training loss, :math:`H = \nabla^2_\theta L(D; \theta)`.

    Parameters
    ----------
    problem : Problem
    kept_bytes : int, optional
        Most bytes of intermediate results to keep between products, 0 for none; default: a
        quarter of the free memory, on the host of 1 to 8 GiB, or what a memory limit leaves.

    Attributes
    ----------
    record : ProductRecord
        How products are computed by now, and why.

    Examples
    --------
    >>> import torch
    >>> import eigenboundary as eb
    >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
    <torch._C.Generator ...>
    >>> problem = eb.Problem(torch.nn.Linear(2, 3), (torch.randn(9, 2), torch.arange(9) % 3))
    >>> hessian = eb.HessianOperator(problem)
    >>> (hessian @ torch.ones(9)).shape
    torch.Size([9])
    >>> print(hessian.record)
    recomputed (too few products for tracing to pay)
    """

    name = "hessian"
    derivatives = frozenset({"hessian_product"})

    def _batch_product(self, x: Tensor, y: Tensor, block: Tensor) -> Tensor:
        return hessian_product(self.problem.network, self.problem.loss, x, y, block)

    def _traced_product(
        self, x: Tensor, y: Tensor, weights: Tensor, parameters: Tree, tangents: Tree
    ) -> Tree:
        return batch_hessian_product(
            self.problem.network, self.problem.loss, x, y, weights, parameters, tangents
        )

    def _gradients(self) -> KeptGradients | None:
        try:
            return KeptGradients(self.problem, self._batch_product, self._most_kept)
        except Exception as error:  # whatever an operation without second derivatives raises
            _log.info("products: gradients are not kept (%s)", first_line(error))
            return None


class GaussNewtonOperator(ProblemOperator, FactoredOperator):
    r"""The Gauss–Newton matrix :math:`G = \frac1n \sum_s J_s^T \Lambda_s J_s`.

    :math:`J_s = \partial f_\theta(x_s)/\partial\theta` and
    :math:`\Lambda_s = \partial^2\ell/\partial f^2`. It equals the Hessian up to terms that vanish
    as the loss does, and is positive semi-definite for a convex loss.

    Parameters
    ----------
    problem : Problem
    kept_bytes : int
        As for :class:`HessianOperator`.
    """

    name = "gauss_newton"
    derivatives = frozenset({"pushforward", "summed_pullback"})

    def _batch_product(self, x: Tensor, y: Tensor, block: Tensor) -> Tensor:
        outputs, tangents = pushforward(self.problem.network, x, block)
        loss = self.problem.loss
        curved = torch.vmap(lambda t: loss.output_hessian_product(outputs, y, t))(tangents)
        return summed_pullback(self.problem.network, x, curved)

    def _traced_product(
        self, x: Tensor, y: Tensor, weights: Tensor, parameters: Tree, tangents: Tree
    ) -> Tree:
        return batch_gauss_newton_product(
            self.problem.network, self.problem.loss, x, y, weights, parameters, tangents
        )

    @property
    def rows(self) -> int:
        """Number of rows of the factor F, nC."""
        return self.problem.n_samples * self.problem.n_classes

    def factor_blocks(self, block_bytes: int) -> list[Callable[[], Tensor]]:
        r"""Functions that compute rows :math:`S_s^T J_s / \sqrt n` of F for a batch, (bC, p).

        With :math:`\Lambda_s = S_s S_s^T` the matrix is :math:`G = F^T F`.

        Raises
        ------
        InvalidInputError
            When a block is computed, if the loss is not convex in the outputs.
        """
        samples = max(1, block_bytes // (8 * self.problem.n_classes * self.size))
        return [partial(self._factor_rows, x, y) for x, y in self.problem.samples.batches(samples)]

    def _factor_rows(self, x: Tensor, y: Tensor) -> Tensor:
        problem = self.problem
        outputs = problem.network.evaluate(x)
        squares, basis = eigh(problem.loss.output_hessian(outputs, y))
        if float(squares.min()) < -1e-6 * float(squares.abs().max()):
            raise InvalidInputError(
                "loss",
                "be convex in the outputs for method 'gram'",
                because=f"{problem.loss.name!r} is not (use method 'krylov')",
            )
        roots = basis * squares.clamp_min(0).sqrt().unsqueeze(1)
        # Scaled rows keep the curvature of confident samples above float32's underflow.
        size = roots.abs().amax((1, 2), keepdim=True).clamp_min(1e-300)
        rows = pullback(problem.network, x, (roots / size).transpose(1, 2).to(outputs.dtype))
        return (rows.double() * size).flatten(0, 1) / problem.n_samples**0.5


#: The matrices of second derivatives by name.
CURVATURES: dict[str, Callable[[Problem], ProblemOperator]] = {
    "hessian": HessianOperator,
    "gauss_newton": GaussNewtonOperator,
}
