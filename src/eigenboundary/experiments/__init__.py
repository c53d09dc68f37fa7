"""Small experiments: data sets, networks, a training loop, and the demo made from them."""

from eigenboundary.experiments.datasets import DataSplit, load
from eigenboundary.experiments.demo import RUNS, DemoRun, run_demo
from eigenboundary.experiments.networks import build
from eigenboundary.experiments.training import TrainingResult, train

__all__ = ["RUNS", "DataSplit", "DemoRun", "TrainingResult", "build", "load", "run_demo", "train"]
