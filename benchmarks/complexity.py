"""Which number follows the complexity of a boundary that is known: 448 networks in the plane.

Each network learns one of 56 tasks. A fine grid tells how long its boundary is and how much it
turns; every number that could measure it is computed beside, trivial rivals too. The numbers were
chosen on the networks of every other task, and are judged on the rest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import contourpy
import numpy as np
import pandas as pd
import torch
from joblib import Memory, Parallel, delayed
from numpy.typing import NDArray
from scipy.stats import kendalltau
from torch import nn

from benchmarks.boundary_numbers import VERSION, numbers_of
from benchmarks.boundary_tasks import Task, tasks
from eigenboundary.experiments.threads import one_thread

#: Finished networks, so that an interrupted run goes on where it stopped.
CACHE = Path(os.environ.get("EIGENBOUNDARY_BENCHMARKS", Path.home() / ".cache" / "eigenboundary"))
_TAUS = Path(__file__).parents[1] / "docs" / "complexity.csv"

_GRID = 400
_MOST_STEPS = 4000
_DRAWS = 500

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
}


@dataclass(frozen=True)
class Setting:
    """How a network is built and trained."""

    activation: str
    width: int = 50
    depth: int = 2
    batch_norm: bool = False
    n: int = 400
    loss: float = 0.01
    optimizer: str = "adam"
    seed: int = 0


def settings(index: int) -> list[Setting]:
    """The settings of a task's networks: one an activation, and four of every other kind."""
    rng = np.random.default_rng([index, 7])
    usual = [Setting(name, seed=index) for name in _ACTIVATIONS]
    varied = [
        Setting(
            activation=str(rng.choice(list(_ACTIVATIONS))),
            width=int(rng.choice([20, 50, 100, 200])),
            depth=int(rng.integers(1, 5)),
            batch_norm=bool(rng.random() < 0.25),
            n=int(rng.choice([100, 200, 400, 800, 2000])),
            loss=float(rng.choice([0.1, 0.01, 0.001, 0.0001])),
            optimizer=str(rng.choice(["adam", "sgd"])),
            seed=1000 + 10 * index + i,
        )
        for i in range(4)
    ]
    return usual + varied


def trained(task: Task, setting: Setting) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A network trained to the loss, or as far as it comes, on all samples at once."""
    torch.manual_seed(setting.seed)
    inputs, labels = task.sample(setting.n)
    x, y = torch.tensor(inputs, dtype=torch.float32), torch.tensor(labels)
    layers: list[nn.Module] = []
    size = 2
    for _ in range(setting.depth):
        layers.append(nn.Linear(size, setting.width))
        if setting.batch_norm:
            layers.append(nn.BatchNorm1d(setting.width))
        layers.append(_ACTIVATIONS[setting.activation]())
        size = setting.width
    model = nn.Sequential(*layers, nn.Linear(size, task.classes))
    train_to(model, x, y, setting.loss, setting.optimizer)
    return model.eval().double(), x.double(), y


def train_to(
    model: nn.Module, x: torch.Tensor, y: torch.Tensor, loss: float, optimizer: str = "adam"
) -> None:
    """Train on all samples at once until the loss is reached, or as far as it comes."""
    if optimizer == "adam":
        steps: torch.optim.Optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    else:
        steps = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(steps, _MOST_STEPS, eta_min=1e-4)
    for _ in range(_MOST_STEPS):
        steps.zero_grad()
        value = nn.functional.cross_entropy(model(x), y)
        if float(value.detach()) <= loss:
            break
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        steps.step()
        schedule.step()


def truth(model: nn.Module) -> dict[str, float]:
    """Length and turning of the boundary within the square, from a grid."""
    axis = np.linspace(-1, 1, _GRID)
    grid = torch.tensor(np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2))
    with torch.no_grad():
        outputs = model(grid).numpy()
    length = turning = 0.0
    for own in range(outputs.shape[1]):
        others = np.delete(outputs, own, axis=1).max(1)
        field = (outputs[:, own] - others).reshape(_GRID, _GRID)
        for line in contourpy.contour_generator(axis, axis, field).lines(0.0):
            # Every piece of boundary is that of two classes.
            length += 0.5 * float(np.hypot(*np.diff(line, axis=0).T).sum())
            turning += 0.5 * _turning(line)
    return {"length": length, "turning": turning}


def _turning(line: NDArray[np.float64], spacing: float = 0.02) -> float:
    """The angles by which a line turns, at points a spacing apart."""
    along = np.concatenate([[0.0], np.hypot(*np.diff(line, axis=0).T).cumsum()])
    at = np.linspace(0, along[-1], max(2, int(along[-1] / spacing)))
    points = np.stack([np.interp(at, along, column) for column in line.T], axis=1)
    steps = np.diff(points, axis=0)
    angles = np.arctan2(steps[:, 1], steps[:, 0])
    return float(np.abs((np.diff(angles) + np.pi) % (2 * np.pi) - np.pi).sum())


def row(task: Task, setting: Setting, version: int) -> dict[str, Any]:
    """Everything about one network; the version is that of the numbers."""
    with one_thread():
        model, x, y = trained(task, setting)
        about = {f"task {k}": v for k, v in asdict(task).items()}
        about |= {f"set {k}": v for k, v in asdict(setting).items()}
        with torch.no_grad():
            predicted = model(x).argmax(1)
        if len(predicted.unique()) < 2:
            return about
        return about | truth(model) | numbers_of(model, x, y, setting.seed)


def _jobs() -> Iterator[tuple[Task, Setting]]:
    # The networks of all tasks come one after the other: a part of them is a fair part.
    every = list(enumerate(tasks()))
    for i in range(len(settings(0))):
        for index, task in every:
            yield task, settings(index)[i]


def rows(processes: int = 2) -> pd.DataFrame:
    """A row for each network; finished ones are kept."""
    kept = Memory(CACHE / "complexity", verbose=0).cache(row)
    done = Parallel(n_jobs=processes)(delayed(kept)(*job, VERSION) for job in _jobs())
    return pd.DataFrame(done)


def _tau(pairs: NDArray[np.float64]) -> float:
    return float(kendalltau(*pairs.T).statistic)


def kendall(table: pd.DataFrame, number: str) -> tuple[float, float, float]:
    """Kendall's τ with the length and its 95 % interval, by drawing tasks anew."""
    held = table[[number, "length", "task"]].dropna()
    of_task = [part.drop(columns="task").to_numpy() for _, part in held.groupby("task")]
    rng = np.random.default_rng(0)
    draws = rng.integers(len(of_task), size=(_DRAWS, len(of_task)))
    drawn = [_tau(np.concatenate([of_task[i] for i in draw])) for draw in draws]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return _tau(np.concatenate(of_task)), float(low), float(high)


