"""Several processes end with the numbers of one, all of them alike, whatever goes wrong."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

import eigenboundary as eb
from eigenboundary.runtime import processes as processes_module
from eigenboundary.runtime.processes import Processes, current
from eigenboundary.runtime.random_state import preserved_random_state
from tests.runtime import together

_SECONDS = 240
_ROOT = Path(__file__).parents[2]
_ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{_ROOT / 'src'}:{_ROOT}"}

Found = list[dict[str, Any]]


MODEL = """
import torch
from torch import nn

def build():
    print("built")
    return nn.Sequential(nn.Linear(2, 90), nn.Tanh(), nn.Linear(90, 3))

def data():
    x = torch.randn(31, 2, generator=torch.Generator().manual_seed(0))
    return x, torch.arange(31) % 3
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two and three processes found, in folders of that name."""
    place = tmp_path_factory.mktemp("together")
    folders = [place / "2", place / "3"]
    for folder in folders:
        folder.mkdir()
        (folder / "my_model.py").write_text(MODEL)
    started = subprocess.Popen(
        [sys.executable, "-m", "tests.runtime.together", *map(str, folders)],
        env=_ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        said = started.communicate(timeout=_SECONDS)[1]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
    assert not started.returncode, said
    return place


@pytest.fixture(scope="module", params=[2, 3])
def found(request: pytest.FixtureRequest, folder: Path) -> Found:
    """What each of two, and of three, processes found."""
    return _loaded(folder, request.param)


def _loaded(folder: Path, count: int) -> Found:
    paths = [folder / str(count) / f"{rank}.pt" for rank in range(count)]
    return [torch.load(path, weights_only=False) for path in paths]


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    """What one process finds."""
    return {name: job() for name, job in together.JOBS.items()}


def _compare(ours: Any, expected: Any, places: dict[str, float], where: str = "") -> None:
    """Equal to rounding, which is relative to the largest number of an array."""
    if isinstance(expected, dict):
        assert set(ours) == set(expected), where
        for key in expected:
            _compare(ours[key], expected[key], places, f"{where} {key}")
        return
    a, b = (np.asarray(v.numpy() if isinstance(v, torch.Tensor) else v) for v in (ours, expected))
    assert a.shape == b.shape, where
    assert a.dtype == b.dtype, where
    if a.dtype.kind not in "fc":
        np.testing.assert_array_equal(a, b, err_msg=where)
        return
    small = next((s for part, s in places.items() if part in where), 1e-10)
    scale = np.abs(b[np.isfinite(b)]).max(initial=0)
    np.testing.assert_allclose(a, b, rtol=0, atol=small * max(scale, 1e-300), err_msg=where)


@pytest.fixture(scope="module")
def of_three(folder: Path) -> Found:
    """What each of three processes found."""
    return _loaded(folder, 3)


@pytest.mark.parametrize("job", ["operators", "single"])
def test_several_processes_find_what_one_does(
    found: Found, alone: dict[str, Any], job: str
) -> None:
    _compare_job(found, alone, job)


@pytest.mark.parametrize("job", ["streamed", "divided_already", "others"])
def test_three_processes_find_what_one_does(
    of_three: Found, alone: dict[str, Any], job: str
) -> None:
    _compare_job(of_three, alone, job)


def _compare_job(found: Found, alone: dict[str, Any], job: str) -> None:
    places = {"float32": 2e-6, "eigenvalues": 2e-6 if job == "single" else 1e-10, "loss": 1e-6}
    if job != "single":
        places["loss"] = 1e-12
    # Eigenvectors are as exact as their residual over a gap; searches stop where they are near.
    places |= {"lowest": 1e-6, "margin": 1e-6, "distances": 1e-9}
    for ours in found:
        _compare(ours[job], alone[job], places)


def test_an_analysis_by_several_processes_is_that_of_one(
    of_three: Found, alone: dict[str, Any]
) -> None:
    places = {"lowest": 1e-6, "margins": 1e-6, "smallest": 1e-6}
    places |= dict.fromkeys(("eigenvectors", "alignment", "mass", "effective"), 1e-08)
    for ours in of_three:
        _compare(ours["analyses"]["numbers"], alone["analyses"]["numbers"], places)
        assert ours["analyses"]["solvers"] == {name: name for name in ours["analyses"]["solvers"]}


def test_every_process_holds_the_same_analysis_to_the_last_bit(of_three: Found) -> None:
    for ours in of_three[1:]:
        assert ours["analyses"]["exactly"] == of_three[0]["analyses"]["exactly"]
    provenance = of_three[0]["analyses"]["exactly"]["krylov"]["provenance"]
    assert "in each of 3 processes" in provenance.computed


def test_a_process_reads_its_own_samples_only(found: Found) -> None:
    read = [ours["reading"] for ours in found]
    assert [index for indices in read for index in indices] == list(range(together.N))
    assert max(map(len, read)) - min(map(len, read)) <= 1


def test_processes_with_different_limits_keep_to_the_smallest(
    found: Found, alone: dict[str, Any]
) -> None:
    assert len({ours["limited"]["free"] for ours in found}) == 1
    assert found[0]["limited"]["free"] < 300 * 10**6
    for ours in found:
        _compare(ours["limited"]["values"], alone["others"]["values"], {})


def test_a_mistake_that_one_process_sees_is_said_by_all(
    found: Found, alone: dict[str, Any]
) -> None:
    for ours in found:
        assert ours["mistakes"] == found[0]["mistakes"]
    said = found[0]["mistakes"]
    assert {kind for kind, _ in said.values()} == {"InvalidInputError"}
    for name in ("label", "nan", "one class", "k", "sum", "start", "empty"):
        assert said[name] == alone["mistakes"][name]
    assert said["k here"][1] == "k must be an integer of at least 1, 'all' or 'auto'; got 0."
    assert said["model here"][1].endswith("got NoneType.")
    assert said["pair here"][1].startswith("data must be a pair (x, y)")
    assert "too many" in said["raises here"][1]
    assert said["few"][1] == (
        f"data must hold a sample for each of the {len(found)} processes; got 1."
    )
    assert said["data differ"][1].startswith("data must be the same in all processes")
    assert said["weights differ"][1].startswith("model must have the same weights in all processes")


def test_a_failure_in_one_process_is_raised_in_all_and_none_hangs(
    found: Found, alone: dict[str, Any]
) -> None:
    last = len(found) - 1
    for ours in found:
        _, message = ours["failures"]["fails"]
        assert message == f"process {last}: RuntimeError: the card fell off"
        assert ours["failures"]["memory"] == ("OutOfMemoryError", "no room")
        assert ours["failures"]["interrupted"] == "interrupted"
        for name in ("ignored", "afterwards"):
            _compare(ours["failures"][name], alone["failures"]["afterwards"], {"": 1e-10})


def test_without_a_group_there_is_one_process_that_has_everything() -> None:
    assert current().count == 1
    assert [Processes.part(_ranked(rank, 3), 7) for rank in range(3)] == [(0, 2), (2, 4), (4, 7)]


def _ranked(rank: int, count: int) -> Processes:
    processes = Processes()
    processes.rank, processes.count = rank, count
    return processes


def _torchrun(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", "-m", "eigenboundary", "analyze", "my_model:build"]
    command += ["--data", "my_model:data", "--json", *options]
    return subprocess.run(
        command, cwd=folder, env=_ENVIRONMENT, capture_output=True, text=True, timeout=_SECONDS
    )


def test_the_command_line_under_torchrun_prints_once_and_writes_one_file(tmp_path: Path) -> None:
    (tmp_path / "my_model.py").write_text(MODEL)
    ran = _torchrun(tmp_path, "--k", "3", "--save", "run.safetensors")
    assert ran.returncode == 0, ran.stderr
    printed, summary = ran.stdout.splitlines()
    assert printed == "built"
    assert ran.stderr.count("Saved to") == 1
    saved = eb.load(tmp_path / "run.safetensors")
    assert "in each of 2 processes" in saved.provenance.computed
    names: dict[str, Any] = {}
    exec(MODEL, names)
    with preserved_random_state(0):
        alone = eb.analyze(names["build"](), names["data"](), k=3)
    assert json.loads(summary)["eigenvalues"] == pytest.approx(alone.eigenvalues, rel=1e-5)
    assert json.loads(summary)["accuracy"] == alone.accuracy


def test_commands_in_several_processes_print_once_and_leave_the_exit_code_to_the_first(
    found: Found,
) -> None:
    nothing, none, wrong, listed = found[0]["commands"]
    assert nothing == (
        2,
        "built\n",
        "Error: --data must name something in 'my_model'; it has no 'nothing'.\n",
    )
    assert none == (
        2,
        "",
        "Error: --k must be an integer of at least 1, 'all' or 'auto'; got '0'.\n",
    )
    assert wrong[0] == 2
    assert "--wrong" in wrong[2]
    assert listed[0] == 0
    assert json.loads(listed[1])
    for ours in found[1:]:
        # The first may still be writing, and launchers end all when one has failed.
        assert ours["commands"] == [(0, "", "")] * 4


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices")
def test_two_gpus_find_what_one_cpu_does(tmp_path: Path) -> None:
    (tmp_path / "my_model.py").write_text(MODEL)
    ran = _torchrun(tmp_path, "--device", "cuda", "--k", "3", "--dtype", "float64")
    assert ran.returncode == 0, ran.stderr
    with preserved_random_state(0):
        names: dict[str, Any] = {}
        exec(MODEL, names)
        alone = eb.analyze(names["build"](), names["data"](), k=3, dtype="float64")
    found = json.loads(ran.stdout.splitlines()[1])
    assert found["eigenvalues"] == pytest.approx(alone.eigenvalues, rel=1e-9)
    assert found["accuracy"] == alone.accuracy


@pytest.mark.parametrize(("processes", "nccl"), [(2, True), (4, False)])
def test_processes_use_nccl_if_each_has_a_gpu_of_its_own(
    monkeypatch: pytest.MonkeyPatch, processes: int, nccl: bool
) -> None:
    backends: list[str] = []
    devices: list[int] = []
    monkeypatch.setenv("LOCAL_RANK", str(processes - 1))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", devices.append)
    monkeypatch.setattr(dist, "is_nccl_available", lambda: True)
    monkeypatch.setattr(dist, "init_process_group", backends.append)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)
    with processes_module.joined():
        pass
    assert backends == ["cpu:gloo,cuda:nccl" if nccl else "gloo"]
    assert devices == [1]  # the GPUs are shared out, also where there are fewer
