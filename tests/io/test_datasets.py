"""Datasets and provenance. Oracle: the fields of the solution that a dataset was made from, bit for bit."""

import json
import subprocess

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import xarray

import pgdyn
from pgdyn.io import atomic, datasets, provenance

FIELDS = {
    "log_policy": ("time", "prompt", "output"),
    "true_value": ("time",),
    "proxy_value": ("time",),
    "reward_variance": ("time",),
    "kl": ("time",),
    "params": ("time", "prompt", "output"),
    "hitting_time": (),
    "result": (),
    "steps": (),
}
PROBLEM_FIELDS = {
    "true_reward": ("prompt", "output"),
    "proxy_reward": ("prompt", "output"),
    "initial_params": ("prompt", "output"),
    "temperature": (),
    "prompt_weights": ("prompt",),
}
LINEAR = {"params": ("time", "feature"), "initial_params": ("feature",), "features": ("prompt", "output", "feature")}


@pytest.fixture(scope="module")
def tabular(paper_problem):
    return pgdyn.ascend(paper_problem, 6, target=0.9, save_every=4)


@pytest.fixture(scope="module")
def linear():
    rng = np.random.default_rng(0)
    problem = pgdyn.Problem.linear(rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 3)), temperature=2.0)
    return pgdyn.flow(problem, 5.0, saves=5, objective=pgdyn.Objective(kl=0.1, entropy=-0.5, kl_direction="forward"))


@pytest.fixture(scope="module")
def seeds(paper_problem):
    def run(key):
        return pgdyn.ascend_sampled(paper_problem, 6, key, save_every=4)

    return jax.vmap(run)(jax.random.split(jax.random.key(0), 3))


def check_fields(dataset, solution, fields, owner=None, batch=()):
    for name, dims in fields.items():
        variable = dataset[name]
        assert variable.dims == (*batch, *dims), name
        expected = np.asarray(getattr(owner if owner is not None else solution, name))
        assert variable.dtype == expected.dtype
        np.testing.assert_array_equal(variable.values, expected)
        assert variable.attrs["units"] and variable.attrs["long_name"]


def test_tabular_run(tabular):
    dataset = tabular.to_dataset()
    check_fields(dataset, tabular, FIELDS)
    check_fields(dataset, tabular, PROBLEM_FIELDS, tabular.problem)
    assert set(dataset.data_vars) == {*FIELDS, *PROBLEM_FIELDS}
    np.testing.assert_array_equal(dataset.time, [0, 4, 6])
    assert dataset.time.attrs["units"] == "update" and dataset.hitting_time.attrs["units"] == "update"


def test_linear_run(linear):
    dataset = linear.to_dataset()
    check_fields(dataset, linear, FIELDS | {"params": LINEAR["params"]})
    check_fields(
        dataset, linear, PROBLEM_FIELDS | {k: LINEAR[k] for k in ("initial_params", "features")}, linear.problem
    )
    np.testing.assert_array_equal(dataset.time, linear.t)
    assert dataset.time.attrs == {"units": "1", "long_name": "gradient-flow time"}


def test_batch_shares_the_time_when_it_is_the_same(seeds):
    dataset = seeds.to_dataset(("seed",))
    check_fields(dataset, seeds, FIELDS, batch=("seed",))
    check_fields(dataset, seeds, PROBLEM_FIELDS, seeds.problem, batch=("seed",))
    assert dataset.time.dims == ("time",)
    np.testing.assert_array_equal(dataset.time, [0, 4, 6])
    assert seeds.to_dataset().sizes["run"] == 3
    assert dataset.result.attrs["message"] == "3 ran to the end"


def test_batch_of_different_times_has_no_time_coordinate(paper_problem):
    solution = jax.vmap(lambda t1: pgdyn.flow(paper_problem, t1, saves=5))(jnp.array([2.0, 5.0]))
    dataset = solution.to_dataset(("horizon",))
    assert "time" not in dataset.coords
    assert dataset.t.dims == ("horizon", "time")
    np.testing.assert_array_equal(dataset.t, solution.t)
    assert dataset.t1.values.tolist() == [2.0, 5.0] and "t1" not in dataset.attrs["settings"]


