r"""Curvature matrices of a training loss, known by their products with blocks of vectors.

============================  ==========================================================
:class:`HessianOperator`      :math:`H = \nabla^2_\theta L(D; \theta)`
:class:`GaussNewtonOperator`  :math:`G = \frac1n \sum_s J_s^T \Lambda_s J_s`
:class:`FunctionalHessianOperator`   :math:`F = H - G`
============================  ==========================================================
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from eigenboundary.curvature.operators.base import _T, FactoredOperator, SymmetricOperator
from eigenboundary.curvature.operators.products import (
    KeptGradients,
    LinearizedProducts,
    ProductRecord,
    pays,
)
from eigenboundary.problem.derivatives import (
    WeightedBatch,
    hessian_product,
    pullback,
    pushforward,
    scalar_hessian_product,
    summed_pullback,
)
from eigenboundary.problem.network import Tree
from eigenboundary.problem.problem import Model, Problem, as_problem
from eigenboundary.runtime.arguments import check_integer
from eigenboundary.runtime.errors import InvalidInputError, first_line
from eigenboundary.runtime.interrupts import safe_point
from eigenboundary.runtime.linalg import eigh
from eigenboundary.runtime.precision import full_precision

_log = logging.getLogger(__name__)


class ProblemOperator(SymmetricOperator):
    """A curvature matrix of a problem's training loss, its products summed over the data."""

    #: Functions of `derivatives` in use, by the names under which missing forward modes are noted.
    derivatives: frozenset[str] = frozenset()

    def __init__(
        self, model: Model, data: Any = None, *, kept_bytes: int | None = None, **options: Any
    ) -> None:
        check_integer(kept_bytes, "kept_bytes", 0, optional=True)
        problem = as_problem(model, data, **options)
        super().__init__(problem.n_parameters, problem.dtype, problem.device)
        self.problem, self.kept_bytes, self.memory = problem, kept_bytes, problem.network.memory
        # The gradient's forward and backward pass, three in all, and their tangents.
        self.flops = 6 * problem.n_samples * problem.signature.flops
        self._kept: KeptGradients | LinearizedProducts | None = None
        self._done, self._obstacle, self._tried_gradients = 0, "", False

    @abstractmethod
    def _batch_product(self, x: Tensor, y: Tensor, block: Tensor) -> Tensor:
        """Compute the product of one batch's summed curvature with a (p, k) block."""

    @staticmethod
    @abstractmethod
    def _traced(batch: WeightedBatch, tangents: Tree, /) -> Tree:
        """Compute a weighted batch's product with one vector, for tracing."""

    @property
    def record(self) -> ProductRecord:
        """The current route of products, and its reason."""
        reason = self._obstacle or "too few products for tracing to pay"
        if isinstance(self._kept, LinearizedProducts):
            return self._kept.record
        if self._kept is not None:
            return self._kept.record(reason)
        reverse = self.derivatives & self.problem.network.reverse_only
        return ProductRecord("double backward" if reverse else "recomputed", reason)

    def led(self, job: Callable[[], _T]) -> _T:
        """Return the job's value from the first process; all take part in its products."""
        value, self.products = self.problem.processes.led(lambda: (job(), self.products), self)
        return value

    def expect(self, products: int) -> None:
        """Announce in all processes that at least so many further products will be computed."""
        self.problem.processes.call(SymmetricOperator.expect, self, products)

    def _product(self, block: Tensor) -> Tensor:
        return self.problem.processes.call(ProblemOperator._summed, self, block.T).T

    def _summed(self, rows: Tensor) -> Tensor:
        """Compute the product with vectors (k, p) over the samples of all processes."""
        total = self.problem.processes.sum(lambda: self._own_sum(rows.T).T, rows)
        return total / self.problem.n_samples

    @full_precision()
    def _own_sum(self, block: Tensor) -> Tensor:
        """Compute the product of the curvature summed over this process' samples."""
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
        """Drop the results kept between products; the next product chooses its route anew."""
        self._kept, self._tried_gradients = None, False
        self._note_kept()

    def _prepare(self) -> None:
        """Change to a faster route once enough products were computed for it to pay."""
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
        """Return products by kept graphs of the gradient, if the curvature is its derivative."""
        return None

    def _linearize(self) -> None:
        """Trace the product if possible."""
        self.forget()  # both routes at once may not fit
        try:
            self._kept = LinearizedProducts(
                self.problem, self._traced, self._batch_product, self._most_kept
            )
        except Exception as error:  # whatever an operation that cannot be traced raises
            self._obstacle = f"tracing failed: {first_line(error)}"
        self._note_kept()
        _log.info("products: %s", self.record)

    def _note_kept(self) -> None:
        self.memory.keep(self, self._kept.kept_bytes if self._kept is not None else 0)


