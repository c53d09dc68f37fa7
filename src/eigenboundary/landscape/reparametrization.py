r"""Networks that compute the same function from other weights, and coordinates in which they agree.

A layer followed by a positively homogeneous activation, :math:`\varphi(\alpha u) = \alpha
\varphi(u)` for :math:`\alpha > 0`, can pass a factor on to the next one. With
:math:`\prod_l \alpha_l = 1` the network of

.. math:: W_l \to \alpha_l W_l, \qquad b_l \to \Big(\prod_{j \le l} \alpha_j\Big) b_l

makes the same predictions, while its Hessian differs (Dinh et al. 2017, arXiv:1703.04933).

Written as θ' = Sθ with S diagonal, the factors turn the gradient into :math:`S^{-1} g`, the Hessian
into :math:`S^{-1} H S^{-1}`, and the diagonal D of the norms of the tensors that the parameters
belong to into SD. So :math:`D g` and :math:`D H D` do not change: gradient and Hessian in the
coordinates :math:`z = D^{-1}\theta`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from eigenboundary.landscape.points import as_numbers
from eigenboundary.problem.module import (
    check_finite_inputs,
    check_finite_parameters,
    check_model,
    unwrapped,
)
from eigenboundary.problem.problem import Model, Problem, as_problem
from eigenboundary.runtime.arguments import as_array, check_integer, check_number, check_seed
from eigenboundary.runtime.errors import InvalidInputError, first_line

Layer = tuple[str, str | None]

_CONVOLUTIONS = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)
_LAYERS = (nn.Linear, *_CONVOLUTIONS)
# Modules with f(αu) = αf(u) for α > 0, in eval mode.
_HOMOGENEOUS = (
    *(nn.ReLU, nn.LeakyReLU, nn.RReLU, nn.PReLU, nn.Identity, nn.Flatten, nn.Unflatten),
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
    *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    *(nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
)

_MOST_REDRAWS = 1000
# Outputs, relative to the largest one of an input, agree to far better than this in float64.
_UNCHANGED = 1e-9
_TRIALS = 32


def random_alphas(
    n_layers: int, low: float = 0.1, high: float = 10.0, *, seed: int = 0
) -> NDArray[np.float64]:
    r"""Draw random factors for :func:`reparametrize`, with product one.

    The logarithms are uniform, less their mean. Factors beyond [low, high] are drawn again; if a
    thousand draws do not suffice, the last one is scaled towards one until it fits.

    Parameters
    ----------
    n_layers : int
    low, high : float
        Limits of the factors, below and above one.
    seed : int
        Seed of the draws.

    Returns
    -------
    array, shape (n_layers,)

    Raises
    ------
    InvalidInputError
        If an argument is not as described.

    Examples
    --------
    >>> alphas = random_alphas(3, seed=1)
    >>> bool(((alphas > 0.1) & (alphas < 10)).all()), round(float(alphas.prod()), 12)
    (True, 1.0)
    """
    check_integer(n_layers, "n_layers")
    check_seed(seed)
    check_number(low, "low", above=0, below=1)
    check_number(high, "high", above=1)
    lowest, highest = np.log(low), np.log(high)
    generator = np.random.default_rng(seed)
    for _ in range(_MOST_REDRAWS):
        logs = generator.uniform(lowest, highest, n_layers)
        logs -= logs.mean()
        if lowest <= logs.min() and logs.max() <= highest:
            break
    overshoot = max(1.0, logs.min() / lowest, logs.max() / highest)
    alphas: NDArray[np.float64] = np.exp(logs / overshoot)
    return alphas


def _scales(layers: Sequence[Layer], alphas: ArrayLike | Tensor) -> dict[str, float]:
    """Return the factor of each weight and bias; the last ones make the product one."""
    n_layers = len(layers)
    wanted = f"be {n_layers} numbers, one a layer"
    try:
        values = as_array(alphas)
    except (TypeError, ValueError):  # ragged, or of a dtype that numpy does not have
        raise InvalidInputError("alphas", wanted, repr(alphas)) from None
    if values.shape != (n_layers,) or values.dtype.kind not in "iuf":
        raise InvalidInputError("alphas", wanted, f"shape {values.shape} of {values.dtype}")
    rounding = np.finfo(values.dtype if values.dtype.kind == "f" else np.float64).eps
    factors = values.astype(np.float64)
    if not np.isfinite(factors).all() or not (factors > 0).all():
        raise InvalidInputError("alphas", "be positive and finite", f"{factors.tolist()}")
    logs = np.log(factors)
    if abs(logs.sum()) > 4 * float(rounding) * (1 + np.abs(logs)).sum():
        came = f"{factors.tolist()} with product {factors.prod():.9g}"
        raise InvalidInputError("alphas", "have product 1", came)
    products = np.append(np.cumprod(factors)[:-1], 1.0)
    factors[-1] = 1.0 / products[-2] if n_layers > 1 else 1.0
    scales: dict[str, float] = {}
    for (weight, bias), factor, product in zip(layers, factors, products, strict=True):
        scales[weight] = float(factor)
        if bias is not None:
            scales[bias] = float(product)
    return scales


def layer_parameters(model: nn.Module) -> tuple[Layer, ...]:
    """List the weight and the bias, if any, of each layer in the order they are registered.

    Raise an InvalidInputError if parameters are shared, or belong to anything but Linear and
    convolution layers (and PReLU, whose slopes are no layer).

    Examples
    --------
    >>> from torch import nn
    >>> layer_parameters(nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 3, bias=False)))
    (('0.weight', '0.bias'), ('2.weight', None))
    """
    check_model(model)
    layers: list[Layer] = []
    owners: dict[int, str] = {}
    for path, module in unwrapped(model).named_modules(remove_duplicate=False):
        own = dict(module.named_parameters(path, recurse=False, remove_duplicate=False))
        for name, parameter in own.items():
            if id(parameter) in owners:
                again = f"{name!r} is {owners[id(parameter)]!r} again"
                raise _refused("not share weights between layers", again)
            owners[id(parameter)] = name
        # Even without weights it may not stay: in training mode it undoes any factor.
        normalizes = isinstance(module, nn.modules.batchnorm._BatchNorm)
        if not normalizes and (not own or type(module) is nn.PReLU):
            continue
        weight, bias = (f"{path}.{part}".removeprefix(".") for part in ("weight", "bias"))
        if not isinstance(module, _LAYERS) or weight not in own or not own.keys() <= {weight, bias}:
            held = f"a {type(module).__name__} with {', '.join(own) or 'statistics of its inputs'}"
            wanted = "hold its parameters in Linear and convolution layers"
            raise _refused(wanted, f"{path or 'the model'!r} is {held}")
        layers.append((weight, bias if bias in own else None))
    if not layers:
        raise _refused("have a Linear or convolution layer", f"{type(model).__name__} has none")
    return tuple(layers)


def _refused(wanted: str, because: str) -> InvalidInputError:
    return InvalidInputError("model", f"{wanted} to be reparametrised", because=because)


def reparametrize(model: nn.Module, alphas: ArrayLike | Tensor, x: Any = None) -> nn.Module:
    r"""Return a network of the same function whose layer l is scaled by :math:`\alpha_l`.

    Weights become :math:`\alpha_l W_l` and biases :math:`(\prod_{j \le l} \alpha_j) b_l`. For an
    ``nn.Sequential`` of Linear and convolution layers with positively homogeneous modules between
    (ReLU, LeakyReLU, pooling, Flatten, Dropout, ...) the predictions are unchanged by
    construction. Any other network is tried out in float64 on inputs of many sizes.

    Parameters
    ----------
    model : torch.nn.Module
        Left as it is.
    alphas : array, shape (n_layers,)
        Positive factors, one for each Linear or convolution layer in the order the layers are
        registered. Their product is one, to the rounding of their dtype.
    x : array or Tensor, shape (n, ...), optional
        Inputs to try the network out on, needed where its first layer does not tell their shape.

    Returns
    -------
    torch.nn.Module
        A copy with the new weights.

    Raises
    ------
    InvalidInputError
        If the factors do not fit, or the network's predictions change: because an activation is
        not homogeneous, layers are not called one after the other in the order they are
        registered, or anything is added to or divided by what passes between them.

    Examples
    --------
    >>> import torch
    >>> import eigenboundary as eb
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 3))
    >>> other = eb.reparametrize(model, [4.0, 0.25])
    >>> torch.equal(other[0].weight, 4 * model[0].weight)
    True
    >>> inputs = torch.randn(7, 2)
    >>> torch.allclose(other(inputs), model(inputs), atol=1e-6)
    True
    """
    layers = layer_parameters(model)
    model = unwrapped(model)
    check_finite_parameters(model)
    scales = _scales(layers, alphas)
    if not _is_homogeneous_chain(model, len(layers)):
        _check_unchanged(model, layers, x)
    return _scaled(model, scales)


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except (RuntimeError, TypeError) as error:
        came = f"{type(error).__name__}: {error}"
        raise InvalidInputError("model", "be copyable with copy.deepcopy", came) from None


@torch.no_grad()
def _scaled(model: nn.Module, scales: dict[str, float]) -> nn.Module:
    model = _copied(model)
    named = dict(model.named_parameters())
    for name, scale in scales.items():
        # Multiplied in float64: a factor rounded to float32 would scale all entries wrongly.
        scaled = (named[name].double() * scale).to(named[name].dtype)
        limits = torch.finfo(scaled.dtype)
        largest = float(scaled.abs().max()) if scaled.numel() else 0.0
        lost = largest < limits.tiny / limits.eps and bool((named[name] != 0).any())
        if lost or not np.isfinite(largest):
            wanted = f"leave the weights in the range of {str(scaled.dtype).split('.')[1]}"
            because = f"the largest entry of {name!r} would be {largest:.3g}"
            raise InvalidInputError("alphas", wanted, because=because)
        named[name].copy_(scaled)
    return model


def _chain(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules that a (nested) nn.Sequential calls, in order."""
    if type(module) is nn.Sequential and not _is_altered(module):
        for child in module:
            yield from _chain(child)
    else:
        yield module


