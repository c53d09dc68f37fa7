"""Images from OpenML, where there is a network; kept in scikit-learn's data folder."""

from __future__ import annotations

import warnings
from http.client import HTTPException

import numpy as np
from numpy.typing import NDArray

from eigenboundary.runtime.errors import InvalidInputError


def fetch(
    name: str, item_shape: tuple[int, ...], what: str
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pixels and labels of the first version of an OpenML data set.

    Raises
    ------
    InvalidInputError
        If OpenML cannot be reached or sends something else: a ``directory`` is then needed.
    """
    from sklearn.datasets import fetch_openml

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "A network error occurred")  # told below, once
            x, y = fetch_openml(name, version=1, return_X_y=True, as_frame=False, n_retries=1)
        return np.asarray(x, np.uint8).reshape(-1, *item_shape), np.asarray(y).astype(np.int64)
    except (OSError, HTTPException, ValueError, ImportError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:100].rstrip(".")
        raise InvalidInputError(
            "directory", f"name a folder with {what} unless OpenML sends them", f"None ({reason})"
        ) from None
