"""Gradients of many small networks at once, at little cost a step.

Small networks spend their time between operations, not in them. The gradient is therefore traced
once into a plain list of operations, over a stack of networks where there are several, and the
list is run with every batch. A network that cannot be traced (batch normalisation, dropout,
control flow that depends on its data) is trained as it is.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from eigenboundary.problem.module import depends_on_mode
from eigenboundary.runtime.precision import full_precision, program_default

_log = logging.getLogger(__name__)

MeanLoss = Callable[[Tensor, Tensor], Tensor]
State = dict[str, Tensor]


class CannotBeTrainedAtOnceError(RuntimeError):
    """Several networks that no single trace can represent."""


def make_ensemble(models: list[nn.Module], mean_loss: MeanLoss, x: Tensor, y: Tensor) -> Ensemble:
    """Make an ensemble, and try it on a first batch x (S, b, ...) and y (S, b)."""
    if _is_traceable(models[0]):
        try:
            traced = TracedEnsemble(models, mean_loss)
            traced.verify(models, x, y)
            return traced
        except Exception as error:
            _log.info("the network cannot be traced (%s): trained as it is", error)
    if len(models) > 1:
        raise CannotBeTrainedAtOnceError("these networks cannot be trained at once")
    return PlainNetwork(models[0], mean_loss)


def _is_traceable(model: nn.Module) -> bool:
    """Return whether a trace can represent the network in training."""
    depends = any(depends_on_mode(part) for part in model.modules())
    trained = all(parameter.requires_grad for parameter in model.parameters())
    return trained and not depends and not any(True for _ in model.buffers())


class PlainNetwork:
    """One network, called directly, with the methods of S = 1 traced ones."""

    def __init__(self, model: nn.Module, mean_loss: MeanLoss) -> None:
        self.model, self.mean_loss = model, mean_loss
        self.parameters: State = {n: p for n, p in model.named_parameters() if p.requires_grad}

    def compute_gradients(self, x: Tensor, y: Tensor) -> None:
        self.model.train()
        self.model.zero_grad(set_to_none=True)
        self.mean_loss(self.model(x[0]), y[0]).backward()

    def input_gradients(self, x: Tensor, y: Tensor, mean_loss: MeanLoss) -> Tensor:
        inputs = x[0].detach().requires_grad_()
        loss = mean_loss(self.model.eval()(inputs), y[0])
        return torch.autograd.grad(loss, inputs)[0].unsqueeze(0)

    @torch.no_grad()
    def outputs(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.model.eval()(x[0])).unsqueeze(0)

    def state(self, member: int) -> State:
        return {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}

    def keep(self, members: list[int], optimizer: torch.optim.Optimizer) -> None:
        assert members == [0]


class TracedEnsemble:
    """S ≥ 1 networks of one architecture, seen through their stacked parameters.

    Their gradient is traced once for each shape of batch.
    """

    def __init__(self, models: list[nn.Module], mean_loss: MeanLoss) -> None:
        self.size = len(models)
        self.mean_loss = mean_loss
        self._module = copy.deepcopy(models[0]).eval()
        self._module.requires_grad_(False)
        if self.size > 1:
            stacked, _ = stack_module_state(models)
        else:
            stacked = dict(models[0].named_parameters())
        self.parameters: State = {n: nn.Parameter(p.detach().clone()) for n, p in stacked.items()}
        self._values = {name: p.detach() for name, p in self.parameters.items()}  # shared memory
        self._traces: dict[Any, Callable[..., Any]] = {}

    def _call(self, parameters: State, x: Tensor) -> Tensor:
        outputs: Tensor = functional_call(self._module, parameters, (x,))
        return outputs

    def _gradient(self, parameters: State, x: Tensor, y: Tensor) -> State:
        return grad(lambda p: self.mean_loss(self._call(p, x), y))(parameters)

    def _traced(self, kind: str, function: Callable[..., Any], *example: Tensor) -> Any:
        """Run a function of (parameters, *example) by its trace."""
        arguments = example if self.size > 1 else tuple(tensor[0] for tensor in example)
        key = (kind, *(tensor.shape for tensor in arguments))
        if key not in self._traces:
            over_members = vmap(function) if self.size > 1 else function
            # Tracing counts a bound method's `self` as an argument; a plain function has none.
            traced = make_fx(lambda *given: over_members(*given))(self._values, *arguments)
            self._traces[key] = _without_idle_views(traced)
        with torch.no_grad():
            return self._traces[key](self._values, *arguments)

    def compute_gradients(self, x: Tensor, y: Tensor) -> None:
        """Set the gradients of the mean loss of the batches x (S, b, ...) and y (S, b)."""
        gradients = self._traced("gradient", self._gradient, x, y)
        for name, parameter in self.parameters.items():
            parameter.grad = gradients[name]

    def input_gradients(self, x: Tensor, y: Tensor, mean_loss: MeanLoss) -> Tensor:
        """Return gradients (S, b, ...) of one loss in x (S, b, ...), in eval mode."""

        def in_inputs(parameters: State, x: Tensor, y: Tensor) -> Tensor:
            slope: Tensor = grad(lambda z: mean_loss(self._call(parameters, z), y))(x)
            return slope

        gradient: Tensor = self._traced("input_gradients", in_inputs, x, y)
        return gradient if self.size > 1 else gradient.unsqueeze(0)

    def outputs(self, x: Tensor) -> Tensor:
        """Return outputs (S, n, C) in eval mode for x (S, n, ...)."""
        outputs: Tensor = self._traced("outputs", self._call, x)
        return outputs if self.size > 1 else outputs.unsqueeze(0)

    def state(self, member: int) -> State:
        """Return a copy of one network's parameters and buffers."""
        values = self._values.items()
        return {n: (value[member] if self.size > 1 else value).clone() for n, value in values}

    def keep(self, members: list[int], optimizer: torch.optim.Optimizer) -> None:
        """Drop the other networks, also from the parameters' optimizer."""
        if len(members) == self.size:
            return

        def kept(stacked: Tensor) -> Tensor:
            return (stacked[members] if len(members) > 1 else stacked[members[0]]).clone()

        for parameter in self.parameters.values():
            history = optimizer.state[parameter]
            for name, value in history.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    history[name] = kept(value)
            parameter.grad = None
            parameter.data = kept(parameter.data)
        self._values = {name: p.detach() for name, p in self.parameters.items()}
        self._traces.clear()
        self.size = len(members)

    @full_precision()
    def verify(self, models: list[nn.Module], x: Tensor, y: Tensor) -> None:
        """Compare the traced gradient of each network with plain autograd's."""
        with program_default():
            self.compute_gradients(x, y)
        for member, model in enumerate(models):
            module = copy.deepcopy(model).train()
            module.zero_grad(set_to_none=True)
            with program_default():
                self.mean_loss(module(x[member]), y[member]).backward()
            for name, parameter in module.named_parameters():
                traced = self.parameters[name].grad
                assert traced is not None
                ours = traced[member] if self.size > 1 else traced
                plain = torch.zeros_like(ours) if parameter.grad is None else parameter.grad
                if not torch.allclose(ours, plain, rtol=1e-3, atol=1e-3 * float(plain.abs().max())):
                    raise RuntimeError(f"the traced gradient of {name} differs from autograd's")


Ensemble = PlainNetwork | TracedEnsemble


def _without_idle_views(traced: GraphModule) -> GraphModule:
    """Remove views that change nothing; batching rules leave dozens of them."""
    aten = torch.ops.aten
    views = (aten.expand.default, aten.view.default, aten._unsafe_view.default)
    for node in list(traced.graph.nodes):
        if node.target not in views:
            continue
        (source, *_), made = node.args, node.meta.get("tensor_meta")
        before = source.meta.get("tensor_meta")
        if made is not None and before is not None and before.shape == made.shape:
            node.replace_all_uses_with(source)
            traced.graph.erase_node(node)
    traced.recompile()
    return traced
