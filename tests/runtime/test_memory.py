from __future__ import annotations

import copy
import pickle
import re
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import Dataset

import eigenboundary as eb
from eigenboundary.boundary import planes, points
from eigenboundary.curvature import top_eigenpairs
from eigenboundary.curvature.eigensolvers.krylov import _plan
from eigenboundary.runtime import memory
from eigenboundary.runtime.memory import Memory, as_bytes
from tests.cases import random_problem

MB = 10**6


def held() -> int:
    """What this process counts as taken before anything is computed."""
    return memory._held(None)


def network(width: int = 120) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(300) % 3
    x = torch.randn(3, 20, generator=generator)[y] + torch.randn(300, 20, generator=generator)
    return eb.networks.build("fnn", inputs=20, classes=3, hidden=(width, width)), (x, y)


@cache
def many_eigenpairs() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """p = 1,883, most of its eigenvalues well above rounding."""
    model, _, _ = random_problem(0, [2, 40, 40, 3], nn.Tanh)
    x = torch.randn(150, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    eb.training.train(model, (x, y), epochs=100, learning_rate=0.1, batch_size=15)
    return model, (x, y)


@pytest.mark.parametrize(
    ("given_value", "expected"),
    [
        (None, None),
        (5, 5),
        (np.int64(7), 7),
        ("12", 12),
        ("2 GB", 2 * 10**9),
        ("1.5GiB", 3 * 2**29),
        ("300 mb", 300 * MB),
        ("4k", 4000),
    ],
)
def test_sizes_are_numbers_of_bytes_or_text_with_a_unit(given_value: Any, expected: Any) -> None:
    assert as_bytes(given_value) == expected


@pytest.mark.parametrize("wrong", [0, -3, True, 2.5, "much", "-1 GB", "2 TB", "", float("nan")])
def test_anything_else_is_refused_by_name(wrong: Any) -> None:
    model, data = network()
    with pytest.raises(eb.InvalidInputError, match=r"^memory_limit must be a number of bytes"):
        eb.analyze(model, data, memory_limit=wrong)


@given(st.integers(50, 10**6), st.integers(0, 40), st.integers(1, 2**33))
def test_all_parts_fit_together(free: int, count: int, usual: int) -> None:
    budget = Memory()
    budget.limit, budget.free = 2 * free * MB, free * MB
    budget.plan(count, MB // 2, "a test")
    assert budget.vectors + budget.kept() + 2 * budget.at_most(usual) <= budget.free
    assert budget.at_most(usual) <= usual


def test_without_a_limit_every_part_is_as_usual() -> None:
    budget = Memory()
    budget.plan(10**9, 10**9, "a test")
    assert budget.at_most(2**40) == budget.kept(2**40) == 2**40
    assert budget.room(8) is None


@pytest.mark.parametrize(
    ("free", "expected"),
    [(2**30, 2**30), (4 * 2**30, 2**30), (2**34, 2**32), (2**40, 2**33)],
    ids=["never less than a gibibyte", "a quarter of four", "of sixteen", "no more than eight"],
)
def test_without_a_limit_a_quarter_of_the_free_memory_may_be_kept(
    monkeypatch: pytest.MonkeyPatch, free: int, expected: int
) -> None:
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.setattr(memory, "_available", lambda device: free)
    assert Memory().kept() == expected
    assert Memory().kept(7) == 7


def test_processes_on_one_machine_share_its_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_available", lambda device: 2**34)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert Memory().kept() == 2**31


def group(folder: Path, limit: str, used: int, cached: int, version: int) -> None:
    """A control group's files."""
    names = [
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ("memory.max", "memory.current", "inactive_file"),
    ][version - 1]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    own = "" if version == 2 else "inactive_file 3\n"
    (folder / "memory.stat").write_text(f"anon 5\n{own}{names[2]} {cached}\nactive_file 7\n")


@pytest.mark.parametrize(
    ("own", "parent", "free"),
    [("5000", "max", 3300), ("max", "4000", 2300), ("5000", "4000", 2300), ("max", "max", 10**6)],
    ids=["its own limit", "its parent's", "the smaller", "none"],
)
@pytest.mark.parametrize("version", [1, 2])
def test_free_memory_is_what_the_control_groups_leave_without_counting_cached_files(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    own: str,
    parent: str,
    free: int,
    version: int,
) -> None:
    root = tmp_path / "memory" if version == 1 else tmp_path
    group(root / "job" / "step", own, 2000, 300, version)
    group(root / "job", parent, 2000, 300, version)
    group(tmp_path.parent, "10", 0, 0, version)  # above all groups
    kind = "memory" if version == 1 else ""
    (tmp_path / "groups").write_text(f"7:cpu,cpuacct:/elsewhere\n3:{kind}:/job/step\n")
    monkeypatch.setattr(memory, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(memory, "_GROUPS_ROOT", tmp_path)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Machine", (), {"available": 10**6}))
    assert memory._available(None) == free


@pytest.mark.parametrize(
    ("groups", "free"),
    [(None, 10**6), (b"\nodd\n0::/j\xff\n", 10**6), (b"0::/job\n", 3000)],
    ids=["no groups", "odd names", "no account of cached files"],
)
def test_free_memory_is_known_whatever_is_said_of_control_groups(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, groups: bytes | None, free: int
) -> None:
    group(tmp_path / "job", "5000", 2000, 0, 2)
    (tmp_path / "job" / "memory.stat").unlink()
    if groups is not None:
        (tmp_path / "groups").write_bytes(groups)
    monkeypatch.setattr(memory, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(memory, "_GROUPS_ROOT", tmp_path)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Machine", (), {"available": 10**6}))
    assert memory._available(None) == free


@pytest.mark.parametrize("limited", [False, True], ids=["no limit", "a limit"])
def test_more_may_be_kept_than_is_usual_if_it_is_asked_for_and_a_limit_leaves_it(
    monkeypatch: pytest.MonkeyPatch, limited: bool
) -> None:
    monkeypatch.setattr(memory, "_available", lambda device: 0)
    model, data = network()
    limit = held() + 100 * MB if limited else None
    problem = eb.Problem(model, data, memory_limit=limit)
    kept = eb.HessianOperator(problem, kept_bytes=2**40)._most_kept
    assert kept < 100 * MB if limited else kept == 2**40


class Unreadable(Dataset[Any]):
    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: int) -> Any:
        raise AssertionError("read before the limit was checked")


def test_a_limit_below_what_is_in_use_is_refused_before_data_are_read() -> None:
    model, _ = network()
    with pytest.raises(eb.InvalidInputError, match=r"^memory_limit must be at least [\d,]+ MB"):
        eb.Problem(model, Unreadable(), memory_limit="10 MB")


def test_numbers_are_the_same_under_a_limit() -> None:
    model, data = network()
    free = eb.Problem(model, data, dtype="float64")
    tight = eb.Problem(model, data, dtype="float64", memory_limit=held() + 60 * MB)
    assert tight.network.samples_per_chunk(10) < free.network.samples_per_chunk(10)
    operators = [eb.HessianOperator(problem) for problem in (free, tight)]
    usual, limited = (top_eigenpairs(operator, 3) for operator in operators)
    assert limited.converged.all()
    torch.testing.assert_close(limited.values, usual.values, rtol=1e-8, atol=0)
    torch.testing.assert_close(
        (limited.vectors * usual.vectors).sum(0).abs(), torch.ones(3).double()
    )
    # What was asked of the solver is what the memory was shared by.
    vector = 8 * free.n_parameters
    assert 0 < operators[1].memory.vectors <= operators[1].memory.room(vector) * vector


def test_the_limit_that_an_error_asks_for_is_enough() -> None:
    model, data = network(500)  # a vector has 1 MB
    with pytest.raises(eb.InvalidInputError) as caught:
        eb.analyze(model, data, k=8, memory_limit=held() + 60 * MB, grid=0, tolerance=1e-2)
    asked = re.match(
        r"memory_limit must be at least ([\d,]+) MB for 8 eigenpairs", str(caught.value)
    )
    assert asked
    # The process itself may have grown meanwhile.
    limit = (int(asked[1].replace(",", "")) + 30) * MB
    analysis = eb.analyze(model, data, k=8, memory_limit=limit, grid=0, tolerance=1e-2)
    assert analysis.converged.all()


def test_all_eigenpairs_are_as_many_as_there_is_room_for() -> None:
    model, data = many_eigenpairs()
    full = eb.analyze(model, data, k=None, grid=0)
    limit = held() + 2 * 7 * 400 * 8 * full.n_parameters
    assert full.k > 400
    analysis = eb.analyze(model, data, k=None, grid=0, memory_limit=limit)
    assert 0 < analysis.k < 400
    assert analysis.converged.all()
    assert analysis.provenance.outcome is eb.Outcome.OUT_OF_MEMORY
    assert "memory_limit holds no more than" in analysis.provenance.message
    largest = np.sort(np.abs(full.eigenvalues))[-analysis.k :]
    np.testing.assert_allclose(np.sort(np.abs(analysis.eigenvalues)), largest, rtol=1e-6)


def test_controls_that_need_all_of_them_are_left_out_with_a_note() -> None:
    model, data = many_eigenpairs()
    analysis = eb.analyze(
        model,
        data,
        k=3,
        grid=0,
        controls=["random_eigenvectors", "random_directions"],
        memory_limit=held() + 2 * 7 * 300 * 8 * 1883,
    )
    assert set(analysis.controls) == {"random_directions"}
    assert any(
        "'random_eigenvectors'" in note and "memory_limit" in note for note in analysis.notes
    )


def test_the_bulk_takes_fewer_products_under_a_limit() -> None:
    model, data = network(200)
    usual = eb.analyze(model, data, k=1, bulk=True, grid=0, tolerance=1e-2)
    limit = held() + 2 * 130 * 4 * usual.n_parameters
    limited = eb.analyze(model, data, k=1, bulk=True, grid=0, tolerance=1e-2, memory_limit=limit)
    assert usual.bulk is not None
    assert limited.bulk is not None
    assert limited.bulk.trace.products < usual.bulk.trace.products
    assert limited.bulk.trace.value == pytest.approx(
        usual.bulk.trace.value, abs=4 * (limited.bulk.trace.error + usual.bulk.trace.error)
    )


class Large(Dataset[Any]):
    """100 MB, if they were kept."""

    def __len__(self) -> int:
        return 500

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        generator = torch.Generator().manual_seed(index)
        return torch.randn(50_000, generator=generator), index % 2


def test_data_are_streamed_and_few_inputs_kept_where_they_would_not_fit() -> None:
    model = nn.Linear(50_000, 2)
    usual = eb.Problem(model, Large())
    limited = eb.Problem(model, Large(), memory_limit=held() + 80 * MB)
    assert usual.samples.in_memory
    assert not limited.samples.in_memory
    assert limited.network.inputs_at_most(500) < 500 == usual.network.inputs_at_most(500)
    assert limited.loss_value == pytest.approx(usual.loss_value, rel=1e-6)


def test_the_gram_route_is_left_where_its_matrices_do_not_fit() -> None:
    model, x, y = random_problem(0, [2, 40, 40, 3], nn.Tanh)
    x, y = x.repeat(30, 1), y.repeat(30)
    usual = top_eigenpairs(eb.GaussNewtonOperator(eb.Problem(model, (x, y))), 2)
    problem = eb.Problem(model, (x, y), memory_limit=held() + 50 * MB)
    limited = top_eigenpairs(eb.GaussNewtonOperator(problem), 2)
    assert (usual.method, limited.method) == ("gram", "krylov")
    torch.testing.assert_close(limited.values, usual.values, rtol=1e-5, atol=0)


@pytest.mark.parametrize("method", ["dense", "gram"])
def test_direct_methods_that_do_not_fit_are_refused(method: str) -> None:
    model, (x, y) = network(100)  # p = 12,503: a dense matrix has 625 MB
    limit = held() + 400 * MB
    problem = eb.Problem(model, (x.repeat(20, 1), y.repeat(20)), memory_limit=limit)
    with pytest.raises(eb.InvalidInputError, match=r"memory_limit must be at least .* for the"):
        top_eigenpairs(eb.GaussNewtonOperator(problem), 3, method=method)


def test_a_start_wider_than_there_is_room_for_is_cut() -> None:
    model, data = many_eigenpairs()
    problem = eb.Problem(model, data, memory_limit=held() + 2 * 7 * 300 * 8 * 1883)
    start = torch.eye(1883, dtype=torch.float64)[:, :700]
    for method in ("krylov", "range"):
        pairs = top_eigenpairs(eb.HessianOperator(problem), 3, method=method, start=start)
        assert pairs.vectors.shape == (1883, 3)


class Keeping:
    """Keeps so much until it is told not to."""

    def __init__(self, budget: Memory) -> None:
        self.budget, self.forgot = budget, 0

    def keep(self, size: int) -> None:
        self.budget.keep(self, size)

    def forget(self) -> None:
        self.forgot += 1


def test_what_one_keeps_is_not_there_for_another_until_it_is_gone() -> None:
    budget = Memory()
    budget.limit = budget.free = 1000 * MB
    one, other = Keeping(budget), Keeping(budget)
    room = budget.kept()
    one.keep(300 * MB)
    other.keep(100 * MB)
    assert budget.kept() == room - 400 * MB
    one.keep(200 * MB)
    assert budget.kept() == room - 300 * MB
    del one
    assert budget.kept() == room - 100 * MB


def test_what_is_kept_gives_way_to_the_eigensolvers_vectors() -> None:
    budget = Memory()
    budget.limit = budget.free = 1000 * MB
    keeping = Keeping(budget)
    keeping.keep(400 * MB)
    budget.plan(2, 100 * MB, "a test")
    assert keeping.forgot == 0
    budget.plan(4, 100 * MB, "a test")
    assert keeping.forgot == 1
    assert budget.kept() == 1000 * MB - 400 * MB - 2 * 150 * MB


def test_a_problem_can_be_pickled_and_copied_with_what_it_limits() -> None:
    budget = Memory()
    budget.limit = budget.free = 1000 * MB
    keeping = Keeping(budget)
    keeping.keep(100 * MB)
    again = pickle.loads(pickle.dumps(budget))
    assert (again.limit, again.free) == (budget.limit, budget.free)
    assert again.kept() == budget.kept() + 100 * MB
    assert copy.deepcopy(budget).free == budget.free


def test_operators_of_one_problem_share_what_may_be_kept() -> None:
    model, (x, y) = network(400)
    data = (x.repeat(40, 1), y.repeat(40))
    limit = held() + 150 * MB
    problem = eb.Problem(model, data, memory_limit=limit)
    vector = torch.ones(problem.n_parameters)
    hessian, other = eb.HessianOperator(problem), eb.GaussNewtonOperator(problem)
    for operator in (hessian, other):
        operator.expect(10**6)
        operator @ vector
    assert hessian.record.kept > other.record.kept
    expected = hessian @ vector
    kept = hessian.record.kept_bytes + other.record.kept_bytes
    assert 0 < kept <= problem.network.memory._unplanned
    problem.network.memory.plan(problem.network.memory.room(MB) or 0, MB, "a test")
    torch.testing.assert_close(hessian @ vector, expected, rtol=1e-4, atol=1e-6)
    assert hessian.record.kept_bytes <= problem.network.memory._unplanned
    assert not other.record.chunks
    hessian.forget()
    assert problem.network.memory.kept() == max(1, problem.network.memory._unplanned)


def test_the_basis_leaves_room_for_what_is_kept_between_products() -> None:
    operator = eb.MatrixOperator(torch.eye(2000, dtype=torch.float64))
    vector = 8 * operator.size

    def planned(room: int) -> int:
        operator.memory.limit = operator.memory.free = 2 * vector * room
        return _plan(operator, 5, "largest", 1e-3, 3, None).capacity_limit

    assert planned(6 * 300) == 300  # half of the vectors' room
    assert planned(130) == 2 * 8 + 20  # more than half of it, and no more than is of use
    assert planned(70) < planned(130)


def test_pictures_and_pairs_are_computed_in_smaller_parts_under_a_limit() -> None:
    model, data = network()
    usual = eb.Problem(model, data)
    limited = eb.Problem(model, data, memory_limit=held() + 60 * MB)
    sizes = [planes._samples(problem.network, 1, 10**5) for problem in (usual, limited)]
    assert sizes[0] == 2**26 // (4 * 10**5) > sizes[1] > 0
    x, first = torch.randn(2000, 500), torch.arange(2000)
    candidates = torch.randint(2000, (2000, 8))
    asked = []
    budget = Memory()
    budget.at_most = lambda usual: asked.append(usual) or usual // 100
    expected = points._distances(x, first, candidates, Memory())
    torch.testing.assert_close(points._distances(x, first, candidates, budget), expected)
    assert asked == [2**26]


def test_a_network_whose_activations_have_no_room_is_refused() -> None:
    model = nn.Sequential(nn.Linear(2, 10**6), nn.Tanh(), nn.Linear(10**6, 2))
    data = torch.randn(2, 2), torch.arange(2)
    with pytest.raises(eb.InvalidInputError, match=r"^memory_limit .* for the activations of one"):
        eb.Problem(model, data, memory_limit=held() + 60 * MB)


PEAK = """
import re, sys
from pathlib import Path
import psutil, torch, eigenboundary as eb
generator = torch.Generator().manual_seed(0)
y = torch.arange(3000) % 10
x = torch.randn(10, 1, 28, 28, generator=generator)[y]
x += torch.randn(x.shape, generator=generator)
model = torch.nn.Sequential(
    torch.nn.Conv2d(1, 16, 3), torch.nn.Tanh(), torch.nn.AvgPool2d(2), torch.nn.Flatten(),
    torch.nn.Linear(16 * 169, 10),
)
limit = psutil.Process().memory_info().rss + 200 * 10**6
problem = eb.Problem(model, (x, y), memory_limit=limit if sys.argv[1] == "limited" else None)
hessian = eb.HessianOperator(problem)
hessian.expect(10**6)
vectors = torch.randn(hessian.size, 2, generator=generator)
for _ in range(2):
    hessian @ vectors
eb.alignments(problem, x[:500], vectors)
status = Path("/proc/self/status").read_text()
print(1024 * int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) / limit)
"""


def peak_over_limit(how: str) -> float:
    command = [sys.executable, "-c", PEAK, how]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(finished.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read as on Linux")
def test_the_peak_of_a_process_is_within_a_fifth_of_the_limit() -> None:
    assert peak_over_limit("unlimited") > 1.2
    assert peak_over_limit("limited") <= 1.2


FREED = """
import numpy as np
from eigenboundary.runtime import memory
# Below the size from which glibc takes memory for one block alone.
blocks = [np.ones(12_000) for _ in range(3_000)]
del blocks[:-1]
budget = memory.Memory()
before = memory._resident()
budget.limit = 2 * before
budget.reclaim()
unchanged = memory._resident()
budget.limit = before // 2
budget.reclaim()
reclaimed = memory._resident()
memory._trim = None  # nothing more to be had until the process has grown
budget.reclaim()
print(unchanged / before, reclaimed / before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the C library may have no such call")
def test_above_the_limit_what_was_freed_goes_back_to_the_system_once() -> None:
    command = [sys.executable, "-c", FREED]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    unchanged, reclaimed = map(float, finished.stdout.split())
    assert unchanged > 0.95
    assert reclaimed < 0.7


def test_every_part_of_the_data_is_preceded_by_a_look_at_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, data = network()
    looks: list[None] = []
    monkeypatch.setattr(Memory, "reclaim", lambda budget: looks.append(None))
    problem = eb.Problem(model, data, batch_size=30)
    assert len(looks) >= 10  # its first pass over them
    looks.clear()
    assert len(list(problem.samples.batches(100))) == len(looks) == 10
    looks.clear()
    assert len(list(problem.network.input_batches(data[0], 20))) == len(looks) == 15


GPU = torch.device("cuda")


def test_parts_are_larger_on_a_gpu_but_no_more_than_their_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "_available", lambda device: 2**34)
    assert Memory(device=GPU).at_most(2**20) == 2**24
    budget = Memory(device=GPU)
    budget.limit = budget.free = 1000 * MB
    assert budget.at_most(2**20) == 2**24
    assert budget.at_most(2**28) == 250 * MB


def test_parts_on_a_gpu_take_no_more_than_a_quarter_of_what_was_free_at_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(memory, "_available", lambda device: 2**31)
    budget = Memory(device=GPU)
    monkeypatch.setattr(memory, "_available", lambda device: 0)
    assert budget.at_most(2**28) == 2**29
    monkeypatch.setattr(memory, "_available", lambda device: 2**31)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert Memory(device=GPU).at_most(2**28) == 2**28


def test_on_a_gpu_a_quarter_of_what_its_processes_leave_free_may_be_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "_available", lambda device: 2**36)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert Memory(device=GPU).kept() == 2**34
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert Memory(device=GPU).kept() == 2**33


def test_what_torch_holds_of_a_gpu_without_using_it_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 9000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 700)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 200)
    assert memory._available(GPU) == 1500


def test_inputs_are_no_more_than_asked_for_on_any_device(
    small_model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_available", lambda device: 2**34)
    problem = eb.Problem(small_model, (torch.randn(9, 2), torch.arange(9) % 3))
    network = replace(problem.network, memory=Memory(device=GPU))
    assert network.inputs_at_most(100) == 100
