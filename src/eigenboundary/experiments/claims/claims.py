"""The paper's claims as effects with thresholds, stated before anything is measured.

An effect is one number a seed; a claim is supported if the whole bootstrap interval of its mean
lies on the claimed side of the threshold, not supported if none of it does, else undecided.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
        Of the paper's claim, as the documentation lists them.
    statement : str
    dataset : str
        The configurations that are compared.
    measure : str
        What the effect is.
    needs : tuple of (str, str)
        (measure, configuration) whose numbers the effect is made of.
    effect : callable
        From the numbers of one seed to the effect; NaN where they do not tell it.
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
    """What came out for a claim.

    Attributes
    ----------
    claim : Claim
    effects : tuple of float
        One for each seed that has it.
    effect : float
        Their mean; NaN if there is none.
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
        """Plain values; an end of the interval that is not known is None."""
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
    """Effects over seeds, their interval, and the verdict."""
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
    """The effect is one number of one network."""
    key = (measure, config)
    return Claim(number, statement, config, text, (key,), lambda m: m[key][name], bound)


def _log_ratio(
    number: int, statement: str, measure: str, more: str, less: str, name: str, text: str
) -> Claim:
    """The effect is the binary logarithm of how many times larger a number is."""
    above, below = (measure, more), (measure, less)
    # One is added to counts, which may be zero.
    added = 1 if name in ("outliers", "eigenvectors_for_95") else 0

    def effect(m: Measured) -> float:
        if name == "outliers" and not _counted(m[above], m[below]):
            return math.nan
        return math.log2((m[above][name] + added) / (m[below][name] + added))

    return Claim(
        number,
        statement,
        f"{less} → {more}",
        f"log₂ ratio of {text}",
        (above, below),
        effect,
        Threshold(0.0, "above"),
    )


def _counted(*networks: Numbers) -> bool:
    """Whether the outliers of all are known, and not only a lower bound on their number."""
    return all(numbers["outliers_resolved"] for numbers in networks)


def _difference(number: int, statement: str, more: str, less: str) -> Claim:
    above, below = _outliers_of(more), _outliers_of(less)
    return Claim(
        number,
        statement,
        f"{less} → {more}",
        "difference in outliers",
        (above, below),
        lambda m: (
            m[above]["outliers"] - m[below]["outliers"]
            if _counted(m[above], m[below])
            else math.nan
        ),
        Threshold(0.0, "above"),
    )


def _outliers_of(config: str) -> tuple[str, str]:
    return ("outliers" if config in MEASURES["outliers"][1] else "complexity"), config


def _preferred(dataset: str, first: str, second: str) -> Claim:
    """Whether the rule prefers the minimum that is right more often on fresh samples."""
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
    """The simpler boundary; of boundaries about as simple (within a fifth), the wider margin."""
    ratio = one["effective_number"] / other["effective_number"]
    if not 1 / 1.2 <= ratio <= 1.2:
        return ratio < 1
    return one["margin"] > other["margin"]


def _claims() -> tuple[Claim, ...]:
    above, below = (lambda value: Threshold(value, "above")), (lambda v: Threshold(v, "below"))
    claims: list[Claim] = []
    for config in MEASURES["boundary_mass"][1]:
        key = ("boundary_mass", config)
        claims.append(
            _one(
                1,
                "top eigenvectors carry most of the squared alignment at boundary points",
                *("boundary_mass", config, "top", "mass in the top 10", above(0.5)),
            )
        )
        claims.append(
            Claim(
                1,
                "lowest, random eigenvectors and random directions do not",
                config,
                "largest mass in 10 of these",
                (key,),
                lambda m, key=key: max(v for k, v in m[key].items() if k != "top"),  # type: ignore[misc]
                below(0.5),
            )
        )
    for more, less in (
        ("blobs-large-norm", "blobs-normal"),
        ("blobs-adversarial", "blobs-large-norm"),
    ):
        for name, text in (
            ("outliers", "outliers"),
            ("generalization", "G_θ (ε = 1e-3)"),
            ("effective_number", "effective number"),
            ("eigenvectors_for_95", "eigenvectors for 95 % of the mass at the boundary"),
        ):
            statement = "complexity rises normal < large norm < adversarial"
            claims.append(_log_ratio(2, statement, "complexity", more, less, name, text))
    same = "with as many classes, a more complex boundary has more outliers"
    claims += [
        _difference(3, same, "circles-normal", "hierarchical-two"),
        _difference(3, same, "half-moons-normal", "hierarchical-two"),
        _difference(3, same, "blobs-adversarial", "blobs-normal"),
        _difference(
            3,
            "with more classes on the same data there are more outliers",
            *("hierarchical-four", "hierarchical-two"),
        ),
    ]
    for name, text in (
        ("generalization", "G_θ (ε = 1e-2)"),
        ("effective_number", "effective number"),
        ("trace", "tr H"),
        ("largest_eigenvalue", "λ_1"),
    ):
        for prefix, where in (("", ""), ("normalized_", ", layer-normalised")):
            claims.append(
                _one(
                    4,
                    f"{text}{where} is invariant under reparametrization",
                    *("reparametrization", "blobs-normal", prefix + name),
                    *("largest / smallest over α from 0.1 to 10", below(1.01)),
                )
            )
    for config in MEASURES["margins"][1]:
        claims.append(
            _one(
                5,
                "the order of the top eigenvectors follows the margin of their sections",
                *("margins", config, "order", "Kendall's τ over the top 10", above(0.0)),
            )
        )
        for name, text in (
            ("eigenvector", "the sample most aligned with v_1"),
            ("logit_gap", "the sample of smallest logit gap (no Hessian)"),
            ("gradient", "the sample of largest reinforcing gradient (no Hessian)"),
        ):
            claims.append(
                _one(
                    6,
                    f"{text} is among the nearest to the boundary",
                    *("margins", config, f"rank_{name}", "share of samples that are nearer"),
                    below(0.05),
                )
            )
    for config in MEASURES["loss_change"][1]:
        for step in ("0.01", "0.1", "1"):
            claims.append(
                _one(
                    7,
                    f"½ t² Σ λ_i A_i² is the loss' change for a step of t = {step} along g",
                    *("loss_change", config, f"step_{step}", "median relative error"),
                    below(0.1),
                )
            )
    claims.append(_preferred("checkerboard", "checkerboard-normal", "checkerboard-wide"))
    claims.append(_preferred("blobs", "blobs-normal", "blobs-adversarial"))
    return tuple(claims)


#: Every row of the table, in order.
CLAIMS: tuple[Claim, ...] = _claims()
