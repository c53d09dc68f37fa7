from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import nll_loss
from torch.utils.data import DataLoader, TensorDataset

import eigenboundary as eb
from eigenboundary.problem import samples
from eigenboundary.problem.data import TensorSource
from eigenboundary.runtime.processes import Processes
from tests.references import dense_hessian

Blobs = tuple[np.ndarray, np.ndarray]


class Kept:
    """Everything about a model that an analysis must leave as it was."""

    def __init__(self, model: nn.Module) -> None:
        self.state = copy.deepcopy(model.state_dict())
        self.identity = [id(p) for p in model.parameters()]
        self.training = [m.training for m in model.modules()]
        self.requires_grad = [p.requires_grad for p in model.parameters()]
        self.gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]

    def assert_unchanged(self, model: nn.Module) -> None:
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, self.state[name]), name
        assert self.identity == [id(p) for p in model.parameters()]
        assert self.training == [m.training for m in model.modules()]
        assert self.requires_grad == [p.requires_grad for p in model.parameters()]
        for p, before in zip(model.parameters(), self.gradients, strict=True):
            assert (p.grad is None) == (before is None)
            assert before is None or torch.equal(p.grad, before)


def test_the_model_is_left_exactly_as_it_was(blobs: Blobs) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(2, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(), nn.Linear(5, 3)
    )
    model[0].bias.requires_grad_(False)
    model[1].eval()
    model(torch.randn(4, 2)).sum().backward()
    kept, random_state = Kept(model), torch.get_rng_state()
    analysis = eb.analyze(model, blobs, k=3, dtype="float64")
    kept.assert_unchanged(model)
    assert torch.equal(random_state, torch.get_rng_state())
    assert "0.bias" not in analysis.parameter_names


def test_training_mode_is_said_and_eval_mode_used(
    blobs: Blobs, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 5), nn.BatchNorm1d(5), nn.Dropout(), nn.Linear(5, 3))
    analysis = eb.analyze(model.train(), blobs, k=3)
    assert "BatchNorm1d, Dropout" in analysis.notes[0]
    assert "eval mode" in caplog.text
    quiet = eb.analyze(model.eval(), blobs, k=3)
    assert not any("eval mode" in note for note in quiet.notes)
    np.testing.assert_array_equal(quiet.eigenvalues, analysis.eigenvalues)


def test_a_pattern_picks_one_layers_hessian(small_model: nn.Module, blobs: Blobs) -> None:
    problem = eb.Problem(small_model, blobs, parameters="2.*")
    assert problem.parameter_names == ("2.weight", "2.bias")
    whole = dense_hessian(small_model, torch.tensor(blobs[0]), torch.tensor(blobs[1]))
    block = eb.HessianOperator(problem).to_dense()
    torch.testing.assert_close(block, whole[-21:, -21:])


def test_several_patterns_keep_the_models_order(small_model: nn.Module, blobs: Blobs) -> None:
    problem = eb.Problem(small_model, blobs, parameters=["2.bias", "0.*"])
    assert problem.parameter_names == ("0.weight", "0.bias", "2.bias")


def test_the_output_hook_picks_the_logits(small_model: nn.Module, blobs: Blobs) -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = small_model

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"logits": self.inner(x)}

    expected = eb.analyze(small_model, blobs, k=3, grid=0)
    analysis = eb.analyze(Wrapped(), blobs, k=3, grid=0, output=lambda o: o["logits"])
    np.testing.assert_array_equal(analysis.eigenvalues, expected.eigenvalues)


def test_unflatten_inverts_flatten(small_model: nn.Module, blobs: Blobs) -> None:
    problem = eb.Problem(small_model, blobs)
    rows = torch.randn(4, 39, dtype=torch.float64)
    torch.testing.assert_close(problem.network.flatten(problem.network.unflatten(rows)), rows)
    expected = torch.cat([p.detach().reshape(-1) for p in small_model.parameters()])
    torch.testing.assert_close(problem.network.theta, expected)


def test_a_parameter_without_dimensions_is_one_parameter(blobs: Blobs) -> None:
    class Scaled(nn.Module):
        def __init__(self, shape: tuple[int, ...]) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.linear = nn.Linear(2, 3).double()
            self.scale = nn.Parameter(torch.full(shape, 2.0).double())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.scale * self.linear(x)

    found, expected = (eb.analyze(Scaled(shape), blobs, k=10) for shape in ((), (1,)))
    assert found.n_parameters == 10
    np.testing.assert_allclose(found.eigenvalues, expected.eigenvalues, atol=1e-12)
    np.testing.assert_allclose(
        found.boundary_complexity.dimension, expected.boundary_complexity.dimension
    )


