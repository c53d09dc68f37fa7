"""Eigensolvers of other libraries (the extra `bench`), each as (values, vectors, products)."""

from __future__ import annotations

import copy
import importlib.util
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

Data = tuple[torch.Tensor, torch.Tensor]
Solver = Callable[[torch.nn.Module, Data, int], tuple[np.ndarray, np.ndarray, int]]

#: What a rival is imported as.
PACKAGES = {
    "curvlinops": "curvlinops",
    "hessian_eigenthings": "hessian_eigenthings",
    "pyhessian": "pyhessian",
}


def installed(name: str) -> bool:
    return importlib.util.find_spec(PACKAGES[name]) is not None


def _flat(pieces: Any) -> torch.Tensor:
    return torch.cat([piece.reshape(-1) for piece in pieces])


def plain_product(model: torch.nn.Module, data: Data) -> Callable[[torch.Tensor], torch.Tensor]:
    """Double backward through a graph that is kept, by torch alone."""
    model = copy.deepcopy(model).eval().requires_grad_(True)
    parameters = list(model.parameters())
    loss = cross_entropy(model(data[0]), data[1])
    gradient = _flat(torch.autograd.grad(loss, parameters, create_graph=True))

    def product(vector: torch.Tensor) -> torch.Tensor:
        return _flat(torch.autograd.grad(gradient, parameters, vector, retain_graph=True))

    return product


def curvlinops_operator(model: torch.nn.Module, data: Data) -> Any:
    import curvlinops

    parameters = [p for p in model.parameters() if p.requires_grad]
    return curvlinops.HessianLinearOperator(
        model, torch.nn.CrossEntropyLoss(), parameters, [data], check_deterministic=False
    )


def arpack(tolerance: float) -> Solver:
    """curvlinops' products in SciPy's ARPACK, which has the only BLAS threads beside torch's."""

    def solve(model: torch.nn.Module, data: Data, k: int) -> tuple[np.ndarray, np.ndarray, int]:
        from scipy.sparse.linalg import LinearOperator, eigsh
        from threadpoolctl import threadpool_limits

        products = 0
        operator = curvlinops_operator(model, data)

        def multiply(vector: np.ndarray) -> np.ndarray:
            nonlocal products
            products += 1
            return (operator @ torch.from_numpy(vector.reshape(-1))).numpy()

        p = operator.shape[0]
        start = np.random.default_rng(0).normal(size=p).astype(np.float32)
        wrapped = LinearOperator((p, p), matvec=multiply, dtype=np.float32)
        with threadpool_limits(1, user_api="blas"):
            values, vectors = eigsh(wrapped, k=k, which="LA", tol=tolerance, v0=start)
        return values[::-1], vectors[:, ::-1], products

    return solve


def eigenthings(steps: int) -> Solver:
    """hessian-eigenthings' Lanczos, reorthogonalised."""

    def solve(model: torch.nn.Module, data: Data, k: int) -> tuple[np.ndarray, np.ndarray, int]:
        import hessian_eigenthings as library

        operator = library.HessianOperator(
            model, [data], library.supervised_loss(torch.nn.CrossEntropyLoss())
        )
        found = library.lanczos(
            operator, k=k, max_iter=steps, which="LA", seed=0, reorthogonalize=True
        )
        return found.eigenvalues.numpy(), found.eigenvectors.numpy().T, found.iterations

    return solve


def power_iteration(tolerance: float) -> Solver:
    """PyHessian's power iteration with deflation; its last eigenvectors may be out of order."""

    def solve(model: torch.nn.Module, data: Data, k: int) -> tuple[np.ndarray, np.ndarray, int]:
        import pyhessian

        # The package gives its class the name of the module that holds it.
        library = sys.modules[pyhessian.hessian.__module__]
        products, plain = 0, library.hessian_vector_product

        def counted(*arguments: Any) -> Any:
            nonlocal products
            products += 1
            return plain(*arguments)

        library.hessian_vector_product = counted
        try:
            hessian = pyhessian.hessian(
                copy.deepcopy(model), torch.nn.CrossEntropyLoss(), data=data, cuda=False
            )
            values, vectors = hessian.eigenvalues(maxIter=100, tol=tolerance, top_n=k)
        finally:
            library.hessian_vector_product = plain
        columns = torch.stack([_flat(vector) for vector in vectors], dim=1)
        return np.array(values), columns.detach().numpy(), products

    return solve


#: Settings from loose to strict: the first with which a rival is right is its fastest.
SETTINGS: dict[str, dict[str, Solver]] = {
    "curvlinops": {f"ARPACK, tol={t:g}": arpack(t) for t in (1e-2, 1e-3, 1e-4, 1e-5)},
    "hessian_eigenthings": {
        f"{steps} steps": eigenthings(steps) for steps in (20, 30, 40, 50, 75, 100, 150)
    },
    # Stricter ones take a thousand products and more, and are not right either.
    "pyhessian": {"its defaults": power_iteration(1e-3)},
}
