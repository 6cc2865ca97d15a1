"""Random ingredients. Oracles: moments, and the same draws one by one."""

import jax
import numpy as np
import pytest
from compilations import Compilations

from pgdyn.theory import THEOREMS, draws
from pgdyn.theory.draws import Stream, streamed


def test_a_stream_gives_what_it_says():
    stream = Stream(jax.random.key(0), budget=4000)
    numbers = np.asarray(stream.normal((3000,)))
    assert abs(numbers.mean()) < 0.1 and abs(numbers.std() - 1) < 0.05
    logs = np.log10(stream.log_uniform(1e-4, 1.0, (500,)))
    assert logs.min() > -4 and logs.max() < 0 and abs(logs.mean() + 2) < 0.3
    np.testing.assert_allclose(np.sum(stream.simplex(7)), 1.0, rtol=1e-12)
    with pytest.raises(ValueError, match="a draw used 5507 random numbers; give its Stream a larger budget"):
        stream.uniform(shape=(2000,))


@pytest.mark.parametrize("name", ["log_ratio", "conserved_sum"])  # of a stream, and of a key
def test_a_batch_holds_the_draws_of_its_keys_whatever_its_length(name):
    theorem, key = THEOREMS[name], jax.random.key(3)
    long, parameters = theorem.sample_batch(key, 20)
    short, _ = theorem.sample_batch(key, 2)
    np.testing.assert_array_equal(short.true_reward, long.true_reward[:2])
    keys = jax.random.split(key, 20)
    for i in (0, 19):
        problem, own = theorem.sample(keys[i])
        np.testing.assert_allclose(long.initial_params[i], problem.initial_params, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(long.proxy_reward[i], problem.proxy_reward, rtol=1e-12)
        assert own.keys() == parameters.keys()


def test_theorems_with_one_draw_share_its_program():
    attraction, effect = THEOREMS["attraction"], THEOREMS["instantaneous_error_effect"]
    attraction.sample_batch(jax.random.key(0), 9)
    with Compilations() as made:
        effect.sample_batch(jax.random.key(1), 5)
    assert made.count == 0


def test_a_streamed_function_is_a_draw():
    @streamed
    def draw(stream, outputs):
        return draws.plain_tabular(stream, (outputs,)), {"scale": stream.uniform()}

    problem, parameters = draw(jax.random.key(0), 3)
    assert problem.num_outputs == 3 and 0 < parameters["scale"] < 1
