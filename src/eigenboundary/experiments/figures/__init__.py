"""The paper's figures (arXiv:2306.07104), each in two steps: its numbers, then the drawing.

========================  ==========================================================
:mod:`.workshop`          networks and analyses, each made once and kept in a folder
:mod:`.page`              a page of a paper, panels placed in inches
:mod:`.panels`            panels that several figures share
:mod:`.toy`               Fig. 1
:mod:`.encoding`          Fig. 2
:mod:`.regimes`           Figs. 3 and 4
:mod:`.margins`           Fig. 5
:mod:`.rows`              Fig. 6; other data sets, losses, subsets of classes
:mod:`.directions`        control directions
:mod:`.gradients`         coherence of gradients
:mod:`.dynamics`          alignment through training
:mod:`.motion`            the boundary along eigenvectors
:mod:`.landscapes`        the loss along directions and between networks
:mod:`.catalogue`         the figures by name
========================  ==========================================================
"""

from eigenboundary.experiments.figures.catalogue import (
    FIGURES,
    GROUPS,
    Reproduced,
    figure_names,
    reproduce,
)

__all__ = ["FIGURES", "GROUPS", "Reproduced", "figure_names", "reproduce"]