def test_two_batch_axes_and_a_weight_that_varies(paper_problem):
    def run(kl, key):
        return pgdyn.ascend_sampled(paper_problem, 6, key, save_every=4, objective=pgdyn.Objective(kl=kl))

    over_keys = jax.vmap(run, in_axes=(None, 0))
    kl = jnp.array([0.1, 0.3])
    solution = jax.vmap(over_keys, in_axes=(0, None))(kl, jax.random.split(jax.random.key(1), 3))
    dataset = solution.to_dataset(("weight", "seed"))
    check_fields(dataset, solution, FIELDS, batch=("weight", "seed"))
    assert dataset.objective_kl.dims == ("weight", "seed")
    np.testing.assert_array_equal(dataset.objective_kl[:, 0], kl)
    assert not {"kl", "entropy"} & set(dataset.attrs["objective"])
    assert set(solution.to_dataset().true_value.dims) == {"run_0", "run_1", "time"}


def test_shared_problem_arrays_keep_their_own_dimensions(seeds, paper_problem):
    shared = eqx.tree_at(lambda solution: solution.problem, seeds, paper_problem)
    dataset = shared.to_dataset(("seed",))
    check_fields(dataset, shared, PROBLEM_FIELDS, paper_problem)
    assert dataset.true_value.dims == ("seed", "time")


@pytest.fixture(scope="module")
def ends():
    rng = np.random.default_rng(1)
    batch = pgdyn.Batch.linear(rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 3)), rng.normal(size=(6, 2, 3)))
    return pgdyn.flow_many(batch, np.arange(1.0, 7.0), target=np.full(6, 0.3))


def test_a_batch_of_ends(ends):
    dataset = ends.to_dataset()
    fields = {name: tuple(dim for dim in dims if dim != "time") for name, dims in FIELDS.items()}
    check_fields(dataset, ends, fields | {"params": ("feature",)}, batch=("run",))
    assert "time" not in dataset.dims and dataset.sizes["run"] == 6
    assert dataset.t1.dims == ("run",) and dataset.t1.values.tolist() == [1, 2, 3, 4, 5, 6]
    assert dataset.attrs["settings"]["target"] == 0.3 and "target" not in dataset
    assert "saves" not in dataset.attrs["settings"]


def test_what_problems_share_is_stored_once(ends):
    dataset = ends.to_dataset()
    check_fields(dataset, ends, {"proxy_reward": ("prompt", "output")}, ends.problem, batch=("run",))
    shared = PROBLEM_FIELDS | LINEAR | {"initial_params": ("feature",)}
    for name in ("true_reward", "features", "initial_params", "temperature", "prompt_weights"):
        assert dataset[name].dims == shared[name]
        np.testing.assert_array_equal(dataset[name], getattr(ends.problem.problems, name))


@pytest.mark.parametrize("keys_of_each", [False, True])
def test_keys_of_many_sampled_runs_are_a_variable(paper_problem, keys_of_each):
    batch = paper_problem.with_proxy([[[1.0, c, -1.0, -1.0, -1.0]] for c in (0.8, -1.0)])
    keys = jax.random.split(jax.random.key(2), (2, 3) if keys_of_each else 3)
    solution = pgdyn.ascend_sampled_many(batch, 6, keys, save_every=4)
    dataset = solution.to_dataset(("proxy", "seed"))
    check_fields(dataset, solution, FIELDS, batch=("proxy", "seed"))
    assert dataset.time.values.tolist() == [0, 4, 6]
    assert dataset.proxy_reward.dims == ("proxy", "prompt", "output")
    assert dataset.key.dims == ("proxy", "seed", "key_word")[not keys_of_each :]
    np.testing.assert_array_equal(dataset.key, jax.random.key_data(keys))
    assert "key" not in dataset.attrs["settings"]


def test_numpy_and_jax_arrays_give_one_dataset(paper_problem):
    batch = paper_problem.with_proxy([[[1.0, c, -1.0, -1.0, -1.0]] for c in (0.8, -1.0)])
    solution = pgdyn.ascend_many(batch, 6)
    on_device = jax.tree.map(jnp.asarray, solution)
    xarray.testing.assert_identical(solution.to_dataset(), on_device.to_dataset())


