r"""A network as a pure function of one flat parameter vector, θ ↦ f_θ(x) ∈ R^C.

Everything above this module sees the network only through that function. The user's model is
copied and never touched.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from eigenboundary.problem.attention import twice_differentiable_attention
from eigenboundary.problem.inputs import Layout
from eigenboundary.problem.module import (
    check_finite_parameters,
    check_model,
    detached_copy,
    prepare_inputs,
    resolve_device,
    resolve_dtype,
    select_parameters,
    training_mode_notes,
    unwrapped,
)
from eigenboundary.runtime.arguments import check_integer
from eigenboundary.runtime.errors import InvalidInputError, first_line
from eigenboundary.runtime.memory import Memory
from eigenboundary.runtime.precision import full_precision, program_default

_log = logging.getLogger(__name__)

Tree = dict[str, Tensor]

# Samples that are taken at once even where their activations are large, up to so many bytes.
_FEW, _BYTES_OF_FEW = 16, 2**29


@dataclass(frozen=True)
class Signature:
    """What one look at its inputs tells of a network.

    Attributes
    ----------
    input_shape : tuple of int
        Shape of one input.
    floating_inputs : bool
        Whether inputs are floating-point numbers.
    n_classes : int
        C.
    layout : Layout or None
        The named tensors that an input holds, where the network is called with keywords.
    activations, flops, operations : int
        Cost of a forward pass: numbers computed and operations of matrix products and
        convolutions, both per sample, and calls of torch other than views.
    """

    input_shape: tuple[int, ...]
    floating_inputs: bool = True
    n_classes: int = 0
    layout: Layout | None = None
    activations: int = 1
    flops: int = 0
    operations: int = 1


@dataclass(frozen=True, eq=False, kw_only=True)
class UnseenNetwork:
    """A user's model, checked and copied, before any of its inputs has been seen.

    Attributes
    ----------
    module : torch.nn.Module
        A copy of the user's model, in eval mode.
    parameters : dict of Tensor
        θ, one tensor a parameter, in the order in which they are flattened.
    output : callable or None
        Picks the (n, C) outputs in what the module returns.
    batch_size : int or None
        Most samples to push through the module at once.
    notes : tuple of str
        What a reader of the numbers should know (e.g. that eval mode was used).
    """

    module: nn.Module
    parameters: Tree
    output: Callable[[Any], Tensor] | None = None
    batch_size: int | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        model: nn.Module,
        output: Callable[[Any], Tensor] | None = None,
        parameters: str | Sequence[str] | None = None,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        batch_size: int | None = None,
    ) -> UnseenNetwork:
        """Check and copy a model; the arguments are those of :class:`~eigenboundary.Problem`."""
        check_model(model)
        model = unwrapped(model)
        check_integer(batch_size, "batch_size", optional=True)
        place, precision = resolve_device(device, model), resolve_dtype(dtype, model)
        names = select_parameters(model, parameters)
        notes = training_mode_notes(model)
        for note in notes:
            _log.warning(note)
        module = detached_copy(model, place, precision)
        check_finite_parameters(module)
        named = dict(module.named_parameters())
        theta = {name: named[name].detach() for name in names}
        how: dict[str, Any] = {"output": output, "batch_size": batch_size, "notes": notes}
        return cls(module=module, parameters=theta, **how)

    @property
    def device(self) -> torch.device:
        """Device that the network computes on."""
        return next(iter(self.parameters.values())).device

    @property
    def dtype(self) -> torch.dtype:
        """Precision that the network computes in."""
        return next(iter(self.parameters.values())).dtype

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the parameters, in the order in which they are flattened."""
        return tuple(self.parameters)

    def fingerprint(self) -> str:
        """Return a hash of all weights and buffers, to recognise the network again."""
        digest = hashlib.sha256()
        for name, tensor in self.module.state_dict().items():
            digest.update(name.encode())
            digest.update(raw_bytes(tensor))
        return digest.hexdigest()

    def known_by(self, signature: Signature, memory: Memory) -> Network:
        """Return the network with what is known of its inputs."""
        return Network(**vars(self), signature=signature, memory=memory)


