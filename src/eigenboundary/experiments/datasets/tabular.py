"""The data sets that come with scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eigenboundary.experiments.datasets.split import (
    DataSplit,
    check_labels,
    first_of_each,
    split_by_class,
)
from eigenboundary.runtime.arguments import check_seed


def iris(*, seed: int = 0) -> DataSplit:
    """Load Fisher's irises: four measures of 150 flowers, standardised over the training part.

    Examples
    --------
    >>> iris().class_names
    ('setosa', 'versicolor', 'virginica')
    """
    from sklearn.datasets import load_iris

    check_seed(seed)
    bunch = load_iris()
    rng = np.random.default_rng(seed)
    split = split_by_class(bunch.data, bunch.target, rng, tuple(map(str, bunch.target_names)))
    mean, deviation = split.train[0].mean(0), split.train[0].std(0)
    return split.with_inputs(lambda x: (x - mean) / deviation)


def digits(*, seed: int = 0, classes: Sequence[int] = (0, 1, 7)) -> DataSplit:
    """Load digits of 8×8 pixels in [0, 1], relabelled 0, 1, … in the order of ``classes``.

    Examples
    --------
    >>> split = digits()
    >>> split.train[0].shape, split.class_names
    (torch.Size([270, 1, 8, 8]), ('0', '1', '7'))
    """
    from sklearn.datasets import load_digits

    check_seed(seed)
    wanted = check_labels(classes, "digits")
    bunch = load_digits()
    images, labels = first_of_each(bunch.images[:, None] / 16.0, bunch.target, wanted)
    return split_by_class(images, labels, np.random.default_rng(seed), tuple(map(str, wanted)))