def test_settings_are_those_that_were_in_force(paper_problem, ends):
    rate = pgdyn.ascend(paper_problem, 2, learning_rate=0.3).to_dataset().attrs["settings"]
    assert rate["optimizer"] == "sgd" and rate["learning_rate"] == 0.3 and rate["save_every"] == 1
    own = pgdyn.ascend(paper_problem, 2, optimizer=optax.sgd(0.3)).to_dataset().attrs["settings"]
    assert own["optimizer"] == "an optax transformation" and "learning_rate" not in own
    assert (ends.to_dataset().attrs["settings"]["rtol"], ends.to_dataset().attrs["settings"]["atol"]) == (1e-6, 1e-9)
    single = pgdyn.ascend_sampled(paper_problem, 2, jax.random.key(3)).to_dataset()
    assert single.attrs["settings"]["key"] == [0, 3]
    rates = pgdyn.ascend_many(pgdyn.stack([paper_problem] * 2), 2, learning_rate=np.array([0.1, 0.2])).to_dataset()
    assert rates.learning_rate.values.tolist() == [0.1, 0.2]


@pytest.mark.parametrize("names", [(), ("a", "b"), "seed", ("time",), ("true_value",), (3,)])
def test_batch_names_that_do_not_fit(seeds, names):
    with pytest.raises(ValueError, match="batch_dims"):
        seeds.to_dataset(names)


def test_batch_names_must_differ(seeds):
    doubled = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], seeds)
    with pytest.raises(ValueError, match=r"batch_dims\[1\] is 'a'"):
        doubled.to_dataset(("a", "a"))


def test_problem_axes_that_fit_nothing_are_refused(seeds, paper_problem):
    with pytest.raises(ValueError, match=r"problem.true_reward has leading axes \(2,\) but the batch has \(3,\)"):
        datasets.problem_variables(pgdyn.stack([paper_problem] * 2), ("seed",), (3,))


def test_result_is_flagged(tabular):
    attrs = tabular.to_dataset().result.attrs
    meanings = dict(zip(attrs["flag_values"], attrs["flag_meanings"].split(), strict=True))
    assert meanings == {int(member): member.name for member in pgdyn.Result}
    assert attrs["message"] == "ran to the end"


def test_attributes_say_what_made_it(linear, seeds):
    attrs = linear.to_dataset().attrs
    assert attrs["dynamics"] == "flow"
    assert attrs["pgdyn_version"] == pgdyn.__version__ and attrs["jax_version"] == jax.__version__
    assert attrs["dtype"] == "float64" and attrs["device"] == jax.devices()[0].device_kind
    assert attrs["objective"] == {
        "reward": "proxy",
        "reference": "initial",
        "kl_direction": "forward",
        "normalize_by_std": False,
        "kl": 0.1,
        "entropy": -0.5,
    }
    assert attrs["settings"]["rtol"] == 1e-8 and "target" not in attrs["settings"]
    assert seeds.to_dataset().attrs["settings"]["estimator"] == {"name": "reinforce", "group_size": 1}
    assert json.loads(json.dumps(attrs, allow_nan=False)) == attrs


@pytest.mark.parametrize("which", ["tabular", "linear", "seeds", "ends"])
def test_stores_read_back_equal(which, request, tmp_path):
    dataset = request.getfixturevalue(which).to_dataset()
    datasets.save(dataset, tmp_path / "deep" / "run.zarr")
    xarray.testing.assert_identical(datasets.load(tmp_path / "deep" / "run.zarr"), dataset)
    with xarray.open_zarr(tmp_path / "deep" / "run.zarr") as opened:
        xarray.testing.assert_identical(opened.load(), dataset)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["run.zarr"]


def test_the_same_run_is_stored_bit_for_bit(paper_problem, tabular, tmp_path):
    again = pgdyn.ascend(paper_problem, 6, target=0.9, save_every=4)
    for name, solution in (("a", tabular), ("b", again)):
        datasets.save(solution.to_dataset(), tmp_path / name)
    files = [
        {p.relative_to(tmp_path / n): p.read_bytes() for p in (tmp_path / n).rglob("*") if p.is_file()} for n in "ab"
    ]
    assert files[0] == files[1]


