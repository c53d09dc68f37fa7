"""Inputs of several named tensors, as a text classifier takes them, carried as one tensor.

What computes with inputs slices, indexes, concatenates and vectorises over one tensor x. Named
tensors are packed into one, a row a sample, and the classifier takes them apart again where it
calls the network, ``model(**named)``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eigenboundary.runtime.errors import InvalidInputError

#: Names of the labels among Hugging Face's inputs; never given to the network.
LABELS = ("labels", "label")


@dataclass(frozen=True)
class Layout:
    """Names, shapes and dtypes of the named inputs of a network.

    A single tensor stays as it is. Several tensors are packed into rows of int64, floating-point
    numbers by their bits: between such inputs, as between integers, no boundary can be searched
    for.

    Attributes
    ----------
    names : tuple of str
    shapes : tuple of tuple of int
        Shape of one sample's part of each tensor.
    dtypes : tuple of torch.dtype

    Examples
    --------
    >>> named = {"ids": torch.tensor([[4, 7]]), "weight": torch.tensor([0.5])}
    >>> layout = Layout.of(named, "data")
    >>> packed = layout.pack(named, "data")
    >>> packed.shape, packed.dtype
    (torch.Size([1, 3]), torch.int64)
    >>> layout.unpack(packed, torch.float32)
    {'ids': tensor([[4, 7]]), 'weight': tensor([0.5000])}
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[torch.dtype, ...]

    @classmethod
    def of(cls, inputs: Mapping[str, Any], name: str) -> Layout:
        """Return the layout of some inputs, without labels, or raise InvalidInputError."""
        tensors = _tensors(inputs, name)
        if not tensors:
            wanted = "hold inputs by their names"
            raise InvalidInputError(name, wanted, f"only {', '.join(inputs) or 'none'}")
        shapes = (tuple(t.shape[1:]) for t in tensors.values())
        return cls(tuple(tensors), tuple(shapes), tuple(t.dtype for t in tensors.values()))

    @property
    def several(self) -> bool:
        """Whether there is more than one tensor, so that tensors are packed."""
        return len(self.names) > 1

    def pack(self, inputs: Any, name: str) -> Tensor:
        """Return inputs as one tensor, shape (n, d); a single tensor is returned as it is.

        Inputs of other names, shapes or kinds raise InvalidInputError.
        """
        if not isinstance(inputs, Mapping):
            wanted = f"hold {', '.join(self.names)} by their names, as the training inputs"
            raise InvalidInputError(name, wanted, type(inputs).__name__)
        tensors = _tensors(inputs, name)
        if set(tensors) != set(self.names):
            wanted = f"hold {', '.join(self.names)} in every batch"
            raise InvalidInputError(name, wanted, ", ".join(tensors) or "none")
        n = len(tensors[self.names[0]])
        rows = []
        for key, shape, dtype in zip(self.names, self.shapes, self.dtypes, strict=True):
            tensor = tensors[key]
            if tuple(tensor.shape) != (n, *shape):
                wanted = f"hold inputs of one shape, {key} of shape {(n, *shape)}"
                got = f"{tuple(tensor.shape)} (pad all of them to one length)"
                raise InvalidInputError(name, wanted, got)
            rows.append(_as_integers(tensor, dtype, name, key) if self.several else tensor)
        return torch.cat(rows, dim=1) if self.several else rows[0]

    def unpack(self, x: Tensor, floating: torch.dtype) -> dict[str, Tensor]:
        """Return the named tensors packed in x; floating-point tensors as ``floating``."""
        if not self.several:
            return {self.names[0]: x}
        named = dict(zip(self.names, x.split([*map(math.prod, self.shapes)], dim=1), strict=True))
        for key, shape, dtype in zip(self.names, self.shapes, self.dtypes, strict=True):
            numbers, is_float = named[key].reshape(len(x), *shape), dtype.is_floating_point
            named[key] = numbers.view(torch.float64).to(floating) if is_float else numbers.to(dtype)
        return named

    def values(self, x: Tensor) -> Tensor:
        """Return inputs as one row of float64 per sample, in the order of the names."""
        parts = self.unpack(x, torch.float64).values()
        return torch.cat([_rows(part).double() for part in parts], dim=1)

    def __str__(self) -> str:
        return ", ".join(f"{n} {shape}" for n, shape in zip(self.names, self.shapes, strict=True))


def _tensors(inputs: Mapping[str, Any], name: str) -> dict[str, Tensor]:
    tensors = {}
    for key, values in inputs.items():
        if key in LABELS:
            continue
        tensor = as_tensor(values, f"{name}[{key!r}]")
        if tensor.ndim == 0 or tensor.is_complex():
            dtype = str(tensor.dtype).removeprefix("torch.")
            got = f"{key} of shape {tuple(tensor.shape)} and dtype {dtype}"
            raise InvalidInputError(name, "hold real tensors with a row a sample", got)
        tensors[str(key)] = tensor
    return tensors


def _as_integers(tensor: Tensor, dtype: torch.dtype, name: str, key: str) -> Tensor:
    """Return rows of int64 that hold a tensor's integers, or the bits of its floats."""
    if not dtype.is_floating_point:
        if tensor.is_floating_point():
            wanted = f"hold integers for {key}, as the training inputs"
            raise InvalidInputError(name, wanted, str(tensor.dtype).removeprefix("torch."))
        return _rows(tensor).long()
    if not torch.isfinite(tensor).all():
        raise InvalidInputError(name, "be finite", because=f"{key} holds NaN or inf")
    return _rows(tensor).double().view(torch.int64)


def _rows(tensor: Tensor) -> Tensor:
    return tensor.flatten(1) if tensor.ndim > 1 else tensor.unsqueeze(1)


def as_tensor(values: Any, name: str) -> Tensor:
    """Return values as a tensor that shares no memory with them."""
    if isinstance(values, Tensor):
        return values.detach().clone()  # the caller may change it while the analysis holds it
    try:
        return torch.from_numpy(np.array(values))
    except (TypeError, ValueError) as error:
        wanted = "hold numeric arrays or tensors"
        raise InvalidInputError(name, wanted, f"{type(values).__name__} ({error})") from None
