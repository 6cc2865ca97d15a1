"""What is read off `estimator_comparison`'s dataset: each estimator at its best step size, and the law of escapes."""

from __future__ import annotations

import numpy as np
import xarray


def tuned(dataset: xarray.Dataset, estimator: str) -> tuple[float, np.ndarray]:
    """Gives the step size at which most runs escape (among equals: with the smallest median), and its times.

    Example:
        >>> times = np.array([[[1.0, np.inf], [5.0, 3.0]]])
        >>> dataset = xarray.Dataset({"time": (("estimator", "rate", "seed"), times)})
        >>> tuned(dataset.assign_coords(estimator=["a"], rate=[0.1, 1.0]), "a")[0]
        1.0
    """
    one = dataset["time"].sel(estimator=estimator).values
    share, middle = np.isfinite(one).mean(axis=1), np.median(one, axis=1)
    best = min(range(len(share)), key=lambda i: (-share[i], middle[i]))
    return float(dataset["rate"][best]), one[best]


def escape_law(dataset: xarray.Dataset) -> tuple[float, float]:
    """Fits odds (e/m)^s to the escapes by Newton's method on the likelihood; gives s and m.

    Example:
        >>> e = np.array([0.1, 0.2])
        >>> shares = {"escaped": (("rare", "rare_seed"), np.array([[1, 0, 0, 0, 0], [1, 1, 1, 1, 0.0]]))}
        >>> slope, middle = escape_law(xarray.Dataset(shares, coords={"rare": e}))
        >>> round(slope, 3), round(middle, 4)
        (4.0, 0.1414)
    """
    x = np.log(dataset["rare"].values)
    escapes, count = dataset["escaped"].sum("rare_seed").values, dataset.sizes["rare_seed"]
    design = np.stack([np.ones_like(x), x - x.mean()], axis=1)
    weights = np.zeros(2)
    for _ in range(50):
        share = 1 / (1 + np.exp(-design @ weights))
        curvature = design.T @ (design * (count * share * (1 - share))[:, None])
        weights = weights + np.linalg.solve(curvature, design.T @ (escapes - count * share))
    return float(weights[1]), float(np.exp(x.mean() - weights[0] / weights[1]))
