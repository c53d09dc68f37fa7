"""The paper's claims, tested over seeds."""

from eigenboundary.experiments.claims.claims import CLAIMS, Claim, ClaimResult, judge
from eigenboundary.experiments.claims.statistics import Threshold, bootstrap_interval, verdict
from eigenboundary.experiments.claims.study import check_claims

__all__ = [
    "CLAIMS",
    "Claim",
    "ClaimResult",
    "Threshold",
    "bootstrap_interval",
    "check_claims",
    "judge",
    "verdict",
]
