from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

import eigenboundary as eb
from eigenboundary.runtime import precision
from eigenboundary.runtime.precision import full_precision, program_default

BACKENDS = torch.backends


def settings() -> list[Any]:
    """All that says in what precision float32 is computed; None where torch cannot say."""

    def read(setting: Callable[[], Any]) -> Any:
        try:
            return setting()
        except RuntimeError:
            return None

    return [
        *(part.fp32_precision for part, _ in precision._parts()),
        read(torch.get_float32_matmul_precision),
        read(lambda: BACKENDS.cudnn.allow_tf32),
        read(lambda: BACKENDS.cuda.matmul.allow_tf32),
        *(torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda")),
    ]


def is_full() -> bool:
    """Whether float32 is computed as float32."""
    parts = [part.fp32_precision for part, _ in precision._parts()]
    return (
        set(parts) <= {"ieee"}
        and torch.get_float32_matmul_precision() == "highest"
        and not torch.is_autocast_enabled("cpu")
        and not torch.is_autocast_enabled("cuda")
    )


PROGRAMS: dict[str, Callable[[], None]] = {
    "nothing": lambda: None,
    "high": lambda: torch.set_float32_matmul_precision("high"),
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "cudnn": lambda: setattr(BACKENDS.cudnn, "allow_tf32", True),
    "no cudnn": lambda: setattr(BACKENDS.cudnn, "allow_tf32", False),
    "matmul": lambda: setattr(BACKENDS.cuda.matmul, "allow_tf32", True),
    "new matmul": lambda: setattr(BACKENDS.cuda.matmul, "fp32_precision", "tf32"),
    "new convolutions": lambda: setattr(BACKENDS.cudnn.conv, "fp32_precision", "ieee"),
    "bfloat16": lambda: setattr(BACKENDS.mkldnn.conv, "fp32_precision", "bf16"),
    "all": lambda: setattr(BACKENDS, "fp32_precision", "tf32"),
}


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Change the settings for GPUs, too; there are no computations in these tests."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


@pytest.fixture(params=PROGRAMS)
def program(request: pytest.FixtureRequest, as_on_a_gpu: None) -> Iterator[str]:
    """What a program may have set; set back after."""
    if not list(precision._parts()) and request.param.startswith(("new", "bf", "all")):
        pytest.skip("this torch has no such setting")
    parts = [BACKENDS, *(part for part, _ in precision._parts())]
    before = [part.fp32_precision for part in parts]
    PROGRAMS[request.param]()
    yield request.param
    BACKENDS.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("highest")
    for part, value in zip(parts, before, strict=True):
        part.fp32_precision = value


def test_whatever_a_program_has_set_is_full_within_and_as_it_was_after(program: str) -> None:
    before = settings()
    with full_precision():
        assert is_full()
        with full_precision():
            assert is_full()
        assert is_full()
    assert settings() == before


def test_settings_are_set_back_after_an_error(program: str) -> None:
    before = settings()
    with pytest.raises(ZeroDivisionError), full_precision():
        raise ZeroDivisionError
    assert settings() == before


@pytest.mark.skipif(not list(precision._parts()), reason="this torch has no such settings")
@pytest.mark.usefixtures("as_on_a_gpu")
def test_what_follows_another_setting_follows_it_again_after() -> None:
    script = [
        "import torch",
        "torch.cuda.is_available = lambda: True",
        "from eigenboundary.runtime import precision",
        "torch.backends.fp32_precision = 'tf32'",
        "with precision.full_precision():",
        "    pass",
        "torch.backends.fp32_precision = 'ieee'",
        "print(*{part.fp32_precision for part, _ in precision._parts()})",
    ]
    command = [sys.executable, "-c", "\n".join(script)]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert finished.stdout.split() == ["ieee"]


def test_nothing_is_changed_for_gpus_where_there_are_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    allowed = BACKENDS.cudnn.allow_tf32
    with full_precision():
        assert BACKENDS.cudnn.allow_tf32 == allowed


def test_the_last_of_several_threads_sets_it_back() -> None:
    before = settings()
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with full_precision():
            entered.set()
            leave.wait()

    thread = threading.Thread(target=other, daemon=True)
    with full_precision():
        thread.start()
        entered.wait()
    assert is_full()
    leave.set()
    thread.join()
    assert settings() == before


class Watching(nn.Module):
    """Notes in what precision its forward and its backward passes are computed."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 3))

    def forward(self, x: Tensor) -> Tensor:
        seen.append(is_full())
        outputs: Tensor = self.inner(x)
        if outputs.requires_grad:
            outputs.register_hook(lambda gradient: seen.append(is_full()))
        return outputs


seen: list[bool] = []


ENTRIES = [
    "problem",
    "predict",
    "hessian",
    "gauss-newton",
    "alignment",
    "trace",
    "distance",
    "points",
    "loss",
    "curve",
    "analyze",
]


def entries(model: nn.Module, data: tuple[Tensor, Tensor]) -> dict[str, Callable[[], object]]:
    problem = eb.Problem(model, data)
    v = torch.ones(problem.n_parameters)
    hessian = eb.HessianOperator(problem)
    return {
        "problem": lambda: eb.Problem(model, data),
        "predict": lambda: problem.network.predict(data[0]),
        "hessian": lambda: hessian @ v,
        "gauss-newton": lambda: eb.GaussNewtonOperator(problem) @ v,
        "alignment": lambda: eb.alignments(problem, data[0], v.unsqueeze(1)),
        "trace": lambda: eb.estimate_trace(hessian, seed=0),
        "distance": lambda: eb.boundary_distance(problem, data[0][:2]),
        "points": lambda: eb.boundary_points(problem, n=10),
        "loss": lambda: eb.loss_along(problem, v, [0.0, 0.1]),
        "curve": lambda: eb.low_loss_curve(
            problem, problem.network.theta, problem.network.theta + 0.01, iterations=2
        ),
        "analyze": lambda: eb.analyze(model, data, k=2, margins=True),
    }


@pytest.mark.parametrize("name", ENTRIES)
def test_every_pass_through_the_network_is_in_full_precision(name: str, blobs: Any) -> None:
    data = torch.tensor(blobs[0]).float(), torch.tensor(blobs[1])
    torch.manual_seed(0)
    model = Watching()
    eb.training.train(model, data, epochs=30, learning_rate=0.1, seed=0)
    job = entries(model, data)[name]
    torch.set_float32_matmul_precision("medium")
    try:
        seen.clear()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            job()
    finally:
        torch.set_float32_matmul_precision("highest")
    assert seen
    assert all(seen)


def test_numbers_do_not_depend_on_autocast(small_model: nn.Module, blobs: Any) -> None:
    plain = eb.analyze(small_model, blobs, k=5, dtype="float32")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = eb.analyze(small_model, blobs, k=5, dtype="float32")
    np.testing.assert_array_equal(plain.eigenvalues, cast.eigenvalues)
    np.testing.assert_array_equal(plain.training_alignment, cast.training_alignment)


class Cast(nn.Module):
    """Autocast within, as some networks are written."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs: Tensor = self.inner(x)
        return outputs.to(x.dtype)


def test_a_network_that_computes_in_half_precision_is_refused_in_float32_only(
    small_model: nn.Module, blobs: Any
) -> None:
    with pytest.raises(eb.InvalidInputError, match=r"^model must compute in the precision of its"):
        eb.Problem(Cast(small_model), blobs, dtype="float32")
    double = eb.Problem(Cast(small_model), blobs, dtype="float64")
    assert double.loss_value == eb.Problem(small_model, blobs, dtype="float64").loss_value


class ByDefault(nn.Module):
    """Makes a tensor where the program's default is."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        places.append(torch.zeros(1).device.type)
        outputs: Tensor = self.inner(x)
        return outputs


places: list[str] = []


def noting_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    places.append(torch.zeros(1).device.type)
    return nn.functional.cross_entropy(outputs, labels, reduction="none")


def noting_output(outputs: Tensor) -> Tensor:
    places.append(torch.zeros(1).device.type)
    return outputs


@pytest.mark.parametrize(
    "given",
    [{"loss": noting_loss}, {"loss": eb.Loss("mine", noting_loss)}, {"output": noting_output}],
    ids=["loss", "a Loss", "output"],
)
def test_a_default_device_is_that_of_other_code_of_the_users(
    small_model: nn.Module, blobs: Any, given: dict[str, Any]
) -> None:
    torch.set_default_device("meta")
    places.clear()
    try:
        eb.analyze(small_model, blobs, k=2, **given)
    finally:
        torch.set_default_device("cpu")
    assert set(places) == {"meta"}


def test_data_are_read_with_the_hosts_memory_as_the_default(small_model: nn.Module) -> None:
    class Made(Dataset[tuple[Tensor, int]]):
        def __len__(self) -> int:
            return 9

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return torch.ones(2) * index, index % 3

    torch.set_default_device("meta")
    try:
        problem = eb.Problem(small_model, Made())
    finally:
        torch.set_default_device("cpu")
    expected = torch.arange(9.0).unsqueeze(1).expand(9, 2)
    torch.testing.assert_close(problem.samples.some_inputs(9)[0], expected)


def test_the_programs_default_is_known_after_a_call_within_another() -> None:
    torch.set_default_device("meta")
    try:
        with full_precision():
            with program_default(), full_precision():
                assert torch.get_default_device().type == "cpu"
            with program_default():
                assert torch.get_default_device().type == "meta"
    finally:
        torch.set_default_device("cpu")


def test_networks_are_trained_alike_whatever_the_default_device(blobs: Any) -> None:
    data = torch.tensor(blobs[0]).float(), torch.tensor(blobs[1])
    torch.manual_seed(0)
    plain, other = (ByDefault(nn.Linear(2, 3)) for _ in range(2))
    other.load_state_dict(plain.state_dict())
    eb.training.train(plain, data, epochs=2, learning_rate=0.1, batch_size=10)
    places.clear()
    torch.set_default_device("meta")
    try:
        eb.training.train(other, data, epochs=2, learning_rate=0.1, batch_size=10)
        permuted = eb.training.permuted_labels(data[1], seed=3)
    finally:
        torch.set_default_device("cpu")
    assert set(places) == {"meta"}
    assert torch.equal(plain.inner.weight, other.inner.weight)
    assert torch.equal(permuted, eb.training.permuted_labels(data[1], seed=3))


def test_places_in_a_landscape_do_not_depend_on_autocast(
    small_model: nn.Module, blobs: Any
) -> None:
    problem = eb.Problem(small_model, blobs, dtype="float32")
    a, b = (torch.randn(problem.n_parameters) for _ in range(2))
    plane = eb.loss_plane(problem, a, b, [0.0], [0.0])
    curve = eb.low_loss_curve(problem, a, b, iterations=1)
    expected = plane.project(a), curve.points([0.3])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = plane.project(a), curve.points([0.3])
    np.testing.assert_array_equal(cast[0], expected[0])
    torch.testing.assert_close(cast[1], expected[1], rtol=0, atol=0)


def test_a_default_device_is_the_networks_own_affair(
    with_margins: eb.Analysis, small_model: nn.Module, blobs: Any
) -> None:
    plain = with_margins
    places.clear()
    torch.set_default_device("meta")
    try:
        found = eb.analyze(ByDefault(small_model), blobs, k=3, margins=True)
    finally:
        torch.set_default_device("cpu")
    np.testing.assert_array_equal(plain.eigenvalues, found.eigenvalues)
    assert plain.sections is not None
    assert found.sections is not None
    for section, expected in zip(found.sections, plain.sections, strict=True):
        assert section.margin == expected.margin
    assert set(places) == {"meta"}
