"""Experiments: data sets, networks, their training, the paper's figures and claims, the demo."""

from eigenboundary.experiments import datasets, networks, training
from eigenboundary.experiments.config import (
    ExperimentConfig,
    config_names,
    load_config,
    parse_config,
)
from eigenboundary.experiments.train import TrainedNetwork, train_experiment

__all__ = [
    "ExperimentConfig",
    "TrainedNetwork",
    "config_names",
    "datasets",
    "load_config",
    "networks",
    "parse_config",
    "train_experiment",
    "training",
]