def _is_altered(module: nn.Module) -> bool:
    """Return whether a call does anything other than the class' own forward."""
    hooked = bool(module._forward_hooks or module._forward_pre_hooks)
    return hooked or "forward" in vars(module)


def _is_homogeneous_chain(model: nn.Module, n_layers: int) -> bool:
    chain = list(_chain(model))
    places = [i for i, module in enumerate(chain) if type(module) in _LAYERS]
    if len(places) != n_layers or any(_is_altered(module) for module in chain):
        return False
    # Before the first layer and after the last nothing is scaled: anything may stand there.
    between = chain[places[0] : places[-1]]
    return all(type(module) in (*_LAYERS, *_HOMOGENEOUS) for module in between)


def _check_unchanged(model: nn.Module, layers: Sequence[Layer], x: Any) -> None:
    """Try out in float64, with factors of a fixed seed, that the predictions stay."""
    inputs = _trial_inputs(model, layers, x)
    alphas = random_alphas(len(layers), 0.5, 2.0)
    original = _copied(model).eval().double().cpu()
    other = _scaled(original, _scales(layers, alphas))
    name = type(model).__name__
    try:
        with torch.no_grad():
            before, after = original(inputs), other(inputs)
    except Exception as error:
        wanted = f"be inputs that the model takes, to try out whether {name} can be reparametrised"
        because = f"for shape {tuple(inputs.shape)} it raised: {first_line(error)}"
        raise InvalidInputError("x", wanted, because=because) from error
    if not isinstance(before, Tensor):
        raise _refused("return a tensor", f"{name} gave a {type(before).__name__}")
    change = (after - before).abs().flatten(1).amax(1)
    size = before.abs().flatten(1).amax(1)
    if not bool((change <= _UNCHANGED * size).all()):
        worst = float((change / size.clamp_min(torch.finfo(size.dtype).tiny)).max())
        wanted = (
            "call its layers one after the other in the order they are registered, with "
            "nothing but positively homogeneous operations (ReLU, pooling) between,"
        )
        raise _refused(wanted, f"outputs of this {name} changed by a factor of {worst:.2g}")


