"""What adversarial training does to the boundary: its sections, its margins, its complexity.

For each data set networks of the configuration `…-robust` and their twins, trained by the same plan
without the attack. All numbers are means over seeds with bootstrap intervals; the difference is
that of twins, which share their data, their initial weights and the order of the samples.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed

import eigenboundary as eb
from benchmarks.jobs import timed
from benchmarks.minimal_norm import InUnits, attacked, minimal_norm_attacks
from eigenboundary.boundary import BoundarySections
from eigenboundary.experiments import TrainedNetwork, load_config, train_experiment
from eigenboundary.experiments.claims.statistics import bootstrap_interval
from eigenboundary.experiments.threads import one_thread
from eigenboundary.experiments.training import TrainingPlan

_K, _TOP = 10, 3
_PGD_STEPS = 100
# Distances of one point differ by this much with the order of summation.
_ROUNDING = 1e-4


@dataclass(frozen=True)
class _Data:
    """A data set: its configuration, and how much of it is measured; the folder of its files."""

    config: str
    seeds: int
    samples: int
    folder: str | None = None


_DATA = (
    _Data("blobs-robust", 5, 60),
    _Data("digits-robust", 3, 40),
    _Data("mnist-robust", 3, 20, "mnist"),
)


def robustness() -> dict[str, object]:
    """Twins with and without the attack, by data set; MNIST where EIGENBOUNDARY_DATA is set."""
    here = [d for d in _DATA if d.folder is None or "EIGENBOUNDARY_DATA" in os.environ]
    todo = [(data, seed) for data in here for seed in range(data.seeds)]
    jobs = Parallel(n_jobs=min(2, os.cpu_count() or 1))
    # The longest first, so that no core waits for it at the end.
    done = jobs(delayed(_twins)(*each) for each in reversed(todo))
    found = dict(zip(reversed(todo), done, strict=True))
    return {d.config: _summed(d, [found[d, seed] for seed in range(d.seeds)]) for d in here}


def _summed(data: _Data, pairs: list[dict[str, Any]]) -> dict[str, object]:
    return {
        "radius": load_config(data.config).training.attack_radius,
        "seeds": data.seeds,
        "samples": data.samples,
        **{name: _summary([p["numbers"][name] for p in pairs]) for name in pairs[0]["numbers"]},
        **{name: _mean([p["between"][name] for p in pairs]) for name in pairs[0]["between"]},
        "sections_of_seed_0": pairs[0]["sections"],
    }


def _summary(values: list[tuple[float, float]]) -> dict[str, str]:
    """Normal, robust and their difference, each as mean and interval over the seeds."""
    known = np.array([pair for pair in values if np.isfinite(pair).all()]).reshape(-1, 2)
    if not len(known):
        return {}
    normal, robust = known.T
    found = {"normal": _mean(normal), "robust": _mean(robust), "difference": _mean(robust - normal)}
    if len(known) < len(values):
        found["seeds"] = f"{len(known)} of {len(values)}"
    return found


def _mean(values: Any) -> str:
    low, high = bootstrap_interval(values)
    return f"{np.mean(values):.3g} [{low:.3g}, {high:.3g}]"


# ------------------------------------------------------------------------------------ one seed


def _twins(data: _Data, seed: int) -> dict[str, Any]:
    """The numbers of both networks, and what their boundaries have in common."""
    robust = load_config(data.config)
    rest = {k: v for k, v in dict(robust.training).items() if not k.startswith("attack_")}
    attack, overrides = robust.training.attack, None
    if data.folder is not None:
        overrides = {"directory": str(Path(os.environ["EIGENBOUNDARY_DATA"]) / data.folder)}
    with one_thread():
        both = []
        for config in (robust.model_copy(update={"training": TrainingPlan(**rest)}), robust):
            seconds, (network,) = timed(
                lambda c=config: train_experiment(c, [seed], overrides=overrides)
            )
            numbers, *rest_of_it = _measured(network, attack, data.samples)
            both.append((numbers | {"training_seconds": seconds}, *rest_of_it))
    (of_one, one, vectors), (of_other, other, others) = both
    return {
        "numbers": {name: (of_one[name], of_other[name]) for name in of_one},
        "between": {
            "class_pairs_in_common": _in_common(one.class_pairs.sum(1), other.class_pairs.sum(1)),
            "sections_in_common": _in_common(one.class_pairs, other.class_pairs),
            "top_eigenspaces_in_common": float(np.square(vectors.T @ others).sum() / _TOP),
        },
        "sections": {"normal": _listed(one), "robust": _listed(other)},
    }


def _in_common(one: Any, other: Any) -> float:
    """What two tables of shares have in common: Σ min(p, q), one for the same table."""
    return float(np.minimum(*one.align(other, fill_value=0.0)).to_numpy().sum())


def _listed(sections: BoundarySections) -> list[str]:
    return [
        f"v_{s.eigenvector + 1}: classes {s.classes}, {s.share:.0%}, margin {s.margin:.3g}"
        for s in sections
        if s.share > 0
    ]


def _measured(
    network: TrainedNetwork, attack: Any, samples: int
) -> tuple[dict[str, float], BoundarySections, np.ndarray]:
    x, y = network.data.train
    model = network.model.eval()
    box = attack.geometry.box
    analysis = eb.analyze(model, (x, y), k=_K, dtype="float64", grid=0, test_data=network.data.test)
    sections = eb.boundary_sections(analysis, box=box, seed=network.seed)
    smallest = eb.smallest_margin(analysis, box=box, seed=network.seed)
    complexity = analysis.complexity
    numbers = {
        "train_accuracy": analysis.accuracy,
        "test_accuracy": analysis.test_accuracy,
        "robust_test_accuracy": _robust_accuracy(network, attack),
        "loss": analysis.loss_value,
        **_gauss_newton(network, sections),
        "smallest_margin": smallest.value,
        **_margins(network, box, samples),
        "effective_number": complexity.effective_number,
        "mass_outside": complexity.mass_outside,
        "outliers": float(analysis.outliers),
        "largest_eigenvalue": float(analysis.eigenvalues[0]),
        "sections_with_a_share": float(sum(s.share > 0 for s in sections)),
        "largest_share": max(s.share for s in sections),
        "share_of_top_3": sum(s.share for s in sections[:_TOP]),
        "overlap_of_top_3": float(sections.overlap[:_TOP, :_TOP][np.triu_indices(_TOP, 1)].mean()),
        "unexplained": sections.unexplained,
        "median_section_margin": float(
            np.nanmedian([s.margin for s in sections if s.share > 0] or [np.nan])
        ),
    }
    return numbers, sections, np.array(analysis.eigenvectors[:, :_TOP], dtype=np.float64)


def _gauss_newton(network: TrainedNetwork, sections: BoundarySections) -> dict[str, float]:
    """The same by the Gauss–Newton matrix.

    A robust network is at no minimum of the loss of the samples themselves, where the two matrices
    would agree: this tells whether a difference is due to that.
    """
    x, y = network.data.train
    analysis = eb.analyze(
        network.model, (x, y), k=_K, curvature="gauss_newton", dtype="float64", grid=0
    )
    aligned = analysis.alignment(sections.points.points)
    return {
        "unexplained_gauss_newton": float((np.square(aligned).sum(1) < 0.5).mean()),
        "mass_outside_gauss_newton": analysis.complexity.mass_outside,
        "effective_number_gauss_newton": analysis.complexity.effective_number,
    }


def _margins(network: TrainedNetwork, box: Any, samples: int) -> dict[str, float]:
    """Refined margins of some training samples, beside the nearer of two attacks' points."""
    x = network.data.train[0]
    problem = eb.Problem(network.model, network.data.train, dtype="float64")
    found = eb.boundary_distance(problem, x[:samples], box=box, seed=network.seed)
    ours = np.where(found.converged, found.value, np.nan)
    model = InUnits(network.model, box, torch.float64)
    nearer = np.min([attacked(model, x[:samples], a) for a in minimal_norm_attacks().values()], 0)
    ratio = ours / nearer
    return {
        "median_margin": float(np.nanmedian(ours)),
        "median_of_attacks": float(np.median(nearer)),
        "ours_over_attacks": float(np.nanmedian(ratio)),
        "ours_no_larger": float((ratio <= 1 + _ROUNDING).mean()),
        "margins_converged": float(found.converged.mean()),
    }


def _robust_accuracy(network: TrainedNetwork, attack: Any) -> float:
    """Accuracy on test samples that foolbox's PGD may move by the radius of the training."""
    import foolbox

    x, y = network.data.test
    model = InUnits(network.model, attack.geometry.box, torch.float64)
    radius = attack.radius / model.width
    # By the steps of Madry et al. (2018) for this norm.
    pgd = foolbox.attacks.L2PGD(steps=_PGD_STEPS, abs_stepsize=2.5 * radius / _PGD_STEPS)
    torch.manual_seed(network.seed)
    _, _, misled = pgd(model.for_foolbox(), model.units(x), y, epsilons=radius)
    return 1 - float(misled.double().mean())
