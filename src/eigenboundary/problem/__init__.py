"""A network and its samples as functions of one flat parameter vector θ."""

from eigenboundary.problem.losses import Loss
from eigenboundary.problem.problem import Problem

__all__ = ["Loss", "Problem"]
