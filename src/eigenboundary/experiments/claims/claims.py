"""The paper's claims as effects with thresholds, stated before anything is measured.

An effect is one number a seed; a claim is supported if the whole bootstrap interval of its mean
lies on the claimed side of the threshold, not supported if none of it does, else undecided.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from operator import itemgetter
from typing import Any

from eigenboundary.analysis.qualities import BOUNDARY, better_altogether
from eigenboundary.experiments.claims.measures import MEASURES, Numbers
from eigenboundary.experiments.claims.statistics import Threshold, bootstrap_interval, verdict

#: The numbers of one seed, by (measure, configuration).
Measured = Mapping[tuple[str, str], Numbers]


@dataclass(frozen=True)
class Claim:
    """One row of the table."""

    number: int  # of the paper's claim, as the documentation lists them
    statement: str
    dataset: str  # the configurations that are compared
    measure: str  # what the effect is
    needs: tuple[tuple[str, str], ...]  # (measure, configuration) pairs that give the effect
    effect: Callable[[Measured], float]  # NaN where the seed's numbers do not determine it
    threshold: Threshold


@dataclass(frozen=True)
class ClaimResult:
    """The outcome of a claim."""

    claim: Claim
    effects: tuple[float, ...]  # of the seeds that have one
    effect: float  # the mean; NaN without effects
    interval: tuple[float, float]  # bootstrap interval of the mean, 95 %
    verdict: str  # "supported", "not supported" or "undecided"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, with None for an unknown end of the interval."""
        low, high = (bound if math.isfinite(bound) else None for bound in self.interval)
        return {
            "claim": f"{self.claim.number}: {self.claim.statement}",
            "dataset": self.claim.dataset,
            "measure": self.claim.measure,
            "threshold": str(self.claim.threshold),
            "effect": self.effect if self.effects else None,
            "interval": [low, high],
            "n_seeds": len(self.effects),
            "verdict": self.verdict,
        }


def judge(claim: Claim, measured: list[Measured]) -> ClaimResult:
    """Judge a claim by its effects over seeds and their interval."""
    every = (float(claim.effect(numbers)) for numbers in measured)
    effects = tuple(effect for effect in every if not math.isnan(effect))
    if not effects:
        return ClaimResult(claim, (), math.nan, (-math.inf, math.inf), "undecided")
    interval = bootstrap_interval(effects)
    mean = sum(effects) / len(effects)
    return ClaimResult(claim, effects, mean, interval, verdict(interval, claim.threshold))


def _claim(
    number: int,
    statement: str,
    text: str,
    effect: Callable[..., float],
    threshold: Threshold,
    measure: str,
    *configs: str,
    dataset: str = "",
) -> Claim:
    """Make a claim whose effect is a function of a measure's numbers, of each configuration."""
    needs = tuple((measure, config) for config in configs)
    dataset = dataset or " → ".join(reversed(configs))

    def of_seed(measured: Measured) -> float:
        return effect(*(measured[key] for key in needs))

    return Claim(number, statement, dataset, text, needs, of_seed, threshold)


def _largest_control(mass: Numbers) -> float:
    return max(value for kind, value in mass.items() if kind != "top")


def _log_ratio(name: str, above: Numbers, below: Numbers) -> float:
    # One is added to counts, which may be zero.
    if not above[name] * below[name] and name == "boundary_area":
        return math.nan  # no crossing was seen
    added = 1 if name in ("outliers", "boundary_count", "eigenvectors_for_95") else 0
    known = name != "outliers" or not math.isnan(_more_outliers(above, below))
    return math.log2((above[name] + added) / (below[name] + added)) if known else math.nan


def _more(name: str, above: Numbers, below: Numbers) -> float:
    return _more_outliers(above, below) if name == "outliers" else above[name] - below[name]


def _more_outliers(above: Numbers, below: Numbers) -> float:
    # Where outliers are only bounded from below, the effect is not known.
    known = above["outliers_resolved"] and below["outliers_resolved"]
    return above["outliers"] - below["outliers"] if known else math.nan


def _preference(one: Numbers, other: Numbers) -> float:
    """Return 1 where the rule prefers the minimum that is right more often, NaN for none."""
    first = better_altogether(one, other, BOUNDARY)
    if first == better_altogether(other, one, BOUNDARY):
        return math.nan
    if one["accuracy"] == other["accuracy"]:
        return 0.5
    return float(first == (one["accuracy"] > other["accuracy"]))


