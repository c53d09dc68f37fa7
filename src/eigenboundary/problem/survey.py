"""One pass over the data: every sample, label and output is checked before anything long."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from eigenboundary.problem.data import SampleSource
from eigenboundary.problem.derivatives import scalar_hessian_product, summed_pullback
from eigenboundary.problem.inputs import Layout
from eigenboundary.problem.losses import Loss
from eigenboundary.problem.module import check_finite_inputs
from eigenboundary.problem.network import Network, Signature, UnseenNetwork
from eigenboundary.runtime.errors import InvalidInputError, first_line
from eigenboundary.runtime.memory import Memory
from eigenboundary.runtime.precision import full_precision, program_default
from eigenboundary.runtime.processes import Processes

_HALF = (torch.float16, torch.bfloat16)
_DIFFERENTIABLE = "be twice differentiable in its parameters"


@dataclass(frozen=True)
class Survey:
    """Labels, predictions and loss that one pass over the data found."""

    labels: Tensor
    predictions: Tensor
    loss_value: float


def survey(
    unseen: UnseenNetwork, loss: Loss, source: SampleSource, memory: Memory, processes: Processes
) -> tuple[Network, Survey]:
    """Look at every sample, its label and the network's output for it.

    The first batch tells the network's signature. Each process reads its own part of the samples.
    """
    seen: list[Network] = []

    def part() -> tuple[Tensor, Tensor, Tensor]:
        network, labels, predictions, totals = _survey_part(unseen, loss, source, memory)
        seen.append(network)
        return labels, predictions, totals

    found = processes.gather(part)
    (network,) = seen
    seen_by_all = replace(network.signature, activations=0, flops=0, operations=0)
    wanted = "hold inputs of one shape and type in all processes"
    processes.check_alike(seen_by_all, "data", wanted)
    return network, _summed(*found)


def survey_again(
    network: Network, loss: Loss, source: SampleSource, processes: Processes
) -> Survey:
    """Look at other samples of a network whose signature they must have."""

    def part() -> tuple[Tensor, ...]:
        columns: list[tuple[Tensor, Tensor, Tensor]] = []
        for x, y in source:
            _check_alike(source.layout, network.signature)
            columns += _survey_batch(network, loss, x, y)
        if not columns:
            raise InvalidInputError("data", "hold at least one sample", "an empty one")
        return tuple(torch.cat(parts) for parts in zip(*columns, strict=True))

    return _summed(*processes.gather(part))


def _check_alike(layout: Layout | None, signature: Signature) -> None:
    if layout != signature.layout:
        wanted, came = (each or "one tensor an input" for each in (signature.layout, layout))
        raise InvalidInputError("data", f"hold {wanted}, as the training inputs", str(came))


def _summed(labels: Tensor, predictions: Tensor, totals: Tensor) -> Survey:
    if len(labels.unique()) < 2:
        wanted = "hold samples of at least two classes"
        raise InvalidInputError("data", wanted, because=f"all labels are {int(labels[0])}")
    return Survey(labels, predictions, float(totals.sum()) / len(labels))


@full_precision()
def _survey_part(
    unseen: UnseenNetwork, loss: Loss, source: SampleSource, memory: Memory
) -> tuple[Network, Tensor, Tensor, Tensor]:
    """Return the network, and labels, predictions and summed loss of the samples."""
    columns: list[tuple[Tensor, Tensor, Tensor]] = []
    network: Network | None = None
    for x, y in source:
        if network is None:
            _check_batch(x, y, None)
            network = look(unseen, x, source.layout, memory)
            memory.require_part(network.sample_bytes(1), "the activations of one sample")
            check_loss(loss, network)
            check_derivatives(network, x[:3])
        columns += _survey_batch(network, loss, x, y)
    if network is None:
        raise InvalidInputError("data", "hold at least one sample", "an empty one")
    labels, predictions, totals = (torch.cat(parts) for parts in zip(*columns, strict=True))
    return network, labels, predictions, totals.sum(0, keepdim=True)


def _survey_batch(
    network: Network, loss: Loss, x: Tensor, y: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield labels, predictions and summed loss of a batch, a chunk at a time."""
    _check_batch(x, y, network.signature.input_shape)
    for part in network.chunks(len(x), network.samples_per_chunk(0)):
        inputs, labels = network.to_compute(x[part]), y[part].to(network.device, torch.int64)
        _check_labels(labels, network.signature.n_classes)
        outputs = network.evaluate(inputs)
        _check_outputs(outputs, loss, len(inputs))
        total = loss.per_sample(outputs, labels).double().sum()
        yield labels.cpu(), outputs.argmax(-1).cpu(), total.cpu().reshape(1)


