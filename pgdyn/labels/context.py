r"""Rewards and augmentations over similar contexts.

RewardFusion replaces a context's reward by a weighted mean over similar contexts,

    r'(c, y) = sum_j W[c, j] r(j, y),    W[c, .] = (1 for c itself, the similarity of its nearest neighbours) / sum,

which divides independent noise by 1 / sum_j W[c, j]^2 and adds a bias where the truth changes with the context.
ConvexDA keeps of several variants of an instruction those on the convex hull of their embeddings, projected on two
principal axes.
"""

from __future__ import annotations

import numpy as np

from pgdyn import validate
from pgdyn.validate import Numbers


def fusion_weights(similarity: Numbers, *, neighbours: int = 5, threshold: float = 0.9) -> np.ndarray:
    """[C, C], W: each row sums to 1.

    Args:
        similarity: [C, C], for instance cosines of embeddings; the diagonal counts as 1.
        neighbours: at most so many, the most similar ones.
        threshold: and only those at least so similar.

    Raises:
        ValueError: if `similarity` is not square.

    Example:
        >>> fusion_weights([[1.0, 0.95], [0.95, 1.0]]).round(3).tolist()
        [[0.513, 0.487], [0.487, 0.513]]
    """
    table = np.array(validate.as_floats("similarity", similarity), float)
    if table.ndim != 2 or table.shape[0] != table.shape[1]:
        raise ValueError(f"similarity has shape {table.shape}; it must be [C, C]")
    validate.require_finite("similarity", table)
    count = validate.count("neighbours", neighbours, minimum=0)
    np.fill_diagonal(table, -np.inf)
    order = np.argsort(-table, axis=1, kind="stable")
    near = np.zeros(table.shape, bool)
    np.put_along_axis(near, order[:, :count], True, axis=1)
    weights = np.where(near & (table >= threshold), np.maximum(table, 0), 0.0)
    np.fill_diagonal(weights, 1.0)
    return weights / weights.sum(axis=1, keepdims=True)


def fuse(rewards: Numbers, similarity: Numbers, *, neighbours: int = 5, threshold: float = 0.9) -> np.ndarray:
    """The rewards [C, K] of every context, averaged with those of similar contexts.

    Args:
        rewards: [C, K].
        similarity: as for `fusion_weights`.
        neighbours: as for `fusion_weights`.
        threshold: as for `fusion_weights`.

    Raises:
        ValueError: on shapes that do not fit.

    Example:
        >>> fuse([[1.0], [0.0]], [[1.0, 1.0], [1.0, 1.0]]).tolist()
        [[0.5], [0.5]]
    """
    table = np.asarray(validate.as_floats("rewards", rewards))
    weights = fusion_weights(similarity, neighbours=neighbours, threshold=threshold)
    if table.ndim != 2 or len(table) != len(weights):
        raise ValueError(f"rewards has shape {table.shape} but there are {len(weights)} contexts")
    return weights @ table


def convex_augmentation(embeddings: Numbers) -> np.ndarray:
    """The variants to keep: indices of the vertices of the convex hull in two principal components, in increasing
    order.

    Args:
        embeddings: [V, D], of the variants of one instruction.

    Raises:
        ValueError: if there are fewer than two axes.

    Example:
        >>> convex_augmentation([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.2, 0.2]]).tolist()
        [0, 1, 2]
    """
    table = np.asarray(validate.as_floats("embeddings", embeddings))
    if table.ndim != 2:
        raise ValueError(f"embeddings has shape {table.shape}; it must be [V, D]")
    centred = table - table.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    plane = centred @ axes[:2].T
    plane = np.pad(plane, ((0, 0), (0, 2 - plane.shape[1])))
    order = np.lexsort((plane[:, 1], plane[:, 0])).tolist()
    size = 1e-12 * max(float(np.abs(plane).max()), 1e-300) ** 2

    def half(points: list[int]) -> list[int]:
        chain: list[int] = []
        for point in points:
            while len(chain) > 1:
                (ax, ay), (bx, by) = plane[chain[-1]] - plane[chain[-2]], plane[point] - plane[chain[-2]]
                if ax * by - ay * bx > size:
                    break
                chain.pop()
            chain.append(point)
        return chain[:-1]

    return np.unique([*half(order), *half(order[::-1])]) if len(table) > 1 else np.arange(len(table))
