r"""Starts of training, in which the paper's regimes differ (arXiv:2306.07104, sec. 4).

=================  ==============================================================
normal             a random start
random labels      a random start, on permuted labels
adversarial        the weights of a network fitted to permuted labels
large norm         a random start scaled to the norm of that network
wide margin        the weights of a network fitted to a noisier version of the data
=================  ==============================================================

All but "random labels" train on the true labels.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from eigenboundary.runtime.arguments import check_number, check_seed
from eigenboundary.runtime.errors import InvalidInputError


def permuted_labels(y: Tensor, *, seed: int = 0) -> Tensor:
    """Permute labels, so that they are independent of their samples.

    Examples
    --------
    >>> import torch
    >>> y = torch.arange(30) % 3
    >>> permuted = permuted_labels(y)
    >>> torch.equal(permuted, y), torch.equal(permuted.bincount(), y.bincount())
    (False, True)
    """
    check_seed(seed)
    if not isinstance(y, Tensor) or y.ndim != 1:
        raise InvalidInputError("y", "be a tensor of labels (n,)", type(y).__name__)
    return y[torch.randperm(len(y), generator=torch.Generator().manual_seed(seed), device="cpu")]


def parameter_norm(model: nn.Module) -> float:
    r"""Compute the Euclidean norm :math:`\|\theta\|` of all parameters.

    Examples
    --------
    >>> import torch
    >>> layer = torch.nn.Linear(2, 1)
    >>> _ = torch.nn.init.constant_(layer.weight, 2.0), torch.nn.init.constant_(layer.bias, 1.0)
    >>> parameter_norm(layer)
    3.0
    """
    return math.sqrt(sum(float(p.detach().double().square().sum()) for p in model.parameters()))


def scaled_to_norm(model: nn.Module, norm: float) -> nn.Module:
    """Return a copy with all parameters, biases included, scaled to this norm.

    Raises
    ------
    InvalidInputError
        If the norm is not above zero, or the model's is zero.
    """
    present = parameter_norm(model)
    check_number(norm, "norm", above=0)
    if not present > 0:
        raise InvalidInputError("model", "have parameters that are not all zero to be scaled")
    scaled = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in scaled.parameters():
            parameter.mul_(norm / present)
    return scaled
