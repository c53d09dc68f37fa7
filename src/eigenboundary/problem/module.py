"""A user's model: its mistakes found before any long computation, and a copy to compute with."""

from __future__ import annotations

import copy
import fnmatch
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eigenboundary.problem.attention import unfuse
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.precision import Switch

_DTYPES = {"float32": torch.float32, "float64": torch.float64}
_MODE_DEPENDENT = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)


def check_model(model: Any) -> None:
    if not isinstance(model, nn.Module):
        raise InvalidInputError("model", "be a torch.nn.Module instance", type(model).__name__)
    if isinstance(model, torch.jit.ScriptModule):
        got = "a TorchScript module, which has no second derivatives here"
        raise InvalidInputError("model", "be a plain torch.nn.Module", got)
    if any(isinstance(p, nn.parameter.UninitializedParameter) for p in model.parameters()):
        wanted = "have initialised parameters"
        raise InvalidInputError("model", wanted, "a lazy module that has seen no data")
    devices = sorted({str(p.device) for p in model.parameters()})
    if len(devices) > 1:
        raise InvalidInputError(
            "model", "have all its parameters on one device", ", ".join(devices)
        )
    if devices == ["meta"]:
        raise InvalidInputError("model", "have real parameters", "ones on the meta device")
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            wanted = "treat samples independently in eval mode"
            because = f"{name!r} is a {type(module).__name__} without running statistics"
            raise InvalidInputError("model", wanted, because=because)


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the network that a model only spreads over devices."""
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        inner = model.module
        assert isinstance(inner, nn.Module)
        return inner
    return model


def resolve_device(device: str | torch.device | None, model: nn.Module) -> torch.device:
    if device is None:
        return next((p.device for p in model.parameters()), torch.device("cpu"))
    try:
        resolved = torch.device(device)
        if resolved.type == "meta":
            raise ValueError("it holds no numbers")
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError, TypeError, ValueError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].split(".")[0][:100]
        wanted = "be one that torch can use here"
        raise InvalidInputError("device", wanted, f"{device!r} ({reason})") from None
    return resolved


def resolve_dtype(dtype: str | torch.dtype | None, model: nn.Module) -> torch.dtype:
    if dtype is None:
        found = {p.dtype for p in model.parameters() if p.is_floating_point()}
        if len(found) == 1 and found <= set(_DTYPES.values()):
            return found.pop()
        if not found:
            return torch.get_default_dtype()
        names = ", ".join(sorted(str(d).removeprefix("torch.") for d in found))
        wanted = "be given as float32 or float64 for a model that is not wholly in one of them"
        raise InvalidInputError("dtype", wanted, f"a model in {names}")
    resolved = _DTYPES.get(dtype.removeprefix("torch.")) if isinstance(dtype, str) else dtype
    if resolved not in _DTYPES.values():
        raise InvalidInputError("dtype", "be float32 or float64", repr(dtype))
    assert isinstance(resolved, torch.dtype)
    return resolved


def select_parameters(model: nn.Module, patterns: str | Sequence[str] | None) -> tuple[str, ...]:
    trainable = [name for name, p in model.named_parameters() if p.requires_grad]
    if not trainable:
        wanted = "have at least one parameter that requires a gradient"
        got = f"{sum(1 for _ in model.parameters())} parameters, none of which does"
        raise InvalidInputError("model", wanted, got)
    if patterns is None:
        return tuple(trainable)
    if not isinstance(patterns, str | list | tuple) or not patterns:
        wanted = "be a glob pattern or several of them"
        raise InvalidInputError("parameters", wanted, repr(patterns))
    globs = [patterns] if isinstance(patterns, str) else list(patterns)
    for pattern in globs:
        if not isinstance(pattern, str) or not fnmatch.filter(trainable, pattern):
            known = f"{', '.join(trainable[:8])}{', …' if len(trainable) > 8 else ''}"
            wanted, because = "match a trainable parameter by name", f"matches none of {known}"
            raise InvalidInputError("parameters", wanted, because=f"{pattern!r} {because}")
    return tuple(n for n in trainable if any(fnmatch.fnmatchcase(n, g) for g in globs))


def count_parameters(model: nn.Module, patterns: str | Sequence[str] | None) -> int:
    """Return the length p of θ."""
    model = unwrapped(model)
    named = dict(model.named_parameters())
    return sum(named[name].numel() for name in select_parameters(model, patterns))


def check_finite_parameters(module: nn.Module) -> None:
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            wanted = "have finite weights"
            raise InvalidInputError("model", wanted, because=f"{name!r} holds NaN or inf")


def depends_on_mode(module: nn.Module) -> bool:
    """Tell whether a module computes something else in training than in eval mode."""
    dropout = getattr(module, "dropout", 0)  # recurrent and attention layers hold its probability
    return isinstance(module, _MODE_DEPENDENT) or (isinstance(dropout, float) and dropout > 0)


def training_mode_notes(model: nn.Module) -> tuple[str, ...]:
    names = {type(m).__name__ for m in model.modules() if m.training and depends_on_mode(m)}
    note = (
        f"The model was in training mode and has {', '.join(sorted(names))}: it was analysed in "
        "eval mode (running statistics, no dropout)."
    )
    return (note,) if names else ()


def check_finite_inputs(x: Tensor, name: str) -> None:
    if x.is_floating_point() and not torch.isfinite(x).all():
        bad = int((~torch.isfinite(x)).flatten(1).any(1).sum()) if x.ndim > 1 else 1
        raise InvalidInputError(name, "be finite", because=f"{bad} input(s) hold NaN or inf")


def prepare_inputs(x: Any, input_shape: tuple[int, ...], floating: bool, name: str) -> Tensor:
    """Return inputs as a tensor of the shape and kind of the training inputs."""
    tensor = x.detach() if isinstance(x, Tensor) else None
    if tensor is None:
        try:
            tensor = torch.from_numpy(np.array(x))
        except (TypeError, ValueError) as error:
            wanted = "be a numeric array or tensor"
            raise InvalidInputError(name, wanted, f"{type(x).__name__} ({error})") from None
    if tensor.shape[1:] != input_shape or tensor.ndim == 0:
        wanted = f"have shape ({', '.join(['n', *map(str, input_shape)])}), as the training inputs"
        raise InvalidInputError(name, wanted, str(tuple(tensor.shape)))
    check_finite_inputs(tensor, name)
    if tensor.is_floating_point() and not floating:
        wanted = "hold integers, as the training inputs"
        raise InvalidInputError(name, wanted, str(tensor.dtype).removeprefix("torch."))
    return tensor if tensor.is_floating_point() or not floating else tensor.double()


def detached_copy(model: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Copy a model in eval mode, its layers replaced by twins that have second derivatives."""
    try:
        module = copy.deepcopy(model)
    except (RuntimeError, TypeError) as error:
        wanted = "be copyable with copy.deepcopy (remove hooks that hold tensors)"
        raise InvalidInputError("model", wanted, f"{type(error).__name__}: {error}") from None
    for part in module.modules():
        dim = getattr(part, "dim", None)
        if type(part).__name__ == "_WeightNorm" and isinstance(dim, int):
            part.forward = functools.partial(_weight_norm, dim)
        if isinstance(part, nn.RNNBase):
            part.forward = functools.partial(_without_cudnn, part.forward)
    unfuse(module)
    return module.eval().requires_grad_(False).to(device=device, dtype=dtype)


def _without_cudnn(forward: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Run a recurrent layer by torch's own kernels: cuDNN's has no derivative in eval mode."""
    with _no_cudnn:
        return forward(*arguments, **options)


def _disable_cudnn(switch: Switch) -> None:
    cudnn = torch.backends.cudnn
    switch.set(functools.partial(setattr, cudnn, "enabled"), cudnn.enabled, False)


_no_cudnn = Switch(_disable_cudnn)


def _weight_norm(dim: int, g: Tensor, v: Tensor) -> Tensor:
    """Normalise weights in plain steps: torch's fused kernel has a wrong second derivative."""
    others = [d for d in range(v.ndim) if d != dim % v.ndim] if dim != -1 else list(range(v.ndim))
    return v * (g / v.square().sum(others, keepdim=True).sqrt())
