"""The paper's claims as effects with thresholds, stated before anything is measured.

An effect is one number a seed; a claim is supported if the whole bootstrap interval of its mean
lies on the claimed side of the threshold, not supported if none of it does, else undecided.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from eigenboundary.experiments.claims.measures import MEASURES, Numbers
from eigenboundary.experiments.claims.statistics import Threshold, bootstrap_interval, verdict

#: The numbers of one seed, by (measure, configuration).
Measured = Mapping[tuple[str, str], Numbers]


@dataclass(frozen=True)
class Claim:
    """One row of the table.

    Attributes
    ----------
    number : int
        Number of the paper's claim, as the documentation lists them.
    statement : str
    dataset : str
        The configurations that are compared.
    measure : str
        What the effect is.
    needs : tuple of (str, str)
        (measure, configuration) pairs whose numbers give the effect.
    effect : callable
        Function of the numbers of one seed; NaN where they do not determine the effect.
    threshold : Threshold
    """

    number: int
    statement: str
    dataset: str
    measure: str
    needs: tuple[tuple[str, str], ...]
    effect: Callable[[Measured], float]
    threshold: Threshold


@dataclass(frozen=True)
class ClaimResult:
    """The outcome of a claim.

    Attributes
    ----------
    claim : Claim
    effects : tuple of float
        The effects of the seeds that have one.
    effect : float
        The mean effect; NaN without effects.
    interval : (float, float)
        Bootstrap interval of the mean, 95 %.
    verdict : {"supported", "not supported", "undecided"}
    """

    claim: Claim
    effects: tuple[float, ...]
    effect: float
    interval: tuple[float, float]
    verdict: str

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


# ------------------------------------------------------------------------- how effects are made


def _one(
    number: int, statement: str, measure: str, config: str, name: str, text: str, bound: Threshold
) -> Claim:
    """Make a claim about one number of one network."""
    key = (measure, config)
    return Claim(number, statement, config, text, (key,), lambda m: m[key][name], bound)


def _compared(
    number: int, statement: str, more: str, less: str, measure: str, name: str, text: str
) -> Claim:
    """Make a claim that a number rises: by a log₂ ratio, or for claim 3 a difference."""
    keys = (measure, more), (measure, less)
    # One is added to counts, which may be zero.
    added = 1 if name in ("outliers", "eigenvectors_for_95") else 0

    def effect(m: Measured) -> float:
        above, below = (m[key] for key in keys)
        # Where outliers are only bounded from below, the effect is not known.
        if name == "outliers" and not (above["outliers_resolved"] and below["outliers_resolved"]):
            return math.nan
        if number == 3:
            return above[name] - below[name]
        return math.log2((above[name] + added) / (below[name] + added))

    data = f"{less} → {more}"
    return Claim(number, statement, data, text, keys, effect, Threshold(0.0, "above"))


def _preferred(dataset: str, first: str, second: str) -> Claim:
    """Make the claim that the rule prefers the minimum that is right more often."""
    keys = ("minimum", first), ("minimum", second)

    def effect(measured: Measured) -> float:
        one, other = (measured[key] for key in keys)
        if one["accuracy"] == other["accuracy"]:
            return 0.5
        chosen = one if _prefer_first(one, other) else other
        return float(chosen["accuracy"] == max(one["accuracy"], other["accuracy"]))

    return Claim(
        8,
        "complexity, then margin, prefer the minimum that generalizes better",
        dataset,
        "share of seeds in which the preferred one is right more often on 20,000 fresh samples",
        keys,
        effect,
        Threshold(0.5, "above"),
    )


def _prefer_first(one: Numbers, other: Numbers) -> bool:
    """Prefer the simpler boundary, or the wider margin where complexities are within a fifth."""
    ratio = one["effective_number"] / other["effective_number"]
    if not 1 / 1.2 <= ratio <= 1.2:
        return ratio < 1
    return one["margin"] > other["margin"]


def _controls(config: str) -> Claim:
    """Make the claim that no kind of control direction holds most of the alignment."""
    key = ("boundary_mass", config)
    return Claim(
        1,
        "lowest, random eigenvectors and random directions do not",
        config,
        "largest mass in 10 of these",
        (key,),
        lambda m: max(value for kind, value in m[key].items() if kind != "top"),
        Threshold(0.5, "below"),
    )


def _claims() -> tuple[Claim, ...]:
    above, below = partial(Threshold, side="above"), partial(Threshold, side="below")
    claims: list[Claim] = []

    def add(number: int, statement: str, *how: Any) -> None:
        claims.append(_one(number, statement, *how))

    for config in MEASURES["boundary_mass"][1]:
        statement = "top eigenvectors carry most of the squared alignment at boundary points"
        add(1, statement, "boundary_mass", config, "top", "mass in the top 10", above(0.5))
        claims.append(_controls(config))
    for more, less in (
        ("blobs-large-norm", "blobs-normal"),
        ("blobs-adversarial", "blobs-large-norm"),
    ):
        statement = "complexity rises normal < large norm < adversarial"
        for name, text in (
            ("outliers", "outliers"),
            ("generalization", "G_θ (ε = 1e-3)"),
            ("effective_number", "effective number"),
            ("eigenvectors_for_95", "eigenvectors for 95 % of the mass at the boundary"),
        ):
            effect = f"log₂ ratio of {text}"
            claims.append(_compared(2, statement, more, less, "complexity", name, effect))
    same = "with as many classes, a more complex boundary has more outliers"
    more_classes = "with more classes on the same data there are more outliers"
    for statement, more, less, measure in (
        (same, "circles-normal", "hierarchical-two", "outliers"),
        (same, "half-moons-normal", "hierarchical-two", "outliers"),
        (same, "blobs-adversarial", "blobs-normal", "complexity"),
        (more_classes, "hierarchical-four", "hierarchical-two", "outliers"),
    ):
        effect = "difference in outliers"
        claims.append(_compared(3, statement, more, less, measure, "outliers", effect))
    for name, text in (
        ("generalization", "G_θ (ε = 1e-2)"),
        ("effective_number", "effective number"),
        ("trace", "tr H"),
        ("largest_eigenvalue", "λ_1"),
    ):
        for prefix, where in (("", ""), ("normalized_", ", layer-normalised")):
            statement = f"{text}{where} is invariant under reparametrization"
            key = ("reparametrization", "blobs-normal", prefix + name)
            add(4, statement, *key, "largest / smallest over α from 0.1 to 10", below(1.01))
    for config in MEASURES["margins"][1]:
        statement = "the order of the top eigenvectors follows the margin of their sections"
        effect = "Kendall's τ over the top 10"
        add(5, statement, "margins", config, "order", effect, above(0.0))
        for name, text in (
            ("eigenvector", "the sample most aligned with v_1"),
            ("logit_gap", "the sample of smallest logit gap (no Hessian)"),
            ("gradient", "the sample of largest reinforcing gradient (no Hessian)"),
        ):
            statement = f"{text} is among the nearest to the boundary"
            effect = "share of samples that are nearer"
            add(6, statement, "margins", config, f"rank_{name}", effect, below(0.05))
    for config in MEASURES["loss_change"][1]:
        for step in ("0.01", "0.1", "1"):
            statement = f"½ t² Σ λ_i A_i² is the loss' change for a step of t = {step} along g"
            effect = "median relative error"
            add(7, statement, "loss_change", config, f"step_{step}", effect, below(0.1))
    claims.append(_preferred("checkerboard", "checkerboard-normal", "checkerboard-wide"))
    claims.append(_preferred("blobs", "blobs-normal", "blobs-adversarial"))
    return tuple(claims)


#: Every row of the table, in order.
CLAIMS: tuple[Claim, ...] = _claims()