def _claims() -> Iterator[Claim]:
    above, below = partial(Threshold, side="above"), partial(Threshold, side="below")
    for config in MEASURES["boundary_mass"][1]:
        statement = "top eigenvectors carry most of the squared alignment at boundary points"
        of_config, text = ("boundary_mass", config), "mass in the top 10"
        yield _claim(1, statement, text, itemgetter("top"), above(0.5), *of_config)
        statement = "lowest, random eigenvectors and random directions do not"
        text = "largest mass in 10 of these"
        yield _claim(1, statement, text, _largest_control, below(0.5), *of_config)
    statement = "complexity rises normal < large norm < adversarial"
    regimes = ("blobs-adversarial", "blobs-large-norm", "blobs-normal")
    for more, less in reversed(list(pairwise(regimes))):
        for name, text in (
            ("boundary_area", "the boundary's area"),
            ("boundary_dimension", "boundary dimension"),
            ("boundary_count", "boundary count"),
            ("boundary_rank", "boundary rank"),
            ("outliers", "outliers"),
            ("generalization", "G_θ (ε = 1e-3)"),
            ("effective_number", "effective number"),
            ("eigenvectors_for_95", "eigenvectors for 95 % of the mass at the boundary"),
        ):
            effect, text = partial(_log_ratio, name), f"log₂ ratio of {text}"
            yield _claim(2, statement, text, effect, above(0.0), "complexity", more, less)
    same = "with as many classes, a more complex boundary has {}"
    more_classes = "with more classes on the same data the boundary has {}"
    for statement, *of_configs in (
        (same, "outliers", "circles-normal", "hierarchical-two"),
        (same, "outliers", "half-moons-normal", "hierarchical-two"),
        (same, "complexity", "blobs-adversarial", "blobs-normal"),
        (more_classes, "outliers", "hierarchical-four", "hierarchical-two"),
    ):
        for name, text, larger in (
            ("boundary_area", "the boundary's area", "a larger area"),
            ("boundary_count", "boundary count", "a higher count"),
            ("outliers", "outliers", "more outliers"),
        ):
            effect, difference = partial(_more, name), f"difference in {text}"
            said = statement.format(larger)
            yield _claim(3, said, difference, effect, above(0.0), *of_configs)
    for name, what in (
        ("generalization", "G_θ (ε = 1e-2)"),
        ("effective_number", "effective number"),
        ("trace", "tr H"),
        ("largest_eigenvalue", "λ_1"),
    ):
        for prefix, where in (("", ""), ("normalized_", ", layer-normalised")):
            statement = f"{what}{where} is invariant under reparametrization"
            text, number = "largest / smallest over α from 0.1 to 10", itemgetter(prefix + name)
            of_config = ("reparametrization", "blobs-normal")
            yield _claim(4, statement, text, number, below(1.01), *of_config)
    for config in MEASURES["margins"][1]:
        statement = "the order of the top eigenvectors follows the margin of their sections"
        of_config, text = ("margins", config), "Kendall's τ over the top 10"
        yield _claim(5, statement, text, itemgetter("order"), above(0.0), *of_config)
        for name, what in (
            ("eigenvector", "the sample most aligned with v_1"),
            ("logit_gap", "the sample of smallest logit gap (no Hessian)"),
            ("gradient", "the sample of largest reinforcing gradient (no Hessian)"),
        ):
            statement = f"{what} is among the nearest to the boundary"
            text, rank = "share of samples that are nearer", itemgetter(f"rank_{name}")
            yield _claim(6, statement, text, rank, below(0.05), *of_config)
    for config in MEASURES["loss_change"][1]:
        for step in ("0.01", "0.1", "1"):
            statement = f"½ t² Σ λ_i A_i² is the loss' change for a step of t = {step} along g"
            text, error = "median relative error", itemgetter(f"step_{step}")
            yield _claim(7, statement, text, error, below(0.1), "loss_change", config)
    statement = "the boundary's area and margins prefer the minimum that generalizes better"
    text = "share, of seeds with a preference, in which that one is right more often on fresh data"
    for data, other in (("checkerboard", "wide"), ("blobs", "adversarial")):
        minima = ("minimum", f"{data}-normal", f"{data}-{other}")
        yield _claim(8, statement, text, _preference, above(0.5), *minima, dataset=data)


#: Every row of the table, in order.
CLAIMS: tuple[Claim, ...] = tuple(_claims())
