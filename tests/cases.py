"""One table of small networks with data, on which operators are compared with dense matrices."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import nn

import eigenboundary as eb
from tests.references import dense_gauss_newton, dense_hessian

KINDS = {"hessian": eb.HessianOperator, "gauss_newton": eb.GaussNewtonOperator}
DENSE = {"hessian": dense_hessian, "gauss_newton": dense_gauss_newton}


def random_problem(seed: int, widths: list[int], activation: type[nn.Module]) -> tuple:
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        layers += [nn.Linear(a, b), activation()]
    model = nn.Sequential(*layers[:-1]).double()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64))
    x = torch.randn(11, widths[0], generator=generator, dtype=torch.float64)
    return model, x, torch.arange(11) % widths[-1]


class Attention(nn.Module):
    """One layer of attention over three tokens, with layer normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.norm, self.last = nn.LayerNorm(4), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.reshape(len(x), 3, 4)
        mixed = self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return self.last(self.norm(tokens + mixed).mean(1))


class Words(nn.Module):
    """A bag of words: an index is no number to differentiate by."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.last = nn.Embedding(5, 3), nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.tanh(self.embedding(x)).sum(1))


class InPlace(nn.Module):
    """Writes into tensors that were there before."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 3), nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        table = torch.zeros(len(x), 3, dtype=x.dtype)
        table += self.first(x)
        table[:, 1] = table[:, 1].clone().mul_(2)
        return self.last(torch.relu_(table).tanh())


class Branching(nn.Module):
    """Takes a path that depends on its data, which a trace cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 3), nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.first(x)
        return self.last(hidden.tanh() if bool((x.sum() < 1e9).item()) else hidden)


class _Square(torch.autograd.Function):
    """A function with reverse mode only."""

    @staticmethod
    def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)  # type: ignore[attr-defined]
        return x.square()

    @staticmethod
    def backward(ctx: object, g: torch.Tensor) -> torch.Tensor:
        return 2 * ctx.saved_tensors[0] * g  # type: ignore[attr-defined]


class ReverseOnly(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 3), nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(_Square.apply(self.first(x)))


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "tanh": (lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), (4,)),
    "relu": (lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)), (4,)),
    "convolutions": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)
        ),
        (1, 6, 6),
    ),
    "batch normalisation": (
        lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.GELU(), nn.Linear(4, 3)),
        (4,),
    ),
    "attention": (Attention, (12,)),
    "embedding": (Words, (6,)),
    "in place": (InPlace, (4,)),
}


def a_case(name: str, n: int = 11) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    build, shape = CASES[name]
    torch.manual_seed(0)
    model = build().double().eval()
    x = torch.randn(n, *shape, dtype=torch.float64)
    return model, x.abs().long() if name == "embedding" else x, torch.arange(n) % 3