class HessianOperator(ProblemOperator):
    r"""The Hessian of the training loss, :math:`H = \nabla^2_\theta L(D; \theta)`.

    Parameters
    ----------
    model : torch.nn.Module, Problem or Analysis
    data, **options
        Samples and options of :class:`~eigenboundary.Problem`, for a module.
    kept_bytes : int, optional
        Bytes of intermediate results that may be kept between products, 0 for none; default: a
        quarter of the free memory, on the host between 1 and 8 GiB, or the rest of a memory limit.

    Attributes
    ----------
    record : ProductRecord
        The current route of products, and its reason.

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
    _traced = staticmethod(WeightedBatch.hessian_product)

    def _batch_product(self, x: Tensor, y: Tensor, block: Tensor) -> Tensor:
        return hessian_product(self.problem.network, self.problem.loss, x, y, block)

    def _gradients(self) -> KeptGradients | None:
        try:
            return KeptGradients(self.problem, self._batch_product, self._most_kept)
        except Exception as error:  # whatever an operation without second derivatives raises
            _log.info("products: gradients are not kept (%s)", first_line(error))
            return None


class GaussNewtonOperator(ProblemOperator, FactoredOperator):
    r"""The Gauss–Newton matrix :math:`G = \frac1n \sum_s J_s^T \Lambda_s J_s`.

    :math:`J_s = \partial f_\theta(x_s)/\partial\theta` and
    :math:`\Lambda_s = \partial^2\ell/\partial f^2`. G equals the Hessian up to terms that vanish
    with the loss, and is positive semi-definite for a convex loss.

    Parameters
    ----------
    model : torch.nn.Module, Problem or Analysis
    data, **options
        Samples and options of :class:`~eigenboundary.Problem`, for a module.
    kept_bytes : int
        As for :class:`HessianOperator`.
    """

    name = "gauss_newton"
    derivatives = frozenset({"pushforward", "summed_pullback"})
    _traced = staticmethod(WeightedBatch.gauss_newton_product)

    def _batch_product(self, x: Tensor, y: Tensor, block: Tensor) -> Tensor:
        outputs, tangents = pushforward(self.problem.network, x, block)
        loss = self.problem.loss
        curved = torch.vmap(lambda t: loss.output_hessian_product(outputs, y, t))(tangents)
        return summed_pullback(self.problem.network, x, curved)

    @property
    def rows(self) -> int:
        """Number of rows of the factor F, nC."""
        return self.problem.n_samples * self.problem.n_classes

    def factor_blocks(self, block_bytes: int) -> list[Callable[[], Tensor]]:
        r"""Return functions that compute rows of F for a batch, (bC, p).

        With :math:`\Lambda_s = S_s S_s^T` and rows :math:`S_s^T J_s / \sqrt n`, :math:`G = F^T F`.
        They raise InvalidInputError where the loss is not convex in the outputs.
        """
        samples = max(1, block_bytes // (8 * self.problem.n_classes * self.size))
        return [partial(self._factor_rows, x, y) for x, y in self.problem.samples.batches(samples)]

    def _factor_rows(self, x: Tensor, y: Tensor) -> Tensor:
        problem = self.problem
        outputs = problem.network.evaluate(x)
        squares, basis = eigh(problem.loss.output_hessian(outputs, y))
        if float(squares.min()) < -1e-6 * float(squares.abs().max()):
            because = f"{problem.loss.name!r} is not (use method 'krylov')"
            wanted = "be convex in the outputs for method 'gram'"
            raise InvalidInputError("loss", wanted, because=because)
        roots = basis * squares.clamp_min(0).sqrt().unsqueeze(1)
        # Scaled rows keep the curvature of confident samples above float32's underflow.
        size = roots.abs().amax((1, 2), keepdim=True).clamp_min(1e-300)
        rows = pullback(problem.network, x, (roots / size).transpose(1, 2).to(outputs.dtype))
        return (rows.double() * size).flatten(0, 1) / problem.n_samples**0.5


class FunctionalHessianOperator(ProblemOperator):
    r"""The rest of the Hessian, which the curvature of the network itself makes.

    .. math:: F = H - G
        = \frac1n \sum_s \sum_c \frac{\partial \ell_s}{\partial f_c} \nabla^2_\theta f_c(x_s),

    the functional Hessian of Singh, Bachmann & Hofmann (2021). Products are computed from this sum,
    not as a difference, so that they keep their digits where F is small.

    Parameters
    ----------
    model : torch.nn.Module, Problem or Analysis
    data, **options
        Samples and options of :class:`~eigenboundary.Problem`, for a module.
    kept_bytes : int
        As for :class:`HessianOperator`.
    """

    name = "functional"
    derivatives = frozenset({"hessian_product"})
    _traced = staticmethod(WeightedBatch.functional_product)

    def _batch_product(self, x: Tensor, y: Tensor, block: Tensor) -> Tensor:
        network = self.problem.network
        slopes = self.problem.loss.gradient(network.evaluate(x), y)
        return scalar_hessian_product(network, x, lambda f: (f * slopes).sum(), block)


#: The matrices of second derivatives by name.
CURVATURES: dict[str, Callable[[Problem], ProblemOperator]] = {
    "hessian": HessianOperator,
    "gauss_newton": GaussNewtonOperator,
}
