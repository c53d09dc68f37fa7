"""Make the pictures of the README: ``python -m docs.make_images``, from the repository root."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

import eigenboundary as eb
from benchmarks.jobs import gauss_normal

if __name__ == "__main__":
    model, data, _ = gauss_normal()
    analysis = eb.analyze(model, data, k=10, grid=250)
    figure = Figure()
    eb.PlaneDisplay.from_analysis(analysis, ax=figure)
    figure.savefig(
        Path(__file__).parent / "images" / "gauss_normal.png", dpi=110, bbox_inches="tight"
    )
