"""Alignment on a two-dimensional embedding, for inputs of any shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from numpy.typing import ArrayLike, NDArray

from eigenboundary.displays import arguments, style
from eigenboundary.displays.base import Display
from eigenboundary.runtime.arguments import check_choice, check_seed, check_shape, finite_array
from eigenboundary.runtime.errors import InvalidInputError

if TYPE_CHECKING:
    from typing_extensions import Self

    from eigenboundary.analysis.result import Analysis

_METHODS = {"pca": "PCA", "tsne": "t-SNE"}
_PCA_BEFORE_TSNE = 50
#: Fewest samples that can be embedded.
LEAST_SAMPLES = 3


def embed(inputs: ArrayLike, method: str = "pca", seed: int = 0) -> NDArray[np.float64]:
    """Return two coordinates for each input.

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
    check_choice(method, "method", tuple(_METHODS))
    check_seed(seed)
    x = finite_array(inputs, "inputs", ndim=2)
    if len(x) < LEAST_SAMPLES:
        wanted = f"be at least {LEAST_SAMPLES} samples to be embedded"
        raise InvalidInputError("inputs", wanted, f"{len(x)}")
    x = np.pad(x, ((0, 0), (0, max(0, 2 - x.shape[1]))))
    from sklearn.decomposition import PCA

    if method == "pca":
        return np.asarray(PCA(2, random_state=seed).fit_transform(x))
    from sklearn.manifold import TSNE

    # Perplexity must stay below the number of samples.
    perplexity = min(30.0, max(1.0, (len(x) - 1) / 3))
    if min(x.shape) > _PCA_BEFORE_TSNE:
        x = np.asarray(PCA(_PCA_BEFORE_TSNE, random_state=seed).fit_transform(x))
    tsne = TSNE(2, perplexity=perplexity, init="random", random_state=seed)
    return np.asarray(tsne.fit_transform(x), dtype=np.float64)


class EmbeddingDisplay(Display):
    """Samples on an embedding: coloured by class, then by alignment with each eigenvector.

    Parameters
    ----------
    embedding : array, shape (n', 2)
    labels : array of int, shape (n',)
    alignment : array, shape (n', k)
    eigenvalues : array, shape (k,), optional
        Named in the panels' titles.
    method : str
        Name of the embedding in the first panel's title.
    n_eigenvectors : int, optional
        Panels besides the first; default: the top five.
    class_names : sequence of str, optional

    Attributes
    ----------
    classes_ : list of PathCollection
        Samples in the first panel, one collection a class.
    points_ : list of PathCollection
        Samples by eigenvector; the most aligned samples lie on top.
    colorbar_ : Colorbar

    Raises
    ------
    InvalidInputError
        If the shapes do not fit.
    """

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
        self.embedding = finite_array(embedding, "embedding", ndim=2)
        self.alignment = arguments.check_alignment(alignment)
        n, k = self.alignment.shape
        check_shape(self.embedding, "embedding", (n, 2), ", a row for each row of alignment")
        self.labels = arguments.check_labels(labels, n)
        self.eigenvalues = arguments.check_eigenvalues(eigenvalues, k)
        self.method = method
        self.n_eigenvectors = arguments.eigenvectors_shown(n_eigenvectors, k)
        self.class_names = arguments.names_of_classes(class_names, int(self.labels.max()) + 1)
        self._arrange(1 + self.n_eigenvectors, (3.0, 2.9))

    @classmethod
    def from_analysis(
        cls,
        analysis: Analysis,
        method: str = "pca",
        seed: int = 0,
        *,
        ax: Any = None,
        **options: Any,
    ) -> Self:
        """Embed the training inputs that an analysis keeps, and draw them.

        Parameters
        ----------
        analysis : Analysis
        method : {"pca", "tsne"}
        seed : int
        ax, **options
            As for :meth:`AnalysisDisplay.from_analysis`.

        Raises
        ------
        InvalidInputError
            If the method is unknown or fewer than three inputs were kept.
        """
        rows = analysis.input_indices
        given: dict[str, Any] = {
            "embedding": embed(analysis.inputs, method, seed),
            "labels": analysis.labels[rows],
            "alignment": analysis.training_alignment[rows],
            "eigenvalues": analysis.eigenvalues,
            "method": _METHODS[method],
            "class_names": analysis.class_names or None,
        }
        return cls(**given | options).plot(ax)

    def _draw(self) -> None:
        for ax in self.axes_:
            style.bare(ax, frame=True)
            ax.margins(0.06)
        size = float(np.clip(4500 / len(self.labels), 6.0, 40.0))
        how = {"s": size, "linewidths": 0.25}
        self.classes_ = style.scatter_classes(self.ax_, self.embedding, self.labels, **how)
        self.ax_.set_title(f"classes, {self.method}")
        self.points_ = [self._draw_alignment(ax, i, size) for i, ax in enumerate(self.axes_[1:])]
        bar = style.ALIGNMENT_BAR
        self.colorbar_ = self._colorbar(self.points_[0], "alignment $A_i(x_s)$", **bar)
        self._legend(style.class_handles(np.unique(self.labels).tolist(), self.class_names))

    def _draw_alignment(self, ax: Axes, index: int, size: float) -> PathCollection:
        values = self.alignment[:, index]
        order = np.argsort(np.abs(values))
        how = style.ALIGNMENT | {"s": size, "edgecolors": "#9ca3af", "linewidths": 0.25}
        x, y = self.embedding[order].T
        points = ax.scatter(x, y, c=values[order], **how)
        ax.set_title(style.eigenvector_title(index, self.eigenvalues[index]))
        return points