def test_labels_predictions_loss_and_accuracy_are_the_models(
    small_model: nn.Module, blobs: Blobs
) -> None:
    problem = eb.Problem(small_model, blobs)
    x, y = torch.tensor(blobs[0]), torch.tensor(blobs[1])
    outputs = small_model(x)
    assert problem.loss_value == pytest.approx(
        float(torch.nn.functional.cross_entropy(outputs, y)), rel=1e-12
    )
    assert torch.equal(problem.predictions, outputs.argmax(1))
    assert problem.accuracy == pytest.approx(float((outputs.argmax(1) == y).double().mean()))


def test_integer_inputs_reach_the_model_as_they_are() -> None:
    model = nn.Sequential(nn.Embedding(7, 3), nn.Flatten(), nn.Linear(6, 2))
    x = np.random.default_rng(0).integers(0, 7, size=(12, 2))
    assert eb.Problem(model, (x, np.arange(12) % 2)).n_classes == 2


def test_tied_weights_count_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
            self.b.weight = self.a.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(self.a(x).tanh())

    model = Tied().double()
    x, y = torch.randn(9, 3, dtype=torch.float64), torch.arange(9) % 3
    problem = eb.Problem(model, (x, y))
    assert problem.n_parameters == 9
    torch.testing.assert_close(eb.HessianOperator(problem).to_dense(), dense_hessian(model, x, y))


def test_a_parallel_wrapper_is_looked_through(small_model: nn.Module, blobs: Blobs) -> None:
    problem = eb.Problem(nn.DataParallel(small_model), blobs)
    assert problem.parameter_names[0] == "0.weight"


@pytest.mark.parametrize("kind", ["weight_norm", "spectral_norm", "lstm"])
def test_layers_with_awkward_derivatives_have_the_right_hessian(kind: str) -> None:
    torch.manual_seed(0)
    parametrizations = torch.nn.utils.parametrizations
    x, y = torch.randn(9, 4, dtype=torch.float64), torch.arange(9) % 3
    model: nn.Module
    if kind == "lstm":
        model, x = Recurrent(), torch.randn(9, 5, 4, dtype=torch.float64)
    else:
        first = getattr(parametrizations, kind)(nn.Linear(4, 6))
        model = nn.Sequential(first, nn.Tanh(), nn.Linear(6, 3)).eval()
    problem = eb.Problem(model.double(), (x, y))

    def gradient(theta: torch.Tensor) -> torch.Tensor:
        parameters = {k: v[0] for k, v in problem.network.unflatten(theta.unsqueeze(0)).items()}
        variables = {k: v.clone().requires_grad_(True) for k, v in parameters.items()}
        loss = torch.nn.functional.cross_entropy(problem.network.outputs(variables, x), y)
        return torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, variables.values())])

    direction = torch.randn_like(problem.network.theta)
    step = 1e-5 * direction
    expected = (
        gradient(problem.network.theta + step) - gradient(problem.network.theta - step)
    ) / 2e-5
    torch.testing.assert_close(
        eb.HessianOperator(problem) @ direction, expected, rtol=1e-5, atol=1e-7
    )


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.inner(x)[0][:, -1])


class Detached(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).detach()


