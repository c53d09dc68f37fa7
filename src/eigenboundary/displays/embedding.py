"""Alignment on a two-dimensional embedding, for inputs of any shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from eigenboundary.displays import style
from eigenboundary.displays.arguments import (
    check_alignment,
    check_labels,
    eigenvectors_shown,
    names_of_classes,
    numbers,
)
from eigenboundary.runtime.arguments import check_choice, check_seed
from eigenboundary.runtime.errors import InvalidInputError

if TYPE_CHECKING:
    from eigenboundary.analysis.result import Analysis


_METHODS = ("pca", "tsne")
_PCA_BEFORE_TSNE = 50


def embed(inputs: ArrayLike, method: str = "pca", seed: int = 0) -> NDArray[np.float64]:
    """Two coordinates for each input.

    Parameters
    ----------
    inputs : array, shape (n, d)
        At least three samples.
    method : {"pca", "tsne"}
    seed : int

    Returns
    -------
    array, shape (n, 2)

    Raises
    ------
    InvalidInputError
        If the method is unknown or there are fewer than three samples.

    Examples
    --------
    >>> import numpy as np
    >>> embed(np.eye(4)).shape
    (4, 2)
    """
    check_choice(method, "method", _METHODS)
    check_seed(seed)
    x = numbers(inputs, "inputs", ndim=2)
    if len(x) < 3:
        raise InvalidInputError("inputs", "be at least 3 samples to be embedded", f"{len(x)}")
    if x.shape[1] < 2:
        x = np.column_stack([x, np.zeros((len(x), 2 - x.shape[1]))])
    if method == "pca":
        return _pca(x, 2, seed)
    from sklearn.manifold import TSNE

    # Perplexity must stay below the number of samples.
    perplexity = min(30.0, max(1.0, (len(x) - 1) / 3))
    small = min(len(x), x.shape[1])
    reduced = _pca(x, _PCA_BEFORE_TSNE, seed) if small > _PCA_BEFORE_TSNE else x
    tsne = TSNE(2, perplexity=perplexity, init="random", random_state=seed)
    return np.asarray(tsne.fit_transform(reduced), dtype=np.float64)


def _pca(x: NDArray[np.float64], dimensions: int, seed: int) -> NDArray[np.float64]:
    from sklearn.decomposition import PCA

    return np.asarray(PCA(dimensions, random_state=seed).fit_transform(x))


class EmbeddingDisplay:
    """Samples on an embedding: coloured by class, then by alignment with each eigenvector.

    Parameters
    ----------
    embedding : array, shape (n', 2)
    labels : array of int, shape (n',)
    alignment : array, shape (n', k)
    eigenvalues : array, shape (k,), optional
        Named in the panels' titles.
    method : str
        Named in the first panel's title.
    n_eigenvectors : int, optional
        Panels besides the first; default: the top five.
    class_names : sequence of str, optional

    Attributes
    ----------
    figure_, ax_
        `ax_` is the first panel.
    axes_ : list of Axes
    classes_ : list of PathCollection
        One a class, in the first panel.
    points_ : list of PathCollection
        One an eigenvector; the most aligned samples lie on top.
    colorbar_ : Colorbar

    Raises
    ------
    InvalidInputError
        If the shapes do not fit.
    """

    ax_: Axes
    axes_: list[Axes]
    figure_: Figure
    classes_: list[PathCollection]
    points_: list[PathCollection]
    colorbar_: Colorbar

    def __init__(
        self,
        embedding: ArrayLike,
        labels: ArrayLike,
        alignment: ArrayLike,
        eigenvalues: ArrayLike | None = None,
        *,
        method: str = "embedding",
        n_eigenvectors: int | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.embedding = numbers(embedding, "embedding", ndim=2)
        self.alignment = check_alignment(alignment)
        n, k = self.alignment.shape
        if self.embedding.shape != (n, 2):
            raise InvalidInputError(
                "embedding",
                f"have shape ({n}, 2), a row for each row of alignment",
                f"{self.embedding.shape}",
            )
        self.labels = check_labels(labels, n)
        self.eigenvalues = None if eigenvalues is None else numbers(eigenvalues, "eigenvalues")
        if self.eigenvalues is not None and len(self.eigenvalues) != k:
            raise InvalidInputError(
                "eigenvalues", f"be {k}, one an eigenvector", f"{len(self.eigenvalues)}"
            )
        self.method = method
        self.n_eigenvectors = eigenvectors_shown(n_eigenvectors, k)
        self.class_names = names_of_classes(class_names, int(self.labels.max()) + 1)

    @classmethod
    def from_analysis(
        cls,
        analysis: Analysis,
        method: str = "pca",
        seed: int = 0,
        n_eigenvectors: int | None = None,
        *,
        class_names: Sequence[str] | None = None,
        axes: Any = None,
    ) -> EmbeddingDisplay:
        """Embed the kept training inputs of an analysis by PCA or t-SNE, and draw them.

        Raises
        ------
        InvalidInputError
            If the method is unknown or fewer than three inputs were kept.
        """
        rows = analysis.input_indices
        display = cls(
            embed(analysis.inputs, method, seed),
            analysis.labels[rows],
            analysis.training_alignment[rows],
            analysis.eigenvalues,
            method={"pca": "PCA", "tsne": "t-SNE"}[method],
            n_eigenvectors=n_eigenvectors,
            class_names=class_names,
        )
        return display.plot(axes)

    def plot(self, axes: Any = None) -> EmbeddingDisplay:
        """Draw on ``axes`` (an empty Figure, or axes for each panel), or a new pyplot figure.

        Returns
        -------
        EmbeddingDisplay
            Itself.
        """
        count = 1 + self.n_eigenvectors
        with style.styled():
            self.figure_, self.axes_, own = style.several_axes(axes, count, panel=(3.0, 2.9))
            self.ax_ = self.axes_[0]
            self._draw_classes(self.ax_)
            self.points_ = [
                self._draw_alignment(ax, index) for index, ax in enumerate(self.axes_[1:])
            ]
            self.colorbar_ = style.alignment_colorbar(
                self.figure_, self.points_[0], self.axes_, "alignment $A_i(x_s)$"
            )
            style.class_legend(self.figure_, self.ax_, self.labels, self.class_names, own)
        return self

    @property
    def _size(self) -> float:
        return float(np.clip(4500 / len(self.labels), 6.0, 40.0))

    def _draw_classes(self, ax: Axes) -> None:
        self.classes_ = [
            ax.scatter(
                self.embedding[self.labels == label, 0],
                self.embedding[self.labels == label, 1],
                s=self._size,
                marker=style.class_marker(int(label)),
                color=style.class_color(int(label)),
                edgecolors="white",
                linewidths=0.25,
            )
            for label in np.unique(self.labels)
        ]
        ax.set_title(f"classes, {self.method}")
        self._finish(ax)

    def _draw_alignment(self, ax: Axes, index: int) -> PathCollection:
        values = self.alignment[:, index]
        order = np.argsort(np.abs(values))
        points = ax.scatter(
            self.embedding[order, 0],
            self.embedding[order, 1],
            c=values[order],
            s=self._size,
            cmap=style.ALIGNMENT_MAP,
            norm=style.ALIGNMENT_RANGE,
            edgecolors="#9ca3af",
            linewidths=0.25,
        )
        eigenvalue = None if self.eigenvalues is None else float(self.eigenvalues[index])
        ax.set_title(style.eigenvector_title(index, eigenvalue))
        self._finish(ax)
        return points

    def _finish(self, ax: Axes) -> None:
        ax.set_xticks([])
        ax.set_yticks([])
        ax.margins(0.06)
        for side in ax.spines.values():
            side.set(visible=True, color=style.FAINT)
