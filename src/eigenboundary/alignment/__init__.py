"""The reinforcing gradient g(x), its alignments A_i(x), their error bounds and the complexity."""

from eigenboundary.alignment.complexity import Complexity, Generalization
from eigenboundary.alignment.reinforcing_gradients import alignments

__all__ = ["Complexity", "Generalization", "alignments"]