def look(unseen: UnseenNetwork, x: Tensor, layout: Layout | None, memory: Memory) -> Network:
    """Return the network with the signature that a few of its inputs tell."""
    blank = Signature(tuple(x.shape[1:]), x.is_floating_point(), layout=layout)
    network = unseen.known_by(blank, memory)
    return replace(network, signature=_probe(network, x))


def _check_batch(x: Tensor, y: Tensor, expected: tuple[int, ...] | None) -> None:
    if len(x) == 0 and expected is None:
        raise InvalidInputError("data", "hold at least one sample", "an empty one")
    if len(x) != y.shape[0] or y.ndim != 1:
        wanted = f"hold one integer label a sample, y of shape ({len(x)},)"
        raise InvalidInputError("data", wanted, f"y of shape {tuple(y.shape)}{_label_hint(y)}")
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        wanted = "hold integer class labels"
        raise InvalidInputError("data", wanted, f"y of dtype {str(y.dtype).removeprefix('torch.')}")
    if expected is not None and x.shape[1:] != expected:
        wanted = f"hold inputs of one shape, {tuple(expected)}"
        raise InvalidInputError("data", wanted, f"{tuple(x.shape[1:])}")
    check_finite_inputs(x, "data")


def _label_hint(y: Tensor) -> str:
    if y.ndim != 2:
        return ""
    return " (pass y.squeeze(1))" if y.shape[1] == 1 else " (one-hot labels: pass y.argmax(1))"


def _check_labels(y: Tensor, n_classes: int) -> None:
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= n_classes:
        wanted = f"hold labels from 0 to {n_classes - 1}, for the model's {n_classes} outputs"
        raise InvalidInputError("data", wanted, f"labels from {low} to {high}")


