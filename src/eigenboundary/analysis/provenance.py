"""The provenance of an analysis: how its numbers came about."""

from __future__ import annotations

from dataclasses import dataclass

from eigenboundary.curvature import Outcome


@dataclass(frozen=True)
class Provenance:
    """How the numbers of an analysis came about.

    Attributes
    ----------
    versions : dict
        Versions of eigenboundary, torch, numpy and Python.
    seed : int
    dtype, device : str
    solver, reason : str
        The eigensolver, and why it was chosen.
    tolerance : float
        Relative residual asked of the eigenpairs.
    products : int
        Matrix-vector products used.
    seconds : dict
        Seconds by stage.
    outcome : Outcome
        How the search for eigenpairs ended, or that a later stage was interrupted.
    message : str
        Empty, or the outcome in words and numbers.
    fingerprint : str
        Hash of the network's weights and buffers.
    computed : str
        How the products were computed, and why.
    """

    versions: dict[str, str]
    seed: int
    dtype: str
    device: str
    solver: str
    reason: str
    tolerance: float
    products: int
    seconds: dict[str, float]
    outcome: Outcome
    message: str
    fingerprint: str
    computed: str = ""