def _trial_inputs(model: nn.Module, layers: Sequence[Layer], x: Any) -> Tensor:
    if x is not None:
        given = as_numbers(x, "x")
        if given.ndim < 2 or not len(given):
            came = f"shape {tuple(given.shape)}"
            raise InvalidInputError("x", "be a batch of inputs, shape (n, ...)", came)
        check_finite_inputs(given, "x")
        trials = given[:_TRIALS].cpu().double()
        return torch.cat([trials, 0.1 * trials, 10 * trials])
    first = model.get_submodule(layers[0][0].rpartition(".")[0])
    if not isinstance(first, nn.Linear):
        name, kind = type(model).__name__, type(first).__name__
        wanted = f"be given, to try out whether this {name} can be reparametrised"
        because = f"its first layer, a {kind}, does not tell the inputs' shape"
        raise InvalidInputError("x", wanted, because=because)
    generator = torch.Generator().manual_seed(0)
    unit = torch.randn(_TRIALS, first.in_features, dtype=torch.float64, generator=generator)
    # Many sizes: a clipped activation shows itself only on large inputs, a bias on small ones.
    return unit * torch.logspace(-2, 2, _TRIALS, dtype=torch.float64).unsqueeze(1)


def layer_normalized(model: Model, data: Any = None, **options: Any) -> Problem:
    r"""Return the problem in coordinates that rescaling a ReLU network's layers does not change.

    Every parameter tensor is measured in units of its own (Frobenius) norm: θ = Dz with D the
    diagonal of these norms, held fixed. Whatever is computed from the result, with
    :class:`~eigenboundary.HessianOperator`, :func:`~eigenboundary.alignments` and the rest, is in
    terms of z: the gradient is Dg, the Hessian DHD, and an alignment
    :math:`\langle Dg, u\rangle / \|Dg\|\|u\|`. A network and its reparametrization by
    :func:`~eigenboundary.reparametrize` then have equal eigenvalues and alignments, to rounding.
    Factors that differ between the units of a layer do change them.

    Parameters
    ----------
    model : torch.nn.Module, Problem or Analysis
        Left as it is; the samples are shared.
    data, **options
        Samples and options of :class:`~eigenboundary.Problem`, for a module.

    Returns
    -------
    Problem
        Its ``network.scales`` is the diagonal of D, shape (p,). A tensor of zeros keeps scale 1,
        and its entries' coordinates are not invariant.

    Examples
    --------
    >>> import torch
    >>> import eigenboundary as eb
    >>> _ = torch.manual_seed(0)
    >>> data = torch.randn(12, 2).double(), torch.arange(12) % 3
    >>> hidden, last = torch.nn.Linear(2, 4), torch.nn.Linear(4, 3)
    >>> model = torch.nn.Sequential(hidden, torch.nn.ReLU(), last).double()
    >>> for network in (model, eb.reparametrize(model, [10.0, 0.1])):
    ...     problem = eb.layer_normalized(eb.Problem(network, data))
    ...     print(round(eb.HessianOperator(problem).trace(), 4))
    1.375
    1.375
    """
    problem = as_problem(model, data, **options)
    network = problem.network
    if network.units is not None:
        raise InvalidInputError("model", "not be layer-normalised already", "one that is")
    units = {}
    for name, tensor in network.parameters.items():
        norm = torch.linalg.vector_norm(tensor.double())
        # A tensor of zeros, or an empty one, has no scale of its own.
        units[name] = torch.where(norm > 0, norm, torch.ones_like(norm)).to(network.dtype)
    samples = problem.samples if problem.has_samples else None
    return Problem.of(network.in_units(units), problem.loss, samples, problem.seed)
