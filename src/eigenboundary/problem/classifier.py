r"""A classifier as a pure function of one flat parameter vector, θ ↦ f_θ(x) ∈ R^C.

Everything above this module sees the network only through that function. The user's model is
copied and never touched.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from eigenboundary.problem.attention import twice_differentiable_attention, unfuse
from eigenboundary.problem.inputs import Layout
from eigenboundary.problem.losses import Loss, PerSampleLoss, as_loss
from eigenboundary.problem.module import (
    check_finite_parameters,
    check_model,
    prepare_inputs,
    resolve_device,
    resolve_dtype,
    select_parameters,
    training_mode_notes,
    unwrapped,
)
from eigenboundary.runtime.arguments import check_positive_integer
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.memory import Memory
from eigenboundary.runtime.precision import Switch, full_precision, program_default

_log = logging.getLogger(__name__)

Tree = dict[str, Tensor]

# Samples that are taken at once even where their activations are large, up to so many bytes.
_FEW, _BYTES_OF_FEW = 16, 2**29


class Classifier:
    r"""A network and its per-sample loss as pure functions of θ; no data.

    Takes the arguments of :class:`~eigenboundary.Problem` that are not about data.

    Attributes
    ----------
    n_parameters, n_classes : int
        p and C.
    parameters : dict of Tensor
        θ, one tensor a parameter.
    parameter_names : tuple of str
        The order in which parameters are flattened.
    layout : Layout or None
        The named tensors that an input holds, where the network is called with keywords.
    input_shape : torch.Size
        Of one input.
    memory : Memory
        What may be held at once.
    activations, flops, operations : int
        What a forward pass takes: numbers it computes and operations of its matrix products and
        convolutions, both a sample, and calls of torch, views left out.
    notes : tuple of str
        What a reader of the numbers should know (e.g. that eval mode was used).
    """

    def __init__(
        self,
        model: nn.Module,
        loss: str | PerSampleLoss | Loss = "cross_entropy",
        *,
        output: Callable[[Any], Tensor] | None = None,
        parameters: str | Sequence[str] | None = None,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        batch_size: int | None = None,
    ) -> None:
        check_model(model)
        model = unwrapped(model)
        check_positive_integer(batch_size, "batch_size", optional=True)
        self.loss = as_loss(loss)
        self.output = output
        self.batch_size = batch_size
        self.device = resolve_device(device, model)
        self.dtype = resolve_dtype(dtype, model)
        self.parameter_names = select_parameters(model, parameters)
        self.notes = training_mode_notes(model)
        for note in self.notes:
            _log.warning(note)

        self.module = _detached_copy(model, self.device, self.dtype)
        check_finite_parameters(self.module)
        named = dict(self.module.named_parameters())
        self.parameters: Tree = {name: named[name].detach() for name in self.parameter_names}
        self._shapes = [tensor.shape for tensor in self.parameters.values()]
        self._sizes = [tensor.numel() for tensor in self.parameters.values()]
        self.n_parameters = sum(self._sizes)
        self.memory = Memory(device=self.device)
        #: Derivatives that this network only has in reverse mode (see `derivatives`).
        self.reverse_only: set[str] = set()
        # What the data tell: set once they have been seen.
        self.layout: Layout | None = None
        self.input_shape = torch.Size()
        self.floating_inputs = True
        self.n_classes = 0
        self.activations = 1
        self.flops = 0
        self.operations = 1

    @property
    def theta(self) -> Tensor:
        """The flat parameter vector θ, shape (p,)."""
        return torch.cat([tensor.reshape(-1) for tensor in self.parameters.values()])

    def unflatten(self, rows: Tensor) -> Tree:
        """Split vectors (k, p) into one tensor (k, *shape) a parameter; views where possible."""
        pieces = rows.split(self._sizes, dim=1)
        return {
            name: piece.reshape(rows.shape[0], *shape)
            for name, piece, shape in zip(self.parameter_names, pieces, self._shapes, strict=True)
        }

    def flatten(self, tree: Tree, leading: int = 1) -> Tensor:
        """Inverse of :meth:`unflatten`, for any number of leading dimensions."""
        return torch.cat(
            [tree[name].flatten(start_dim=leading) for name in self.parameter_names], dim=leading
        )

    def outputs(self, parameters: Tree, x: Tensor) -> Tensor:
        r"""The network's outputs :math:`f_\theta(x)`, shape (n, C), as a pure function."""
        outputs: Tensor = self.picked(self._raw_outputs(parameters, x))
        return outputs

    def _raw_outputs(self, parameters: Tree, x: Tensor) -> Any:
        positional, named = self.arguments(x)
        with twice_differentiable_attention(), program_default():
            return torch.func.functional_call(self.module, parameters, positional, named)

    def arguments(self, x: Tensor) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        """What the network is called with for a batch: one tensor, or keywords."""
        return ((x,), {}) if self.layout is None else ((), self.layout.unpack(x, self.dtype))

    def picked(self, raw: Any) -> Any:
        """The outputs in what the network returns: by the hook, or its ``logits`` if it has any."""
        if self.output is not None:
            with program_default():
                return self.output(raw)
        return raw if isinstance(raw, Tensor) else getattr(raw, "logits", raw)

    def prepare(self, x: Any, name: str = "x") -> Tensor:
        """Inputs as a tensor that the network takes, checked against the training inputs."""
        if self.layout is not None and (self.layout.several or isinstance(x, Mapping)):
            x = self.layout.pack(x, name)
        return prepare_inputs(x, self.input_shape, self.floating_inputs, name)

    def to_compute(self, x: Tensor) -> Tensor:
        """Move a batch to the device; floating inputs take the analysis' precision."""
        return x.to(self.device, self.dtype if x.is_floating_point() else None)

    def input_batches(self, x: Tensor, samples: int) -> Iterator[Tensor]:
        """Unlabelled inputs, at most ``samples`` at a time, ready to compute with."""
        for rows in self.chunks(len(x), samples):
            yield self.to_compute(x[rows])

    def chunks(self, n: int, samples: int) -> Iterator[slice]:
        """Equal parts of n inputs, of at most ``samples`` and no more than a batch."""
        limit = min(samples, self.batch_size or samples)
        count = -(-n // limit)
        for i in range(count):
            self.memory.reclaim()
            yield slice(i * n // count, (i + 1) * n // count)

    def fingerprint(self) -> str:
        """A hash of all weights and buffers, to recognise the network again."""
        digest = hashlib.sha256()
        for name, tensor in self.module.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()

    @torch.no_grad()
    @full_precision()
    def evaluate(self, x: Tensor) -> Tensor:
        """Outputs for a batch that is ready to compute with, shape (n, C).

        Raises
        ------
        InvalidInputError
            If the network, or the output hook, raises.
        """
        try:
            raw = self._raw_outputs(self.parameters, x)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            came = f"{tuple(x.shape)} of {str(x.dtype).removeprefix('torch.')}"
            raise InvalidInputError(
                "model",
                "accept the inputs",
                because=f"for a batch of shape {came} it raised: {_first_line(error)}",
            ) from error
        try:
            return self.picked(raw)
        except Exception as error:
            raise InvalidInputError(
                "output",
                f"turn what the model returns, {_described(raw)}, into outputs (n, C)",
                because=f"it raised {type(error).__name__}: {_first_line(error)}",
            ) from error

    def predict(self, x: Tensor) -> Tensor:
        """Outputs for any inputs, streamed; shape (len(x), C)."""
        samples = self.samples_per_chunk(0)
        return torch.cat([self.evaluate(batch) for batch in self.input_batches(x, samples)])

    def inputs_at_most(self, usual: int) -> int:
        """How many inputs to keep: the usual number, or what a memory limit leaves."""
        each = torch.finfo(self.dtype).bits // 8 * max(1, math.prod(self.input_shape))
        return max(1, min(usual, self.memory.at_most(usual * each) // each))

    def samples_per_chunk(self, directions: int, budget: int = 2**27) -> int:
        """Samples whose activations, for so many directions at once, fit in ``budget`` bytes.

        Of large networks more than fit, up to a few: single ones take twice as long each.
        """
        each = max(self.sample_bytes(directions), 1)
        few = min(_FEW, self.memory.at_most(_BYTES_OF_FEW) // each)
        return max(1, few, self.memory.at_most(budget) // each)

    def sample_bytes(self, directions: int) -> int:
        """Bytes of one sample's activations in a product with so many directions."""
        # Forward value and tangent, and their adjoints, are alive together.
        return 4 * torch.finfo(self.dtype).bits // 8 * self.activations * (1 + directions)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _described(value: Any) -> str:
    return f"a {tuple(value.shape)} tensor" if isinstance(value, Tensor) else type(value).__name__


def _detached_copy(model: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    try:
        module = copy.deepcopy(model)
    except (RuntimeError, TypeError) as error:
        raise InvalidInputError(
            "model",
            "be copyable with copy.deepcopy (remove hooks that hold tensors)",
            f"{type(error).__name__}: {error}",
        ) from None
    for part in module.modules():
        dim = getattr(part, "dim", None)
        if type(part).__name__ == "_WeightNorm" and isinstance(dim, int):
            part.forward = functools.partial(_weight_norm, dim)
        if isinstance(part, nn.RNNBase):
            part.forward = functools.partial(_without_cudnn, part.forward)
    unfuse(module)
    return module.eval().requires_grad_(False).to(device=device, dtype=dtype)


def _without_cudnn(forward: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """A recurrent layer by torch's own kernels: cuDNN's has no derivative in eval mode."""
    with _no_cudnn:
        return forward(*arguments, **options)


def _disable_cudnn(switch: Switch) -> None:
    cudnn = torch.backends.cudnn
    switch.set(functools.partial(setattr, cudnn, "enabled"), cudnn.enabled, False)


_no_cudnn = Switch(_disable_cudnn)


def _weight_norm(dim: int, g: Tensor, v: Tensor) -> Tensor:
    """Weight normalisation written out: torch's fused kernel has a wrong second derivative."""
    others = [d for d in range(v.ndim) if d != dim % v.ndim] if dim != -1 else list(range(v.ndim))
    return v * (g / v.square().sum(others, keepdim=True).sqrt())
