"""The paper's figures (arXiv:2306.07104), each in two steps: its numbers, then the drawing.

:mod:`.catalogue` lists them; :mod:`.workshop` keeps what they share, and :mod:`.page` and
:mod:`.panels` hold what their drawings share.
"""

from eigenboundary.experiments.figures.catalogue import (
    FIGURES,
    GROUPS,
    Reproduced,
    figure_names,
    reproduce,
)

__all__ = ["FIGURES", "GROUPS", "Reproduced", "figure_names", "reproduce"]
