r"""Per-sample losses, written so that confident networks keep their curvature.

A network that is sure of itself has probabilities that differ from one by less than a
float32 can hold. The textbook cross-entropy differentiates ``softmax - onehot`` and so loses
all of its curvature there. Written through the log-odds *against* a class

.. math:: z_y(f) = \log \sum_{j \neq y} e^{f_j} - f_y, \qquad \ell = \log(1 + e^{z_y}),

the same function and both its derivatives stay accurate to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.func import grad, jvp, vmap

from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.precision import program_default

PerSampleLoss = Callable[[Tensor, Tensor], Tensor]

# softplus(z) is z to rounding in float64 beyond this; torch's default, 20, is not far enough.
_SOFTPLUS_LINEAR_FROM = 50.0


def log_odds_against(outputs: Tensor, labels: Tensor) -> Tensor:
    r"""Compute the log-odds against a class, :math:`z_y = \log\sum_{j\neq y} e^{f_j} - f_y`, (n,).

    The outputs (n, C) are logits or log-probabilities, the labels (n,) int64.

    Examples
    --------
    >>> import torch
    >>> log_odds_against(torch.tensor([[3.0, 1.0]]), torch.tensor([0]))
    tensor([-2.])
    """
    own = labels.unsqueeze(-1) == torch.arange(outputs.shape[-1], device=outputs.device)
    others = outputs.masked_fill(own, -math.inf).logsumexp(-1)
    return others - outputs.gather(-1, labels.unsqueeze(-1)).squeeze(-1)


def _cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    z = log_odds_against(outputs, labels)
    return torch.nn.functional.softplus(z, threshold=_SOFTPLUS_LINEAR_FROM)


def _cross_entropy_residual(outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    # dl/df = sigmoid(z) dz/df: the first factor underflows, the second has norm >= 1.
    z = log_odds_against(outputs, labels)
    direction = grad(lambda f: log_odds_against(f, labels).sum())(outputs)
    return direction, torch.nn.functional.logsigmoid(z)


def _mse(outputs: Tensor, labels: Tensor) -> Tensor:
    classes = torch.arange(outputs.shape[-1], device=outputs.device)
    targets = (labels.unsqueeze(-1) == classes).to(outputs.dtype)
    return (outputs - targets).square().mean(-1)


@dataclass(frozen=True)
class Loss:
    r"""A per-sample loss :math:`\ell(f, y)` and its derivatives with respect to the outputs f.

    Attributes
    ----------
    name : str
    per_sample : callable
        ``(outputs (n, C), labels (n,)) -> (n,)``.
    log_space : bool
        Whether the gradient is taken apart into direction and log-scale, so that it does not
        underflow.
    normalized_outputs : bool
        Whether outputs must be log-probabilities.
    """

    name: str
    per_sample: PerSampleLoss
    log_space: bool = False
    normalized_outputs: bool = False

    def residual(self, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        r"""Compute the gradient in the outputs, as a direction and a log-scale.

        :math:`\nabla_f \ell(f, y) = e^{s}\, r` with r, (n, C), of order one also where the gradient
        itself underflows, and s of shape (n,).
        """
        if self.log_space:
            return _cross_entropy_residual(outputs, labels)
        r = self.gradient(outputs, labels)
        scale = r.abs().amax(-1, keepdim=True)
        safe = torch.where(scale > 0, scale, torch.ones_like(scale))
        return r / safe, scale.squeeze(-1).log()

    def gradient(self, outputs: Tensor, labels: Tensor) -> Tensor:
        r"""Compute :math:`\partial\ell/\partial f`, shape (n, C); sure predictions underflow."""
        return grad(lambda f: self.per_sample(f, labels).sum())(outputs)

    def output_hessian_product(self, outputs: Tensor, labels: Tensor, tangent: Tensor) -> Tensor:
        r"""Compute :math:`\Lambda u` with :math:`\Lambda = \partial^2\ell/\partial f^2`.

        ``outputs`` and ``tangent`` have shape (n, C); one product per sample.
        """
        return jvp(lambda f: self.gradient(f, labels), (outputs,), (tangent,))[1]

    def output_hessian(self, outputs: Tensor, labels: Tensor) -> Tensor:
        r"""Compute the matrices :math:`\Lambda_s`, shape (n, C, C)."""
        n, n_classes = outputs.shape
        basis = torch.eye(n_classes, dtype=outputs.dtype, device=outputs.device)
        tangents = basis.unsqueeze(1).expand(n_classes, n, n_classes)
        products = vmap(lambda t: self.output_hessian_product(outputs, labels, t))(tangents)
        return products.permute(1, 0, 2)


#: Losses by name. On log-probabilities NLL and cross-entropy are one function; the cross-entropy
#: has the curvature that -f_y alone would lack.
LOSSES: dict[str, Loss] = {
    "cross_entropy": Loss("cross_entropy", _cross_entropy, log_space=True),
    "nll": Loss("nll", _cross_entropy, log_space=True, normalized_outputs=True),
    "mse": Loss("mse", _mse),
}


@dataclass(frozen=True)
class _Given:
    """The user's function, called under the program's default device."""

    function: PerSampleLoss

    def __call__(self, outputs: Tensor, labels: Tensor) -> Tensor:
        with program_default():
            return self.function(outputs, labels)


def as_loss(loss: str | PerSampleLoss | Loss) -> Loss:
    """Turn what the user passed as ``loss`` into a :class:`Loss`, or raise InvalidInputError."""
    if isinstance(loss, Loss):
        given = isinstance(loss.per_sample, _Given) or loss in LOSSES.values()
        return loss if given else replace(loss, per_sample=_Given(loss.per_sample))
    if isinstance(loss, str):
        if loss not in LOSSES:
            known = ", ".join(repr(name) for name in LOSSES)
            wanted = f"be one of {known} or a callable (outputs, labels) -> (n,)"
            raise InvalidInputError("loss", wanted, repr(loss))
        return LOSSES[loss]
    if callable(loss):
        name = getattr(loss, "__name__", type(loss).__name__)
        return Loss(str(name), _Given(loss))
    wanted = "be a name or a callable (outputs, labels) -> (n,)"
    raise InvalidInputError("loss", wanted, type(loss).__name__)
