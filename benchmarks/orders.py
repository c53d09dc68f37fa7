"""Do the numbers move as they must where no boundary is known: classes, wrong labels, starts.

Pairs of networks differ in one thing that makes one boundary the more complex: more classes of the
same images, wrong labels learnt by heart, the paper's three starts. A number is worth the share of
pairs that it puts in the right order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from joblib import Memory, Parallel, delayed
from sklearn.datasets import load_digits, make_moons
from torch import Tensor, nn

from benchmarks.boundary_numbers import VERSION, numbers_of
from benchmarks.complexity import CACHE, numbers, train_to
from eigenboundary.experiments import datasets
from eigenboundary.experiments.threads import one_thread
from eigenboundary.experiments.train import train_experiment
from eigenboundary.experiments.training import train

_TABLE = Path(__file__).parents[1] / "docs" / "orders.csv"

_CLASSES = (2, 3, 5, 10)
_NOISES = (0.0, 0.1, 0.3)
_STARTS = ("normal", "large-norm", "adversarial")
_SEEDS = {"digits": 4, "mnist": 4, "moons, ReLU": 10, "moons, tanh": 10, "starts": 10}
_IMAGES, _MOONS, _TESTED = 400, 200, 5000
# Radius of the attacks in robust training, in inputs' units.
_RADIUS = {"digits": 0.5, "mnist": 0.5, "moons, ReLU": 0.15, "moons, tanh": 0.15}


def lacking() -> str:
    """What this machine lacks to run it; empty if nothing."""
    if "EIGENBOUNDARY_DATA" not in os.environ:
        return "EIGENBOUNDARY_DATA must name the folder with mnist/; it is not set."
    return ""


@dataclass(frozen=True)
class Case:
    """One network: its data, and what makes its boundary more or less complex."""

    data: str
    seed: int
    classes: int = 2
    noise: float = 0.0
    robust: bool = False
    start: str = ""


def cases() -> Iterator[Case]:
    """The networks, seed after seed: a part of them is a fair part."""
    for seed in range(max(_SEEDS.values())):
        for data in (name for name, seeds in _SEEDS.items() if seed < seeds):
            if data == "starts":
                yield from (Case(data, seed, 3, start=start) for start in _STARTS)
            elif data.startswith("moons"):
                yield from (Case(data, seed, noise=noise) for noise in (0.0, 0.06))
                yield Case(data, seed, robust=True)
            else:
                for classes in _CLASSES:
                    yield from (Case(data, seed, classes, noise) for noise in _NOISES)
                    yield Case(data, seed, classes, robust=True)


def _samples(case: Case) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Inputs and right labels to train on and to test on, the former drawn by the seed."""
    if case.data.startswith("moons"):
        drawn = [
            make_moons(n, noise=0.15, random_state=case.seed + 1000 * (n == _TESTED))
            for n in (_MOONS, _TESTED)
        ]
        (x, y), (test_x, test_y) = ((torch.tensor(x), torch.tensor(y)) for x, y in drawn)
        return x, y, test_x, test_y
    if case.data == "digits":
        images, labels = load_digits(return_X_y=True)
        every, of_every = torch.tensor(images / 16), torch.tensor(labels)
    else:
        folder = Path(os.environ["EIGENBOUNDARY_DATA"]) / "mnist"
        split = datasets.mnist(classes=range(10), per_class=800, directory=folder)
        every = nn.functional.avg_pool2d(split.train[0].double(), 2).flatten(1)
        of_every = split.train[1]
    rng = np.random.default_rng(case.seed)
    order = torch.tensor(rng.permutation(np.flatnonzero(of_every.numpy() < case.classes)))
    # Half is kept to test with, where classes are few.
    n = min(_IMAGES, len(order) // 2)
    own, other = order[:n], order[n : n + _TESTED]
    return every[own], of_every[own], every[other], of_every[other]


def _trained(case: Case) -> tuple[nn.Module, Tensor, Tensor, float]:
    """A trained network, its samples with the labels it learnt, and its test accuracy."""
    if case.start:
        (found,) = train_experiment(f"blobs-{case.start}", [case.seed], folder=CACHE / "starts")
        model, (x, y), (test_x, test_y) = found.model.double(), found.data.train, found.data.test
        test_x = test_x.double()
    else:
        x, right, test_x, test_y = _samples(case)
        rng, y = np.random.default_rng([case.seed, 1]), right.clone()
        wrong = torch.tensor(rng.permutation(len(y))[: round(case.noise * len(y))])
        y[wrong] = (
            y[wrong] + torch.tensor(rng.integers(1, case.classes, len(wrong)))
        ) % case.classes
        torch.manual_seed(case.seed)
        activation = nn.Tanh if case.data.endswith("tanh") else nn.ReLU
        hidden = (50, 50) if case.data.startswith("moons") else (64, 32)
        sizes = [x.shape[1], *hidden]
        layers = [m for a, b in pairwise(sizes) for m in (nn.Linear(a, b), activation())]
        model = nn.Sequential(*layers, nn.Linear(hidden[-1], case.classes))
        if case.robust:
            options: dict[str, Any] = {"epochs": 300, "learning_rate": 5e-3, "optimizer": "adam"}
            radius = _RADIUS[case.data]
            train(model, (x.float(), y), **options, attack_radius=radius, seed=case.seed)
        else:
            train_to(model, x.float(), y, 0.01)
        model = model.eval().double()
    with torch.no_grad():
        right_share = float((model(test_x).argmax(1) == test_y).double().mean())
    return model, x.double(), y, right_share


def row(case: Case, version: int) -> dict[str, Any]:
    """Everything about one network; the version is that of the numbers."""
    with one_thread():
        model, x, y, test_accuracy = _trained(case)
        return {"test accuracy": test_accuracy, **numbers_of(model, x, y, case.seed)}


def rows(processes: int = 2) -> pd.DataFrame:
    """A row for each network, indexed by its case; finished ones are kept."""
    kept = Memory(CACHE / "orders", verbose=0).cache(row)
    every = list(cases())
    done = Parallel(n_jobs=processes)(delayed(kept)(case, VERSION) for case in every)
    table = pd.DataFrame(done, index=pd.Index(every, tupleize_cols=False))
    for name in ("median margin", "5 % margin"):
        table[f"negative {name}"] = -table[name]
    return table


def ordered_pairs() -> Iterator[tuple[str, Case, Case]]:
    """Name what is compared, the network whose boundary is simpler, and the other one."""
    every = list(cases())
    for case in every:
        if case.start:
            later = dict(pairwise(_STARTS)).get(case.start)
            if later is not None:
                yield "starts", case, replace(case, start=later)
            continue
        if case.robust:  # which must not be simpler, but mostly is
            yield f"{case.data}: clean above robust", case, replace(case, robust=False)
        if case.data.startswith("moons"):
            if not case.noise:
                what = f"{case.data}: memorised above {'robust' if case.robust else 'clean'}"
                yield what, case, replace(case, noise=0.06, robust=False)
            continue
        if case.robust:
            yield (
                f"{case.data}: 10 % wrong above robust",
                case,
                replace(case, noise=0.1, robust=False),
            )
            continue
        more_classes = dict(pairwise(_CLASSES)).get(case.classes)
        if more_classes is not None:
            labels = "wrong labels" if case.noise else "right labels"
            yield f"{case.data}: more classes, {labels}", case, replace(case, classes=more_classes)
        more_noise = dict(pairwise(_NOISES)).get(case.noise)
        if more_noise is not None:
            yield f"{case.data}: more wrong labels", case, replace(case, noise=more_noise)


def shares(table: pd.DataFrame) -> pd.DataFrame:
    """The share of pairs that each number puts in the right order, by what is compared."""
    names, found = numbers(table), []
    for what, less, more in ordered_pairs():
        one, other = table.loc[less], table.loc[more]
        found.append({"what": what} | {n: float(other[n] > one[n]) for n in names})
    of_pairs = pd.DataFrame(found)
    result = of_pairs.groupby("what", sort=False).mean()
    result.insert(0, "pairs", of_pairs.groupby("what", sort=False).size())
    return result.T


def orders() -> dict[str, object]:
    """Shares of pairs of networks that every number puts in the right order."""
    found = shares(rows())
    found.to_csv(_TABLE, float_format="%.3f")
    return {str(name): values.round(3).to_dict() for name, values in found.iterrows()}