def partial_kendall(table: pd.DataFrame, number: str, given: list[str]) -> float:
    """Kendall's τ of a number and the length, given others: from the inverse of all τ."""
    held = table[["length", number, *given]].dropna()
    precision = np.linalg.pinv(held.corr("kendall").to_numpy())
    return float(-precision[0, 1] / np.sqrt(precision[0, 0] * precision[1, 1]))


#: Numbers that grow as a margin shrinks are compared with their sign turned.
_NEGATED = ("median margin", "5 % margin")
_GIVEN = ["loss", "norm", "largest eigenvalue", "negative median margin"]
_ABOUT = ("task", "set ", "T ", "length", "turning", "accuracy", "half", "F / ", "best")


def numbers(table: pd.DataFrame) -> list[str]:
    """Columns that are compared with the truth."""
    return [c for c in table.columns if not c.startswith(_ABOUT) and c not in _NEGATED]


def prepared(table: pd.DataFrame) -> pd.DataFrame:
    """Rows with a boundary, with their half and a name of their task."""
    held = table.dropna(subset=["length"]).copy()
    names = {task: i for i, task in enumerate(tasks())}
    parts = ["task family", "task size", "task classes", "task noise", "task seed"]
    held["task"] = [names[Task(*values)] for values in held[parts].itertuples(index=False)]
    held["half"] = np.where(held["task"] % 2 == 0, "chosen on", "judged on")
    for name in _NEGATED:
        held[f"negative {name}"] = -held[name]
    return held


def taus(held: pd.DataFrame) -> pd.DataFrame:
    """Kendall's τ with the length by number, half and activation, with intervals."""
    found = []
    for half, part in held.groupby("half"):
        groups = {"all": part, **dict(list(part.groupby("set activation")))}
        for name in numbers(held):
            row: dict[str, Any] = {"half": half, "number": name}
            for group, of_group in groups.items():
                row[group], row[f"{group} low"], row[f"{group} high"] = kendall(of_group, name)
            row["turning"] = _tau(part[[name, "turning"]].dropna().to_numpy())
            given = [other for other in _GIVEN if other != name]
            row["partial"] = partial_kendall(part, name, given)
            found.append(row)
    return pd.DataFrame(found).sort_values(["half", "all"], ascending=[True, False])


def complexity() -> dict[str, object]:
    """Kendall's τ of every number with the length of the boundary, on the tasks to judge by."""
    table = rows()
    found = taus(prepared(table))
    found.to_csv(_TAUS, index=False, float_format="%.3f")
    judged = found[found["half"] == "judged on"].set_index("number")
    wanted = ["all", "all low", "all high", *_ACTIVATIONS, "turning", "partial"]
    groups = [group for group in wanted if group in judged]
    result: dict[str, object] = {"networks": int(table["length"].notna().sum())}
    for name, values in judged[groups].iterrows():
        result[str(name)] = {group: round(float(values[group]), 3) for group in groups}
    return result