class _ForwardCounter(TorchDispatchMode):
    """A count of what a forward pass computes, however its layers are written."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = self.flops = self.operations = 0
        self.half = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        self.operations += not func.is_view
        counted = flop_registry.get(func.overloadpacket)
        if counted is not None:
            self.flops += int(counted(*args, **kwargs, out_val=result))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor) and not func.is_view:
                self.numbers += tensor.numel()
                self.half |= counted is not None and tensor.dtype in _HALF
        return result


def check_derivatives(network: Network, x: Tensor) -> None:
    r"""Check that the outputs are twice differentiable functions of θ.

    The gradient of a random combination of outputs is compared with plain autograd's, and its
    Hessian must be symmetric: :math:`u^T H v = v^T H u`.
    """
    x = network.to_compute(x)
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(network.signature.n_classes, generator=generator)
    weights = weights.to(x.device, network.dtype)
    try:
        ours = summed_pullback(network, x, weights.expand(1, len(x), -1)).squeeze(1)
        plain = _plain_gradient(network, x, weights)
        directions = torch.randn(network.n_parameters, 2, generator=generator)
        directions = directions.to(x.device, network.dtype)
        images = scalar_hessian_product(network, x, lambda f: (f * weights).sum(), directions)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        because = f"torch says: {first_line(error)}"
        raise InvalidInputError("model", _DIFFERENTIABLE, because=because) from error
    small = 1e-3 if network.dtype == torch.float32 else 1e-7
    if not float(plain.abs().max()) > 0:
        wanted = "give outputs that depend on its parameters"
        because = "their gradient is zero (is something detached?)"
        raise InvalidInputError("model", wanted, because=because)
    if float((ours - plain).abs().max()) > small * float(plain.abs().max()):
        wanted = "use its parameters as they are when it is called"
        because = "the gradient is not autograd's (are parameters sliced out of a ParameterList?)"
        raise InvalidInputError("model", wanted, because=because)
    cross = directions.double().T @ images.double()
    scale = float(images.double().norm(dim=0).max() * directions.double().norm(dim=0).max())
    if abs(float(cross[0, 1] - cross[1, 0])) > small * scale:
        because = "its Hessian is not symmetric (a layer's second derivative is wrong)"
        raise InvalidInputError("model", _DIFFERENTIABLE, because=because)


@full_precision()
def _plain_gradient(network: Network, x: Tensor, weights: Tensor) -> Tensor:
    """Compute the gradient by calling the module as its author would."""
    chosen = [dict(network.module.named_parameters())[n] for n in network.parameter_names]
    for parameter in chosen:
        parameter.requires_grad_(True)
    try:
        with torch.enable_grad():
            positional, named = network.arguments(x)
            with program_default():
                outputs = network.picked(network.module(*positional, **named))
            if not outputs.requires_grad:
                return torch.zeros(network.n_parameters)
            pieces = torch.autograd.grad(
                (outputs * weights).sum(), chosen, allow_unused=True, materialize_grads=True
            )
    finally:
        for parameter in chosen:
            parameter.requires_grad_(False)
    return torch.cat([piece.reshape(-1) for piece in pieces])


def _probe(network: Network, x: Tensor) -> Signature:
    """Find the number of classes and the cost of a forward pass from a few samples."""
    two = network.to_compute(x[:8])
    theta = network.theta
    counter = _ForwardCounter()
    with counter:
        outputs = network.evaluate(two)
    if counter.half:
        because = (
            "its forward pass multiplies in half precision (take autocast out of it, or give "
            "dtype='float64', which autocast leaves as it is)"
        )
        wanted = "compute in the precision of its parameters"
        raise InvalidInputError("model", wanted, because=because)
    n, is_tensor = len(two), isinstance(outputs, Tensor)
    if not is_tensor or outputs.ndim != 2 or len(outputs) != n:
        came = f"shape {tuple(outputs.shape)}" if is_tensor else type(outputs).__name__
        wanted = f"give outputs of shape ({n}, C) for {n} inputs (output= can pick them)"
        raise InvalidInputError("model", wanted, came)
    n_classes = outputs.shape[1]
    if n_classes < 2:
        wanted = "have at least two outputs, one a class"
        raise InvalidInputError("model", wanted, f"outputs of shape {tuple(outputs.shape)}")
    if not torch.equal(theta, network.theta):
        wanted = "not change its parameters when it is called"
        because = "they differ after one forward pass (an Embedding with max_norm does that)"
        raise InvalidInputError("model", wanted, because=because)
    _check_samples_independent(network, two, outputs)
    return replace(
        network.signature,
        n_classes=n_classes,
        activations=max(1, counter.numbers // n),
        flops=counter.flops // n,
        operations=counter.operations,
    )


def _check_samples_independent(network: Network, two: Tensor, outputs: Tensor) -> None:
    if not torch.isfinite(outputs).all():
        return  # reported for all samples later
    again, alone = network.evaluate(two), network.evaluate(two[:1])
    change = max(float((again - outputs).abs().max()), float((alone - outputs[:1]).abs().max()))
    if change > 1e-3 * float(outputs.abs().max()):
        wanted = "treat samples independently and deterministically in eval mode"
        because = "the output for one sample changed when it was computed alone"
        raise InvalidInputError("model", wanted, because=because)


def _check_outputs(outputs: Tensor, loss: Loss, n: int) -> None:
    if len(outputs) != n or not torch.isfinite(outputs).all():
        wanted = "give finite outputs for every input"
        raise InvalidInputError("model", wanted, f"NaN or inf among {n} samples")
    if loss.normalized_outputs:
        off = float(outputs.logsumexp(-1).abs().max())
        if off > 1e-3:
            wanted = "be given log-probabilities (rows with logsumexp 0)"
            got = f"rows with logsumexp up to {off:.3g} (for logits use 'cross_entropy')"
            raise InvalidInputError("loss 'nll'", wanted, got)


def check_loss(loss: Loss, network: Network) -> None:
    """Check that a loss is per-sample and twice differentiable in the outputs."""
    n_classes = network.signature.n_classes
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(3, n_classes, generator=generator).to(network.device, network.dtype)
    outputs = outputs.log_softmax(-1)
    labels = torch.arange(3, device=network.device) % n_classes
    name = loss.name
    try:
        values = loss.per_sample(outputs, labels)
        shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        first = loss.per_sample(outputs[:1], labels[:1]) if shape == (3,) else None
    except Exception as error:
        wanted = "map outputs (n, C) and labels (n,) to (n,)"
        because = f"{name!r} raised {type(error).__name__}: {first_line(error)}"
        raise InvalidInputError("loss", wanted, because=because) from None
    if first is None or not torch.allclose(first, values[:1], rtol=1e-4, atol=1e-6):
        came = f"{shape} for 3 samples" if shape != (3,) else "values that depend on other samples"
        wanted = "give one value a sample, of shape (n,) (reduction='none')"
        raise InvalidInputError("loss", wanted, because=f"{name!r} gave {came}")
    try:
        hessian = loss.output_hessian(outputs, labels)
        curved = bool(torch.isfinite(hessian).all()) and bool((hessian != 0).any())
        reason = "its second derivative in the outputs is zero or not finite"
    except Exception as error:
        curved, reason = False, first_line(error)
    if not curved:
        hint = "for the negative log-likelihood of log-probabilities use loss='nll'"
        wanted, because = "be twice differentiable in the outputs", f"{name!r} is not ({reason})"
        raise InvalidInputError("loss", wanted, because=f"{because}; {hint}")
