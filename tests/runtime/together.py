"""What several processes do in `test_processes`: run as ``python -m tests.runtime.together``."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler, IterableDataset, TensorDataset

import eigenboundary as eb
from eigenboundary.alignment.reinforcing_gradients import training_alignment
from eigenboundary.cli import main as command_line
from eigenboundary.curvature.operators import products
from eigenboundary.curvature.operators.hessian import ProblemOperator

N = 31  # neither two nor three divide it


def network(dtype: torch.dtype = torch.float64, seed: int = 1) -> nn.Module:
    """A 2-24-18-3 network, p = 579: too large for the dense solver to be chosen."""
    generator = torch.Generator().manual_seed(seed)
    layers = [nn.Linear(2, 24), nn.Tanh(), nn.Linear(24, 18), nn.Tanh(), nn.Linear(18, 3)]
    model = nn.Sequential(*layers).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator).double())
    return model.to(dtype)


def samples(n: int = N, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x.to(dtype), (torch.arange(n) * 7) % 3


class Images(Dataset[Any]):
    """Samples by index; notes which were read, and may add noise to them."""

    def __init__(self, noise: float = 0.0) -> None:
        self.x, self.y = samples()
        self.noise, self.read = noise, set[int]()

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        self.read.add(int(index))
        x = self.x[index]
        if self.noise:
            x = x + self.noise * torch.randn(2, dtype=torch.float64)
        return x, self.y[index]


class Named(Images):
    """The same with the two numbers of an input under their names."""

    def __getitem__(self, index: int) -> Any:
        x, y = super().__getitem__(index)
        return {"first": x[0], "second": index, "labels": y}


class ByName(nn.Module):
    """A network of the first number and where the sample stands."""

    def __init__(self) -> None:
        super().__init__()
        self.network = network()

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return self.network(torch.stack([first, second / N], dim=1))


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(zip(*samples(), strict=True))


def _of_problem(data: Any, model: nn.Module | None = None, **options: Any) -> dict[str, Any]:
    problem = eb.Problem(model or network(), data, **options)
    v = torch.randn(problem.n_parameters, 3, generator=torch.Generator().manual_seed(3)).double()
    return {
        "product": eb.HessianOperator(problem) @ v,
        "labels": problem.labels,
        "predictions": problem.predictions,
        "loss": problem.loss_value,
        "accuracy": problem.accuracy,
        "alignment": training_alignment(problem, v).cosines,
        "norms": training_alignment(problem, v).log_norms,
    }


def operators() -> dict[str, Any]:
    """Products by each route, in both precisions."""
    found: dict[str, Any] = {}
    work = products._WORK_PER_OPERATION
    for dtype in (torch.float64, torch.float32):
        problem = eb.Problem(network(dtype), samples(dtype=dtype))
        v = torch.randn(problem.n_parameters, 3, generator=torch.Generator().manual_seed(3))
        for kind in (eb.HessianOperator, eb.GaussNewtonOperator):
            operator = kind(problem)
            name = f"{kind.__name__} {dtype}"
            found[f"{name} recomputed"] = operator @ v
            found[f"{name} later"] = operator @ v[:, 0]
            if kind is eb.HessianOperator or dtype == torch.float64:
                products._WORK_PER_OPERATION = 0
                found[f"{name} linearized"] = operator @ v
                products._WORK_PER_OPERATION = work
                assert operator.record.route == "linearized"
        layered = eb.HessianOperator(eb.layer_normalized(problem))
        found[f"layer-normalised {dtype}"] = layered @ v
    return found


def streamed() -> dict[str, Any]:
    """Whatever holds the samples, in memory or not."""
    found = {"pair": _of_problem(samples())}
    for cache in (0, 2**28):
        images, loader = Images(), DataLoader(Images(), batch_size=4, shuffle=True)
        found[f"dataset {cache}"] = _of_problem(images, cache_bytes=cache)
        found[f"loader {cache}"] = _of_problem(loader, cache_bytes=cache)
        stream = DataLoader(Stream(), batch_size=4)
        found[f"iterable {cache}"] = _of_problem(stream, cache_bytes=cache)
        noisy = _of_problem(DataLoader(Images(0.1), batch_size=4), cache_bytes=cache)
        found[f"noisy {cache}"] = noisy
        found[f"named {cache}"] = _of_problem(Named(), ByName(), cache_bytes=cache)
    return found


def divided_already() -> dict[str, Any]:
    """A loader with a DistributedSampler stands for its whole dataset."""
    data = TensorDataset(*samples())
    if not dist.is_initialized():
        return _of_problem(data)
    return _of_problem(DataLoader(data, batch_size=4, sampler=DistributedSampler(data)))


def _numbers(analysis: eb.Analysis) -> dict[str, Any]:
    signs = np.sign(
        analysis.eigenvectors[np.abs(analysis.eigenvectors).argmax(0), range(analysis.k)]
    )
    complexity = analysis.complexity
    found = {
        "eigenvalues": analysis.eigenvalues,
        "eigenvectors": analysis.eigenvectors * signs,
        "alignment": analysis.training_alignment * signs,
        "norms": analysis.log_gradient_norms,
        "predictions": analysis.predictions,
        "loss": analysis.loss_value,
        "accuracy": analysis.accuracy,
        "test_accuracy": analysis.test_accuracy,
        "outliers": analysis.outliers,
        "boundary": analysis.boundary_complexity.dimension,
        "encoded": analysis.boundary_complexity.encoded,
        "mass": complexity.mass,
        "effective": complexity.effective_number_interval,
        "generalization": complexity.generalization(0.05).count,
        "inputs": analysis.inputs,
        "converged": analysis.converged,
    }
    if analysis.sections is not None and analysis.smallest_margin is not None:
        found["margins"] = [s.margin for s in analysis.sections]
        found["classes"] = [s.classes for s in analysis.sections]
        found["smallest"] = analysis.smallest_margin.value
    if "lowest" in analysis.controls:
        found["lowest"] = np.abs(analysis.controls["lowest"])
    return found


def _exactly(analysis: eb.Analysis) -> dict[str, Any]:
    """What must be the same in all processes to the last bit."""
    return {
        "vectors": analysis.eigenvectors.tobytes(),
        "alignment": analysis.training_alignment.tobytes(),
        "controls": {kind: c.tobytes() for kind, c in analysis.controls.items()},
        "provenance": analysis.provenance,
        "notes": analysis.notes,
    }


def analyses() -> dict[str, Any]:
    """The main job by each solver."""
    test = samples(17)
    linear = nn.Linear(2, 3).double()
    linear.weight.data, linear.bias.data = torch.eye(3)[:, :2].double(), torch.zeros(3).double()
    runs: dict[str, Any] = {
        "krylov": (network(), {"k": 4, "controls": ("lowest", "random_directions")}),
        "gram": (network(), {"k": 4, "curvature": "gauss_newton", "grid": 0}),
        "dense": (linear, {"k": 2, "margins": True, "grid": 10}),
    }
    found = {
        name: eb.analyze(model, samples(), test_data=test, **options)
        for name, (model, options) in runs.items()
    }
    return {
        "numbers": {name: _numbers(analysis) for name, analysis in found.items()},
        "exactly": {name: _exactly(analysis) for name, analysis in found.items()},
        "solvers": {name: analysis.provenance.solver for name, analysis in found.items()},
    }


def single() -> dict[str, Any]:
    """The main job in float32."""
    analysis = eb.analyze(network(torch.float32), samples(dtype=torch.float32), k=4)
    return {"eigenvalues": analysis.eigenvalues, "loss": analysis.loss_value}


def others() -> dict[str, Any]:
    """Further functions of the library."""
    problem = eb.Problem(network(), samples())
    operator = eb.HessianOperator(problem)
    pairs = eb.top_eigenpairs(operator, 3)
    direction = pairs.vectors[:, 0]
    return {
        "values": pairs.values,
        "products": operator.products,
        "trace": operator.trace(),
        "losses": eb.loss_along(problem, direction, [-1.0, 0.0, 0.5]).loss,
        "lowest": eb.control_vectors(operator, "lowest", 2).abs(),
        "inputs": problem.samples.inputs_at(torch.tensor([30, 0, 0])),
        "more": problem.with_data(samples(20)).loss_value,
        "distances": eb.boundary_distance(problem, samples()[0][:3], n_starts=2).value,
    }


# ---------------------------------------------------------------- what goes wrong in one process


def _said(job: Callable[[], Any]) -> tuple[str, str]:
    try:
        job()
    except BaseException as error:
        return type(error).__name__, str(error)
    return "", ""


def mistakes() -> dict[str, tuple[str, str]]:
    """Errors that only one process can see."""
    rank = dist.get_rank() if dist.is_initialized() else 0
    model, (x, y) = network(), samples()
    late_label, late_nan, one_class = y.clone(), x.clone(), y.clone()
    late_label[-1], late_nan[-1, 0], one_class[:] = 5, float("nan"), 1
    last = dist.get_world_size() - 1 if dist.is_initialized() else 0

    class Fussy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def forward(self, x: Tensor) -> Tensor:
            if rank == last and len(x) > 3 and not torch.equal(x[:2], samples()[0][:2]):
                raise ValueError("too many")
            return self.net(x)

    return {
        "label": _said(lambda: eb.analyze(model, (x, late_label), k=2)),
        "nan": _said(lambda: eb.analyze(model, (late_nan, y), k=2)),
        "one class": _said(lambda: eb.analyze(model, (x, one_class), k=2)),
        "k": _said(lambda: eb.analyze(model, (x, y), k=580)),
        "k here": _said(lambda: eb.analyze(model, (x, y), k=2 if rank != last else 0)),
        "model here": _said(lambda: eb.analyze(model if rank != last else None, (x, y), k=2)),
        "pair here": _said(lambda: eb.Problem(model, (x, y) if rank != last else x)),
        "raises here": _said(lambda: eb.Problem(Fussy(), (x, y))),
        "sum": _said(lambda: eb.HessianOperator(eb.Problem(model, (x, y))) @ torch.ones(3)),
        "start": _said(lambda: eb.analyze(model, (x, y), k=2, start=torch.ones(3, 1))),
        "few": _said(lambda: eb.Problem(model, (x[:1], y[:1]))),
        "empty": _said(lambda: eb.Problem(model, (x[:0], y[:0]))),
        "data differ": _said(lambda: eb.Problem(model, (x + rank, y))),
        "weights differ": _said(lambda: eb.Problem(network(seed=1 + rank), (x, y))),
    }


def failures() -> dict[str, Any]:
    """A product that fails in the last process, Ctrl-C in the first and in the last one."""
    rank = dist.get_rank() if dist.is_initialized() else 0
    last = dist.get_world_size() - 1 if dist.is_initialized() else 0
    whole = ProblemOperator._own_sum
    found: dict[str, Any] = {}

    def run(at: int, action: Callable[[], None]) -> Any:
        calls = []

        def own_sum(self: ProblemOperator, block: Tensor) -> Tensor:
            calls.append(1)
            if rank == at and len(calls) == 30:
                action()
            return whole(self, block)

        ProblemOperator._own_sum = own_sum  # type: ignore[method-assign]
        try:
            return eb.analyze(network(), samples(), k=4)
        finally:
            ProblemOperator._own_sum = whole  # type: ignore[method-assign]

    def fail() -> None:
        raise RuntimeError("the card fell off")

    def out_of_memory() -> None:
        raise torch.OutOfMemoryError("no room")

    def interrupt() -> None:
        signal.signal(signal.SIGINT, signal.getsignal(signal.SIGINT))
        os.kill(os.getpid(), signal.SIGINT)

    found["fails"] = _said(lambda: run(last, fail))
    found["memory"] = _said(lambda: run(last, out_of_memory))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    found["interrupted"] = run(0, interrupt).provenance.outcome
    if last:
        found["ignored"] = _numbers(run(last, interrupt))["eigenvalues"]
    found["afterwards"] = run(-1, fail).eigenvalues
    return found


JOBS: dict[str, Callable[[], Any]] = {
    job.__name__: job
    for job in (
        operators,
        streamed,
        divided_already,
        analyses,
        single,
        others,
        mistakes,
        failures,
    )
}

# What three processes do in addition: it takes the same paths in two.
OF_THREE = ("streamed", "divided_already", "analyses", "others")


def reading() -> list[int]:
    """How many samples this process reads of a streamed data set, in one pass."""
    images = Images()
    problem = eb.Problem(network(), images, cache_bytes=0)
    images.read.clear()
    list(problem.samples.own_batches(100))
    return sorted(images.read)


def limited() -> dict[str, Any]:
    """Eigenvalues where every process has a limit of its own."""
    rank = dist.get_rank() if dist.is_initialized() else 0
    limit = psutil.Process().memory_info().rss + (300 + 200 * rank) * 10**6
    problem = eb.Problem(network(), samples(), memory_limit=limit)
    values = eb.top_eigenpairs(eb.HessianOperator(problem), 3).values
    return {"free": problem.network.memory.free, "values": values}


def commands(folder: Path, rank: int, count: int) -> list[tuple[Any, str, str]]:
    """Exit code, stdout and stderr of commands, as in processes that a launcher has started."""
    launched = {"RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "here", "MASTER_PORT": 1}
    os.environ.update({name: str(value) for name, value in launched.items()})
    os.chdir(folder)
    dist.barrier()
    analyze = ["analyze", "my_model:build", "--data"]
    lines = (
        [*analyze, "my_model:nothing"],
        [*analyze, "my_model:data", "--k", "0"],
        [*analyze, "my_model:data", "--wrong"],
        ["list", "--json"],
    )
    said = []
    for line in lines:
        out, err, sys.argv = io.StringIO(), io.StringIO(), ["eigenboundary", *line]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code: Any = 0
            try:
                command_line()
            except SystemExit as error:
                code = error.code or 0
        said.append((code, out.getvalue(), err.getvalue()))
    return said


def process(rank: int, count: int, folder: Path) -> None:
    """All that one of so many processes does."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=count
    )
    jobs = {name: job for name, job in JOBS.items() if count == 3 or name not in OF_THREE}
    found: dict[str, Any] = {name: job() for name, job in jobs.items()}
    found["reading"] = reading()
    found["limited"] = limited()
    found["commands"] = commands(folder, rank, count)
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


def main() -> None:
    """Fork the processes, which is quicker than to import torch and others in each of them."""
    for name in ("pandas", "torch._dynamo", "torch.fx.experimental.proxy_tensor"):
        importlib.import_module(name)
    for folder in map(Path, sys.argv[1:]):
        count = int(folder.name)
        children = []
        for rank in range(count):
            child = os.fork()
            if not child:
                code = 1
                try:
                    process(rank, count, folder)
                    code = 0
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(code)
            children.append(child)
        codes = [os.waitpid(child, 0)[1] for child in children]
        if any(codes):
            sys.exit(1)


if __name__ == "__main__":
    main()