@dataclass(frozen=True, eq=False, kw_only=True)
class Network(UnseenNetwork):
    r"""A network as a pure function of θ, with what is known of its inputs.

    Attributes
    ----------
    signature : Signature
    memory : Memory
        What may be held at once.
    units : dict of Tensor or None
        Where ``parameters`` are coordinates z: the unit D of each tensor, θ = Dz.
    reverse_only : set of str
        Derivatives that the network has in reverse mode only, as found so far.
    """

    signature: Signature
    memory: Memory
    units: Tree | None = None
    reverse_only: set[str] = field(default_factory=set)

    @cached_property
    def n_parameters(self) -> int:
        """The length p of θ."""
        return sum(self._sizes)

    @cached_property
    def _sizes(self) -> list[int]:
        return [tensor.numel() for tensor in self.parameters.values()]

    @property
    def theta(self) -> Tensor:
        """The flat parameter vector θ, shape (p,)."""
        return torch.cat([tensor.reshape(-1) for tensor in self.parameters.values()])

    @property
    def scales(self) -> Tensor:
        """The diagonal of D, shape (p,): ones unless the parameters are coordinates."""
        ones = {name: torch.ones_like(tensor) for name, tensor in self.parameters.items()}
        units = ones | (self.units or {})
        return self.flatten({n: units[n].expand(t.shape) for n, t in ones.items()}, leading=0)

    def in_units(self, units: Tree) -> Network:
        """Return the same network in coordinates z, θ = Dz."""
        coordinates = {name: tensor / units[name] for name, tensor in self.parameters.items()}
        known = set(self.reverse_only)
        return replace(self, parameters=coordinates, units=units, reverse_only=known)

    def unflatten(self, rows: Tensor) -> Tree:
        """Split vectors (k, p) into one tensor (k, *shape) a parameter; views where possible."""
        pieces = rows.split(self._sizes, dim=1)
        return {
            name: piece.reshape(rows.shape[0], *tensor.shape)
            for (name, tensor), piece in zip(self.parameters.items(), pieces, strict=True)
        }

    def flatten(self, tree: Tree, leading: int = 1) -> Tensor:
        """Invert :meth:`unflatten`, for any number of leading dimensions."""
        # A parameter without dimensions has none to flatten: reshape gives it one.
        parts = (tree[name] for name in self.parameters)
        return torch.cat([p.reshape(*p.shape[:leading], -1) for p in parts], dim=leading)

    def outputs(self, parameters: Tree, x: Tensor) -> Tensor:
        r"""Compute the outputs :math:`f_\theta(x)`, shape (n, C), as a pure function."""
        outputs: Tensor = self.picked(self._raw_outputs(parameters, x))
        return outputs

    def _raw_outputs(self, parameters: Tree, x: Tensor) -> Any:
        if self.units is not None:
            parameters = {name: z * self.units[name] for name, z in parameters.items()}
        positional, named = self.arguments(x)
        with twice_differentiable_attention(), program_default():
            return torch.func.functional_call(self.module, parameters, positional, named)

    def arguments(self, x: Tensor) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        """Return the arguments that the module takes for a batch: one tensor, or keywords."""
        layout = self.signature.layout
        return ((x,), {}) if layout is None else ((), layout.unpack(x, self.dtype))

    def picked(self, raw: Any) -> Any:
        """Pick the outputs in what the module returns: by ``output``, or its ``logits``."""
        if self.output is not None:
            with program_default():
                return self.output(raw)
        return raw if isinstance(raw, Tensor) else getattr(raw, "logits", raw)

    def prepare(self, x: Any, name: str = "x") -> Tensor:
        """Return inputs as a tensor that the network takes, checked against the training inputs."""
        layout = self.signature.layout
        if layout is not None and (layout.several or isinstance(x, Mapping)):
            x = layout.pack(x, name)
        return prepare_inputs(x, self.signature.input_shape, self.signature.floating_inputs, name)

    def to_compute(self, x: Tensor) -> Tensor:
        """Move a batch to the device, floating-point inputs to the network's precision."""
        return x.to(self.device, self.dtype if x.is_floating_point() else None)

    def input_batches(self, x: Tensor, samples: int) -> Iterator[Tensor]:
        """Yield unlabelled inputs, at most ``samples`` at a time, ready to compute with."""
        for rows in self.chunks(len(x), samples):
            yield self.to_compute(x[rows])

    def chunks(self, n: int, samples: int) -> Iterator[slice]:
        """Yield equal parts of n inputs, of at most ``samples`` and no more than a batch."""
        limit = min(samples, self.batch_size or samples)
        count = -(-n // limit)
        for i in range(count):
            self.memory.reclaim()
            yield slice(i * n // count, (i + 1) * n // count)

    @torch.no_grad()
    @full_precision()
    def evaluate(self, x: Tensor) -> Tensor:
        """Compute the outputs for a batch that is ready to compute with, shape (n, C).

        What the module or ``output`` raises becomes an InvalidInputError.
        """
        try:
            raw = self._raw_outputs(self.parameters, x)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            came = f"{tuple(x.shape)} of {str(x.dtype).removeprefix('torch.')}"
            because = f"for a batch of shape {came} it raised: {first_line(error)}"
            raise InvalidInputError("model", "accept the inputs", because=because) from error
        try:
            return self.picked(raw)
        except Exception as error:
            wanted = f"turn what the model returns, {_described(raw)}, into outputs (n, C)"
            because = f"it raised {type(error).__name__}: {first_line(error)}"
            raise InvalidInputError("output", wanted, because=because) from error

    def predict(self, x: Tensor) -> Tensor:
        """Compute the outputs for any inputs, streamed; shape (len(x), C)."""
        samples = self.samples_per_chunk(0)
        return torch.cat([self.evaluate(batch) for batch in self.input_batches(x, samples)])

    def inputs_at_most(self, usual: int) -> int:
        """Return how many inputs to keep: the usual number, or what a memory limit leaves."""
        numbers = max(1, math.prod(self.signature.input_shape))
        each = torch.finfo(self.dtype).bits // 8 * numbers
        return max(1, min(usual, self.memory.at_most(usual * each) // each))

    def samples_per_chunk(self, directions: int, budget: int = 2**27) -> int:
        """Return how many samples' activations, for so many directions, fit in ``budget`` bytes.

        Large networks take a few samples more than fit: single ones take twice as long each.
        """
        each = max(self.sample_bytes(directions), 1)
        few = min(_FEW, self.memory.at_most(_BYTES_OF_FEW) // each)
        return max(1, few, self.memory.at_most(budget) // each)

    def sample_bytes(self, directions: int) -> int:
        """Return the bytes of one sample's activations in a product with so many directions."""
        # Forward value and tangent, and their adjoints, are alive together.
        itemsize = torch.finfo(self.dtype).bits // 8
        return 4 * itemsize * self.signature.activations * (1 + directions)


def raw_bytes(tensor: Tensor) -> Any:
    """Return an array of a tensor's bytes, for hashing."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()


def _described(value: Any) -> str:
    return f"a {tuple(value.shape)} tensor" if isinstance(value, Tensor) else type(value).__name__
