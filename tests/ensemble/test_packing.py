"""Trees packed into one array and taken apart again."""

import jax
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pgdyn.ensemble.packing import Packing

LANES = 3
TYPES = (np.float64, np.int32, np.bool_)
shapes = st.lists(st.integers(1, 3), max_size=3).map(tuple)


@given(st.lists(st.tuples(shapes, st.sampled_from(TYPES)), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_unpacking_undoes_packing(leaves, seed):
    """Bit for bit and type for type, in compiled code and in rows on the host."""
    rng = np.random.default_rng(seed)
    tree = {
        str(i): [rng.integers(-(2**31), 2**31, (*shape, LANES)).astype(dtype), None]
        for i, (shape, dtype) in enumerate(leaves)
    }
    packing = Packing.of(tree)

    @jax.jit
    def there_and_back(tree):
        packed = packing.pack(tree)
        return packed, packing.unpack(jax.lax.optimization_barrier(packed))

    packed, back = there_and_back(tree)
    packed = np.asarray(packed)
    assert packed.shape == (packing.size, LANES) and packed.dtype == np.float64
    lanes_first = jax.tree.map(lambda leaf: np.moveaxis(leaf, -1, 0), tree)
    assert packing == Packing.of_rows(lanes_first)
    rows = np.full((LANES, packing.size), np.nan)
    packing.fill(rows, lanes_first)
    np.testing.assert_array_equal(rows, packed.T)
    apart = jax.tree.map(lambda leaf: np.moveaxis(leaf, 0, -1), packing.take_apart(rows))
    empty = packing.empty(LANES)
    assert [(x.shape, x.dtype) for x in jax.tree.leaves(empty)] == [
        (x.shape, x.dtype) for x in jax.tree.leaves(lanes_first)
    ]
    for found in (back, apart):
        assert jax.tree.structure(found) == jax.tree.structure(tree)
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(tree), strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


def test_views_and_structs():
    tree = (np.ones((2, 5)), np.zeros((1, 3, 5), np.int32))
    packing = Packing.of(tree)
    array = np.arange(25.0).reshape(5, 5)
    assert np.shares_memory(packing.take_apart(array)[0], array)
    assert [(leaf.shape, leaf.dtype) for leaf in packing.structs] == [((2, 1), np.float64), ((1, 3, 1), np.int32)]
    assert packing == Packing.of(tuple(np.ones_like(leaf[..., :1]) for leaf in tree))
    assert hash(packing) == hash(Packing.of(tree))