class Sliced(nn.Module):
    """Slicing a ParameterList makes new parameters, which θ does not reach."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.ParameterList([torch.randn(2, 2), torch.randn(2, 3)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for weight in self.weights[:-1]:
            x = (x @ weight).tanh()
        return x @ self.weights[-1]


class Renormalising(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(9, 2, max_norm=0.1), nn.Linear(2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.table(x.round().long().clamp(0, 8)).sum(1))


class BatchMean(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x - x.mean(0))


def with_weight(value: float) -> nn.Module:
    model = nn.Linear(2, 3)
    model.weight.data[0, 0] = value
    return model


def once_differentiable(f: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return f.gather(1, y[:, None]).squeeze(1).mul(-1)


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("model", {}, "model must be a torch.nn.Module"),
        (nn.Linear, {}, "model must be a torch.nn.Module"),
        (nn.ReLU(), {}, "at least one parameter"),
        (nn.Linear(2, 3).requires_grad_(False), {}, "at least one parameter"),
        (nn.Linear(2, 3), {"parameters": "fc*"}, "parameters must match"),
        (nn.Linear(2, 3), {"parameters": ["bias", "fc*"]}, "'fc\\*' matches none"),
        (with_weight(float("nan")), {}, "finite weights; 'weight'"),
        (with_weight(float("inf")), {}, "finite weights"),
        (nn.Linear(2, 1), {}, "at least two outputs"),
        (nn.Sequential(nn.Linear(2, 3), nn.Flatten(0)), {}, r"shape \(8, C\)"),
        (nn.LSTM(2, 3), {}, "output="),
        (nn.Linear(4, 3), {}, "accept the inputs"),
        (nn.Linear(2, 2), {}, "labels from 0 to 1"),
        (BatchMean(2, 3), {}, "independently"),
        (Detached(2, 3), {}, "depend on its parameters"),
        (Sliced(), {}, "use its parameters as they are"),
        (Renormalising(), {}, "not change its parameters"),
        (torch.jit.script(nn.Linear(2, 3)), {}, "TorchScript"),
        (nn.LazyLinear(3), {}, "lazy"),
        (nn.Linear(2, 3), {"parameters": []}, "parameters must be"),
        (nn.Linear(2, 3), {"parameters": 5}, "parameters must be"),
        (nn.Linear(2, 3), {"device": "meta"}, "device must be"),
        (nn.Linear(2, 3), {"seed": 2**64}, "seed must be"),
        (nn.Sequential(nn.BatchNorm1d(2, track_running_stats=False), nn.Linear(2, 3)), {}, "'0'"),
        (nn.Linear(2, 3).half(), {}, "dtype must be given"),
        (nn.Linear(2, 3), {"dtype": torch.float16}, "dtype must be float32 or float64"),
        (nn.Linear(2, 3), {"dtype": "int64"}, "dtype must be float32 or float64"),
        (nn.Linear(2, 3), {"device": "nowhere"}, "device must be"),
        (nn.Linear(2, 3), {"seed": -1}, "seed must be"),
        (nn.Linear(2, 3), {"seed": 0.5}, "seed must be"),
        (nn.Linear(2, 3), {"batch_size": 0}, "batch_size must be"),
        (nn.Linear(2, 3), {"loss": "log_loss"}, "loss must be one of"),
        (nn.Linear(2, 3), {"loss": "nll"}, "log-probabilities"),
        (nn.Linear(2, 3), {"loss": nn.CrossEntropyLoss()}, "one value a sample"),
        (nn.Linear(2, 3), {"loss": lambda f, y: f.mean() + f[:, 0] ** 2}, "other samples"),
        (nn.Linear(2, 3), {"loss": lambda f, y: f.argmax(1).float()}, "twice differentiable"),
        (nn.Linear(2, 3), {"loss": once_differentiable}, "twice differentiable"),
        (nn.Linear(2, 3), {"loss": lambda f, y: 1 / 0}, "loss must map"),
        (nn.Linear(2, 3), {"loss": partial(nll_loss, reduction="none")}, "use loss='nll'"),
        (nn.Linear(2, 3), {"output": lambda f: f.logits}, "output must turn .* it raised Attrib"),
    ],
)
def test_an_unusable_argument_is_refused_in_one_sentence(
    model: nn.Module, options: dict[str, object], message: str, blobs: Blobs
) -> None:
    data = blobs[0].astype(np.float32), blobs[1]
    with pytest.raises(eb.InvalidInputError, match=message) as caught:
        eb.Problem(model, data, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_infinite_outputs_are_refused(blobs: Blobs) -> None:
    class Overflow(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) / (x[:, :1] < 1)

    with pytest.raises(eb.InvalidInputError, match="finite outputs"):
        eb.Problem(Overflow(2, 3), blobs)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_gpu_gives_the_numbers_of_the_cpu(
    small_model: nn.Module, blobs: Blobs, dtype: str
) -> None:
    cpu = eb.analyze(small_model, blobs, k=5, dtype=dtype, method="krylov")
    gpu = eb.analyze(small_model, blobs, k=5, dtype=dtype, method="krylov", device="cuda")
    tolerance = 1e-8 if dtype == "float64" else 1e-3
    np.testing.assert_allclose(gpu.eigenvalues, cpu.eigenvalues, rtol=tolerance)
    np.testing.assert_allclose(gpu.training_alignment, cpu.training_alignment, atol=10 * tolerance)


def test_inputs_that_are_kept_do_not_keep_the_batches_they_are_from(
    small_model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = torch.randn(60, 2), torch.arange(60) % 3
    loader = DataLoader(TensorDataset(x, y), batch_size=20)
    problem = eb.Problem(small_model, loader, cache_bytes=0)
    held, cat = [], torch.cat

    def watched(tensors, *arguments, **options):
        held.extend(t.untyped_storage().nbytes() for t in tensors)
        return cat(tensors, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "cat", watched)
        kept, indices = problem.samples.some_inputs(6)
    torch.testing.assert_close(kept, x[indices])
    assert sum(held) == kept.nbytes


@given(st.integers(0, 200), st.integers(1, 50), st.none() | st.integers(1, 20))
def test_chunks_are_equal_parts_of_all_inputs(n: int, samples: int, batch_size: int | None) -> None:
    data = torch.zeros(4, 2), torch.arange(4) % 2
    problem = eb.Problem(nn.Linear(2, 2), data, batch_size=batch_size)
    most = min(samples, batch_size or samples)
    parts = [range(n)[rows] for rows in problem.network.chunks(n, samples)]
    assert [i for part in parts for i in part] == list(range(n))
    assert len(parts) == -(-n // most)
    sizes = [len(part) for part in parts]
    assert all(0 < size <= most for size in sizes)
    assert max(sizes, default=0) - min(sizes, default=0) <= 1


def test_a_few_samples_are_taken_at_once_even_where_their_activations_are_large() -> None:
    data = torch.zeros(4, 2), torch.arange(4) % 2
    small, large = (
        eb.Problem(nn.Sequential(nn.Linear(2, width), nn.Linear(width, 2)), data)
        for width in (10, 10**6)
    )
    small, large = small.network, large.network
    assert small.samples_per_chunk(1) * small.sample_bytes(1) > 0.9 * 2**27
    assert large.samples_per_chunk(0) == 16
    assert large.samples_per_chunk(1) == 2**29 // large.sample_bytes(1)
    assert large.samples_per_chunk(10**6) == 1


def placed(problem: eb.Problem, part: TensorSource) -> TensorSource:
    """Samples where they are computed with, as on a device of its own."""
    return samples._placed(problem.network, part, part, problem.network.memory, Processes())


def test_samples_are_converted_once_where_they_are_placed(
    small_model: nn.Module, blobs: Blobs
) -> None:
    x, y = torch.tensor(blobs[0]).float(), torch.tensor(blobs[1])
    problem = eb.Problem(small_model, (x, y), dtype="float64")
    before = [(x.clone(), y.clone()) for x, y in problem.samples.batches(7)]
    assert not any(problem.samples.holds(x) for x, _ in problem.samples.batches(7))
    there = placed(problem, problem.samples.part)
    held = replace(problem.samples, source=there, part=there)
    after = list(held.batches(7))
    assert all(held.holds(x) for x, _ in after)
    assert all(held.holds(x) for x, _ in held.own_batches(7))
    for (x, y), (x_before, y_before) in zip(after, before, strict=True):
        torch.testing.assert_close(x, x_before, rtol=0, atol=0)
        assert torch.equal(y, y_before)


def test_samples_that_do_not_fit_are_not_placed_and_those_that_do_are_counted(
    small_model: nn.Module, blobs: Blobs
) -> None:
    x, y = torch.tensor(blobs[0]).float(), torch.tensor(blobs[1])
    problem = eb.Problem(small_model, (x, y), dtype="float64")
    part, memory = problem.samples.part, problem.network.memory
    memory.limit, memory.free = 10**9, 2000
    assert placed(problem, part) is part
    memory.free = 10**6
    there = placed(problem, part)
    assert there is not part
    assert memory.free == 10**6 - 30 * (2 * 8 + 8)
    placed(problem, there)  # they are there
    assert memory.free == 10**6 - 30 * (2 * 8 + 8)
    del there
    assert memory.free == 10**6  # nothing holds them any more


def test_samples_that_exhaust_the_memory_stay_where_they_are(
    small_model: nn.Module, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object) -> TensorSource:
        raise torch.OutOfMemoryError("full")

    problem = eb.Problem(small_model, blobs)
    part, memory = problem.samples.part, problem.network.memory
    memory.limit, memory.free = 10**9, 10**6
    monkeypatch.setattr(TensorSource, "mapped", exhausted)
    assert placed(problem, part) is part
    assert memory.free == 10**6


def test_recurrent_layers_do_without_cudnn_which_has_no_derivative_in_eval_mode() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = Watched(4, 5, batch_first=True), nn.Linear(5, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            outputs: torch.Tensor = self.head(self.layer(x)[0][:, -1])
            enabled.append(torch.backends.cudnn.enabled)
            return outputs

    class Watched(nn.GRU):
        def forward(self, *arguments: Any, **options: Any) -> Any:
            enabled_within.append(torch.backends.cudnn.enabled)
            return super().forward(*arguments, **options)

    enabled: list[bool] = []
    enabled_within: list[bool] = []
    torch.manual_seed(0)
    model, x = Recurrent(), torch.randn(9, 6, 4)
    expected = model(x)
    enabled_within.clear()
    problem = eb.Problem(model, (x, torch.arange(9) % 3))
    torch.testing.assert_close(problem.network.predict(x), expected.detach())
    assert not any(enabled_within)
    assert all(enabled)
    enabled_within.clear()
    model(x)
    assert enabled_within == [True]  # the user's own network is left as it was
