"""Independent references: written from the definitions, sharing no code with the package."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import mpmath
import numpy as np
import torch
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Golden:
    """A trained 2-100-100-C ReLU network and its dense float64 references."""

    name: str
    arrays: dict[str, np.ndarray]

    def __getitem__(self, key: str) -> np.ndarray:
        return self.arrays[key]

    @property
    def data(self) -> tuple[np.ndarray, np.ndarray]:
        return self["x"], self["y"]

    def model(self) -> nn.Module:
        layers: list[nn.Module] = []
        for name in ("fc1", "fc2", "fc3"):
            weight, bias = self[f"param.{name}.weight"], self[f"param.{name}.bias"]
            layer = nn.Linear(weight.shape[1], weight.shape[0])
            layer.weight.data, layer.bias.data = torch.tensor(weight), torch.tensor(bias)
            layers += [layer, nn.ReLU()]
        return nn.Sequential(*layers[:-1])


@cache
def load_golden(path: Path) -> Golden:
    with np.load(path, allow_pickle=False) as stored:
        return Golden(path.stem, {key: stored[key] for key in stored.files})


def flat_gradient(value: Tensor, model: nn.Module, create_graph: bool = False) -> Tensor:
    pieces = torch.autograd.grad(
        value, list(model.parameters()), create_graph=create_graph, retain_graph=True
    )
    return torch.cat([piece.reshape(-1) for piece in pieces])


def textbook_loss(name: str, outputs: Tensor, labels: Tensor) -> Tensor:
    """torch's own losses, mean over samples."""
    functional = torch.nn.functional
    if name == "mse":
        targets = functional.one_hot(labels, outputs.shape[1]).to(outputs.dtype)
        return functional.mse_loss(outputs, targets)
    if name == "nll":
        return functional.nll_loss(outputs, labels)
    return functional.cross_entropy(outputs, labels)


def dense_hessian(model: nn.Module, x: Tensor, y: Tensor, loss: str = "cross_entropy") -> Tensor:
    """Row by row, by differentiating the gradient."""
    gradient = flat_gradient(textbook_loss(loss, model(x), y), model, create_graph=True)
    return torch.stack([flat_gradient(entry, model) for entry in gradient])


def dense_gauss_newton(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """(1/n) Σ Jᵀ (diag(p) − p pᵀ) J, one sample at a time."""
    total: Tensor | float = 0.0
    for sample in x:
        outputs = model(sample.unsqueeze(0)).squeeze(0)
        jacobian = torch.stack([flat_gradient(entry, model) for entry in outputs])
        p = outputs.softmax(-1).detach()
        total = total + jacobian.T @ (torch.diag(p) - torch.outer(p, p)) @ jacobian
    return total / len(x)


def exact_output_residual(logits: np.ndarray) -> np.ndarray:
    """softmax(f) − onehot(argmax f) to 400 digits, scaled to a largest entry of one."""
    rows = []
    with mpmath.workdps(400):
        for row in logits:
            exponentials = [mpmath.e ** mpmath.mpf(float(value)) for value in row]
            total = mpmath.fsum(exponentials)
            residual = [value / total for value in exponentials]
            residual[int(np.argmax(row))] -= 1
            largest = max(abs(value) for value in residual)
            rows.append([float(value / largest) for value in residual])
    return np.array(rows)


def alignment_from_residual(
    model: nn.Module, x: Tensor, residual: Tensor, vectors: Tensor
) -> Tensor:
    """cos(Jᵀ r, v) by one backward pass a sample."""
    rows = []
    for sample, r in zip(x, residual, strict=True):
        outputs = model(sample.unsqueeze(0)).squeeze(0)
        g = flat_gradient((outputs * r).sum(), model)
        rows.append((g @ vectors) / (g.norm() * vectors.norm(dim=0)))
    return torch.stack(rows)


def confidence_gap(logits: np.ndarray) -> np.ndarray:
    """1 − p of the predicted class, without cancellation."""
    top = np.sort(logits, axis=1)[:, ::-1]
    odds = np.exp(top[:, 1:] - top[:, :1]).sum(1)
    return odds / (1 + odds)