def test_a_store_is_replaced_only_when_asked(tabular, linear, tmp_path):
    path = tmp_path / "run.zarr"
    datasets.save(tabular.to_dataset(), path)
    with pytest.raises(FileExistsError, match="already exists"):
        datasets.save(linear.to_dataset(), path)
    datasets.save(linear.to_dataset(), path, overwrite=True)
    xarray.testing.assert_identical(datasets.load(path), linear.to_dataset())
    assert [p.name for p in tmp_path.iterdir()] == ["run.zarr"]
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "draft.tex").write_text("precious")
    with pytest.raises(FileExistsError, match="no zarr store"):
        datasets.save(tabular.to_dataset(), tmp_path / "thesis", overwrite=True)
    assert (tmp_path / "thesis" / "draft.tex").read_text() == "precious"


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_what_was_there(tabular, linear, tmp_path, monkeypatch, failure):
    path = tmp_path / "run.zarr"
    datasets.save(tabular.to_dataset(), path)

    def fail(folder, files):
        (folder / "half").write_text("half")
        raise failure

    monkeypatch.setattr("pgdyn.io.atomic.write_tree", fail)
    with pytest.raises(type(failure)):
        datasets.save(linear.to_dataset(), path, overwrite=True)
    xarray.testing.assert_identical(datasets.load(path), tabular.to_dataset())
    assert [p.name for p in tmp_path.iterdir()] == ["run.zarr"]


def test_reading_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        datasets.load(tmp_path / "absent.zarr")


def test_plain_values():
    given = {
        "none": None,
        "array": np.array([[1, 2]]),
        "scalar": np.float32(0.5),
        "inf": float("inf"),
        "flag": np.True_,
        "key": jax.random.key(3),
        "member": pgdyn.Result.not_finite,
        "nested": {"tuple": (1, "a", None)},
        "other": 1j,
        "module": pgdyn.Flow(t1=2.0),
    }
    assert provenance.plain(given) == {
        "array": [[1, 2]],
        "scalar": 0.5,
        "inf": "inf",
        "flag": True,
        "key": [0, 3],
        "member": 3,
        "nested": {"tuple": [1, "a", None]},
        "other": "1j",
        "module": {"t1": 2.0, "saves": 256, "geometry": "euclidean", "stop_at_target": False, "max_steps": 65536},
    }
    assert type(provenance.plain(pgdyn.Result.not_finite)) is int


def test_the_git_revision_is_that_of_the_checkout_or_absent(monkeypatch, tmp_path):
    def git(*arguments):
        command = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@t", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    package = tmp_path / "pgdyn" / "io"
    package.mkdir(parents=True)
    (package / "provenance.py").write_text("")
    revision = provenance.git_revision.__wrapped__
    monkeypatch.setattr(provenance, "__file__", str(package / "provenance.py"))
    assert revision() is None
    git("init", "-q")
    assert revision() is None
    git("add", ".")
    git("commit", "-q", "-m", "first")
    assert revision() == git("rev-parse", "HEAD")
    (tmp_path / "untracked").write_text("")
    assert revision() == git("rev-parse", "HEAD")
    (package / "provenance.py").write_text("changed")
    assert revision() == git("rev-parse", "HEAD") + "-dirty"
    # Installed below another project's checkout, that project's revision is not pgdyn's.
    nested = tmp_path / "site-packages" / "pgdyn" / "io"
    nested.mkdir(parents=True)
    monkeypatch.setattr(provenance, "__file__", str(nested / "provenance.py"))
    assert revision() is None
    monkeypatch.setattr(provenance, "__file__", str(package / "provenance.py"))
    monkeypatch.setenv("PATH", "")
    assert revision() is None


def test_a_failed_replacement_brings_the_old_folder_back(tmp_path, monkeypatch):
    path = tmp_path / "results"
    path.mkdir()
    (path / "old").write_text("old")
    rename = type(path).rename

    def fail(self, target):
        if ".partial-" in self.name:
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(type(path), "rename", fail)
    with pytest.raises(OSError, match="No space"), atomic.whole_folder(path, overwrite=True) as folder:
        (folder / "new").write_text("new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["results"]
    assert [entry.name for entry in path.iterdir()] == ["old"]
