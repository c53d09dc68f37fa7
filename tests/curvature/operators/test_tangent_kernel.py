from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

import eigenboundary as eb
from eigenboundary.curvature.operators import tangent_kernel as module
from eigenboundary.curvature.operators.tangent_kernel import tangent_kernel


class CalledTwice(nn.Module):
    """A linear layer that is called twice, and one that shares its weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.second(torch.tanh(self.first(torch.tanh(self.first(x))))))


class Tokens(nn.Module):
    """A linear layer that sees several vectors an input, and one whose output is detached."""

    def __init__(self) -> None:
        super().__init__()
        self.each, self.scale, self.last = nn.Linear(4, 4), nn.Linear(8, 1), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.each(x.view(-1, 2, 4))).flatten(1)
        return self.last(hidden) * (1 + self.scale(x).detach())


MODELS: dict[str, Callable[[], nn.Module]] = {
    "in-place ReLU": lambda: nn.Sequential(nn.Linear(8, 9), nn.ReLU(True), nn.Linear(9, 3)),
    "no bias, layer norm": lambda: nn.Sequential(
        nn.Linear(8, 6, bias=False), nn.LayerNorm(6), nn.GELU(), nn.Linear(6, 3)
    ),
    "convolution": lambda: nn.Sequential(
        nn.Unflatten(1, (2, 2, 2)), nn.Conv2d(2, 4, 2), nn.Flatten(), nn.ReLU(), nn.Linear(4, 3)
    ),
    "called twice": CalledTwice,
    "tokens": Tokens,
    "weight norm": lambda: nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(8, 6)), nn.Tanh(), nn.Linear(6, 3)
    ),
}


def of_gradients(problem: eb.Problem, x: Tensor, cotangents: Tensor) -> Tensor:
    """The kernel by whole Jacobians, from torch.func alone."""
    network = problem.network

    def outputs(parameters: dict[str, Tensor], one: Tensor) -> Tensor:
        units = network.units or {n: torch.ones(()) for n in parameters}
        theta = {n: z * units[n].to(z) for n, z in parameters.items()}
        return functional_call(network.module, theta, (one[None],))[0]

    jacobian = vmap(jacrev(outputs), (None, 0))(network.parameters, x)
    flat = torch.cat([part.flatten(2) for part in jacobian.values()], dim=2)
    rows = (cotangents @ flat).flatten(0, 1).double()
    return rows @ rows.T


def problem_and_cotangents(
    model: nn.Module, dtype: str, seed: int
) -> tuple[eb.Problem, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(13, 8, generator=generator)
    problem = eb.Problem(model.eval(), (x, torch.arange(13) % 3), dtype=dtype)
    ready = problem.network.to_compute(x)
    return problem, ready, torch.randn(13, 2, 3, generator=generator).to(ready)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("dtype", "error"), [("float64", 1e-12), ("float32", 1e-5)])
def test_the_kernel_is_that_of_whole_gradients(name: str, dtype: str, error: float) -> None:
    torch.manual_seed(0)
    plain, x, cotangents = problem_and_cotangents(MODELS[name](), dtype, 0)
    for problem in (plain, eb.layer_normalized(plain)):
        kernel = tangent_kernel(problem.network, x, cotangents)
        expected = of_gradients(problem, x, cotangents)
        assert float((kernel - expected).abs().max()) < error * float(expected.abs().max())


@given(st.integers(0, 10_000))
def test_the_kernel_of_random_networks_is_that_of_whole_gradients(seed: int) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    problem, x, cotangents = problem_and_cotangents(model, "float64", seed)
    kernel = tangent_kernel(problem.network, x, cotangents)
    torch.testing.assert_close(kernel, of_gradients(problem, x, cotangents))


def test_only_some_parameters_count_if_theta_has_no_others() -> None:
    model = nn.Sequential(nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    x = torch.randn(13, 8, generator=torch.Generator().manual_seed(0)).double()
    problem = eb.Problem(model, (x, torch.arange(13) % 3), parameters=["0.bias", "2.weight"])
    cotangents = torch.eye(3).double().expand(13, 3, 3)
    kernel = tangent_kernel(problem.network, x, cotangents)
    torch.testing.assert_close(kernel, of_gradients(problem, x, cotangents))


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("name", ["in-place ReLU", "convolution", "called twice", "tokens"])
def test_linear_layers_that_are_called_once_are_not_differentiated_sample_by_sample(
    name: str, normalized: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, x, cotangents = problem_and_cotangents(MODELS[name](), "float64", 0)
    problem = eb.layer_normalized(plain) if normalized else plain
    formed: set[str] = set()
    original = module._add_gradients

    def add_gradients(total: Tensor, network: object, *rest: Tensor) -> None:
        if len(rest[0]) > module._COMPARED:
            formed.update(network.parameters)  # type: ignore[attr-defined]
        original(total, network, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_add_gradients", add_gradients)
    tangent_kernel(problem.network, x, cotangents)
    assert (
        formed
        == {
            "in-place ReLU": set(),
            "convolution": {"1.weight", "1.bias"},
            "called twice": {"first.weight", "first.bias"},
            "tokens": set(problem.network.parameters),  # one derivative is missing: all in one way
        }[name]
    )


def test_blocks_of_gradients_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, x, cotangents = problem_and_cotangents(MODELS["convolution"](), "float64", 0)
    whole = tangent_kernel(problem.network, x, cotangents)
    monkeypatch.setattr(module, "_BLOCK_BYTES", 2**11)
    torch.testing.assert_close(tangent_kernel(problem.network, x, cotangents), whole)
