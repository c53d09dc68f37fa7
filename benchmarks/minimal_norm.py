"""Minimal-norm attacks of another library, foolbox (the extra `bench`).

FMN (Pintor et al. 2021, arXiv:2102.12827) and DDN (Rony et al. 2019, arXiv:1811.09600), both with
1,000 steps, the longest their papers use; foolbox's defaults are 100. Their step lengths are meant
for pixels from 0 to 1, so they see images and networks scaled to that.
"""

from __future__ import annotations

import copy
import importlib.util
from typing import Any

import numpy as np
import torch

_STEPS = 1000
#: Where nothing bounds the inputs; foolbox wants a range all the same.
_BOUNDS = (-20.0, 20.0)


def lacking() -> str:
    """What this machine lacks to run them; empty if nothing."""
    if importlib.util.find_spec("foolbox") is None:
        return "foolbox must be installed: pip install -e .[bench]."
    return ""


class InUnits(torch.nn.Module):
    """A network as one of inputs from 0 to 1; its weights take no gradients."""

    def __init__(
        self, model: torch.nn.Module, box: tuple[float, float] | None, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).to(dtype).eval().requires_grad_(False)
        self.low, self.width = (0.0, 1.0) if box is None else (box[0], box[1] - box[0])
        self.bounds = _BOUNDS if box is None else (0.0, 1.0)
        self.dtype = dtype

    def forward(self, units: torch.Tensor) -> torch.Tensor:
        return self.model(self.low + self.width * units)

    def units(self, x: torch.Tensor) -> torch.Tensor:
        return ((x.to(self.dtype) - self.low) / self.width).clamp(*self.bounds)

    def for_foolbox(self) -> Any:
        import foolbox

        return foolbox.PyTorchModel(self.eval(), bounds=self.bounds, device="cpu")


def minimal_norm_attacks() -> dict[str, Any]:
    """Both attacks by their names."""
    from foolbox import attacks as library

    class FMN(library.L2FMNAttack):
        """With the projection of its paper: foolbox 3.3.4 divides the radius by itself."""

        def project(self, x: Any, x0: Any, epsilon: Any) -> Any:
            length = (x - x0).flatten(1).norms.l2(axis=-1).maximum(1e-12)
            share = (epsilon / length).minimum(1)
            return x0 + (x - x0) * share.reshape((-1,) + (1,) * (x.ndim - 1))

    return {"FMN": FMN(steps=_STEPS), "DDN": library.DDNAttack(steps=_STEPS)}


def attacked(model: InUnits, x: torch.Tensor, attack: Any) -> np.ndarray:
    """Distances of the points an attack found, where the network does predict otherwise there."""
    import foolbox

    units = model.units(x)
    predicted = model(units).argmax(1)
    criterion = foolbox.criteria.Misclassification(predicted)
    _, found, _ = attack(model.for_foolbox(), units, criterion, epsilons=None)
    distance = model.width * (found - units).flatten(1).double().norm(dim=1)
    there = model(found).argmax(1) != predicted
    return torch.where(there, distance, torch.inf).detach().numpy()
