"""Training small classifiers, one or many at once, in the regimes that the paper compares."""

from eigenboundary.experiments.training.evaluation import evaluate
from eigenboundary.experiments.training.loop import train, train_many
from eigenboundary.experiments.training.plan import TrainingPlan
from eigenboundary.experiments.training.regimes import (
    parameter_norm,
    permuted_labels,
    scaled_to_norm,
)
from eigenboundary.experiments.training.run import TrainingResult

__all__ = [
    "TrainingPlan",
    "TrainingResult",
    "evaluate",
    "parameter_norm",
    "permuted_labels",
    "scaled_to_norm",
    "train",
    "train_many",
]
