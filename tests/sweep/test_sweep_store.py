"""The store in this process: damage, other specs, a full disk, and the dataset. The oracle is an undisturbed store."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
import sweep_cases as cases
import zarr

from pgdyn.cli import main
from pgdyn.solution import Result
from pgdyn.sweep import Ascend, Axis, Flow, Spec, Store, SweepStopped, engine, open_sweep, run_sweep
from pgdyn.sweep.spec import digest

SPEC = Spec(
    {"true_reward": cases.TRUE_REWARD, "initial_policy": cases.INITIAL_POLICY},
    [Axis.log("initial_policy[0]", 1e-3, 0.3, 6, name="p0"), Axis.linear("proxy_reward[1]", -1, 1, 5)],
    Ascend(steps=50, target=0.9),
    observables=["true_value", "hitting_time", "log_policy", "params", "steps"],
    shard_size=8,
    name="a map",
)
DAMAGED = 1


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "store"
    assert run_sweep(SPEC, path).computed == SPEC.num_shards == 4
    return path


@pytest.fixture
def copy(whole, tmp_path):
    return pathlib.Path(shutil.copytree(whole, tmp_path / "store"))


def flip(path, position=-1):
    data = bytearray(path.read_bytes())
    data[position] ^= 4
    path.write_bytes(data)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-3])


def remove(path):
    path.unlink()


def empty_folder(path):
    shutil.rmtree(path)
    path.mkdir()


def become_a_file(path):
    shutil.rmtree(path)
    path.write_text("notes")


def other_shard(path):
    shutil.rmtree(path)
    shutil.copytree(cases.shards(path.parent.parent)[0], path)


def become_a_link(path):
    """To what is no shard, and must not be touched."""
    elsewhere = path.parent.parent.parent / "elsewhere"
    shutil.move(path, elsewhere)
    (elsewhere / "zarr.json").write_text("somebody else's")
    path.symlink_to(elsewhere)


def become_a_link_to_nothing(path):
    shutil.rmtree(path)
    path.symlink_to(path.parent / "gone")


DAMAGES = {
    "flipped data": ("true_value/c/0", flip),
    "flipped first bit": ("hitting_time/c/0", lambda path: flip(path, 0)),
    "truncated data": ("log_policy/c/0/0/0", truncate),
    "emptied data": ("steps/c/0", lambda path: path.write_bytes(b"")),
    "missing data": ("result/c/0", remove),
    "flipped description": ("params/zarr.json", lambda path: flip(path, 10)),
    "missing description": ("zarr.json", remove),
    "flipped checksums": ("checksums.json", flip),
    "missing checksums": ("checksums.json", remove),
    "a file too many": ("notes", lambda path: path.write_text("notes")),
    "empty": ("", empty_folder),
    "file": ("", become_a_file),
    "link": ("", become_a_link),
    "link to nothing": ("", become_a_link_to_nothing),
    "data a link to nothing": ("true_value/c/0", lambda path: (path.unlink(), path.symlink_to("gone"))),
    "another shard": ("", other_shard),
}


@pytest.mark.parametrize("place, damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_shard_is_noticed_and_made_again(place, damage, whole, copy, capsys):
    folder = copy / "shards" / cases.shards(copy)[DAMAGED].name
    damage(folder / place if place else folder)
    assert [Store.open(copy).state(shard) for shard in range(4)] == ["done", "damaged", "done", "done"]
    with pytest.raises(ValueError, match=r"holds 3 of 4 shards, 1 damaged; run its sweep again"):
        open_sweep(copy)
    part = open_sweep(copy, partial=True)
    assert int(part.done.sum()) == 22 and int(part.true_value.isnull().sum()) == 8
    assert (part.result.values[~part.done.values] == -1).all()
    assert main(["sweep", "--status", str(copy)]) == 1
    assert "3 of 4 done, 0 being made, 1 damaged" in capsys.readouterr().out
    summary = run_sweep(SPEC, copy)
    assert (summary.found, summary.computed, summary.redone) == (3, 1, 1)
    assert cases.contents(copy) == cases.contents(whole)
    for elsewhere in copy.parent.glob("elsewhere"):
        assert (elsewhere / "zarr.json").read_text() == "somebody else's"


def test_a_flipped_bit_anywhere_in_a_shard_is_noticed(tmp_path):
    run_sweep(dataclasses.replace(SPEC, observables=["true_value"]), tmp_path / "store")
    opened, folder = Store.open(tmp_path / "store"), cases.shards(tmp_path / "store")[DAMAGED]
    flipped = 0
    for path in sorted(entry for entry in folder.rglob("*") if entry.is_file()):
        data = path.read_bytes()
        for i in range(len(data)):
            path.write_bytes(data[:i] + bytes([data[i] ^ 1 << i % 8]) + data[i + 1 :])
            assert opened.state(DAMAGED) == "damaged", f"{path.name}, byte {i}"
            flipped += 1
        path.write_bytes(data)
    assert flipped > 1500 and opened.state(DAMAGED) == "done"


def test_a_missing_shard_is_made_again(whole, copy):
    shutil.rmtree(cases.shards(copy)[2])
    summary = run_sweep(SPEC, copy)
    assert (summary.found, summary.computed, summary.redone) == (3, 1, 0)
    assert cases.contents(copy) == cases.contents(whole)


@pytest.mark.parametrize("damage", [flip, truncate, remove, lambda path: flip(path, 200)])
def test_a_damaged_description_is_written_again_and_the_shards_stay(damage, whole, copy, capsys):
    damage(copy / "zarr.json")
    with pytest.raises(ValueError, match="is damaged|is not the store of a sweep"):
        open_sweep(copy)
    other = dataclasses.replace(SPEC, shard_size=9)
    with pytest.raises(ValueError, match=r"zarr.json is (damaged|missing) and the shard 0.* is not of this spec"):
        run_sweep(other, copy)
    assert run_sweep(SPEC, copy).found == 4
    assert cases.contents(copy) == cases.contents(whole)


@pytest.mark.parametrize("damage", [flip, truncate, remove])
def test_the_group_of_the_shards_is_mended(damage, whole, copy):
    damage(copy / "shards" / "zarr.json")
    assert run_sweep(SPEC, copy).found == 4
    assert cases.contents(copy) == cases.contents(whole)


CHANGES = {
    "steps": ({"dynamics": Ascend(steps=60, target=0.9)}, "dynamics.steps is 50 there and 60 here"),
    "dynamics": ({"dynamics": Flow(t1=9.0, target=0.9)}, "dynamics.kind is 'ascend' there and 'flow' here"),
    "shard size": ({"shard_size": 9}, "shard_size is 8 there and 9 here"),
    "problem": (
        {"problem": {"true_reward": [1.0, 0.8, -1.1], "initial_policy": cases.INITIAL_POLICY}},
        "problem.true_reward[2] is -1.0 there and -1.1 here",
    ),
    "axis": ({"axes": SPEC.axes[:1]}, "axes has 2 entries there and 1 here"),
    "observables": ({"observables": ["true_value"]}, "observables has 6 entries there and 2 here"),
}


@pytest.mark.parametrize("change, words", CHANGES.values(), ids=CHANGES)
def test_a_changed_spec_does_not_mix_with_an_old_store(change, words, whole):
    before = cases.contents(whole)
    with pytest.raises(ValueError) as caught:
        run_sweep(dataclasses.replace(SPEC, **change), whole)
    assert f"was made by another spec: {words}; choose another --out or replace it with --overwrite" in str(
        caught.value
    )
    assert cases.contents(whole) == before


def test_other_versions_do_not_mix_and_a_title_does_not_matter(whole, monkeypatch):
    assert run_sweep(dataclasses.replace(SPEC, name="another title"), whole).found == 4
    monkeypatch.setattr(engine, "NUMBERS", engine.NUMBERS + 1)
    last = engine.NUMBERS
    with pytest.raises(ValueError, match=rf"whose last digits differ: numbers is {last - 1} there and {last} here"):
        run_sweep(SPEC, whole)


def test_overwrite_replaces_a_store_and_nothing_else(copy, tmp_path, whole):
    other = dataclasses.replace(SPEC, shard_size=10)
    assert run_sweep(other, copy, overwrite=True).computed == 3
    assert len(cases.shards(copy)) == 3 and open_sweep(copy).sizes == {"p0": 6, "proxy_reward[1]": 5, **INNER}
    assert run_sweep(SPEC, copy, overwrite=True).computed == 4
    assert cases.contents(copy) == cases.contents(whole)
    (copy / "thesis.tex").write_text("ten years of work")
    with pytest.raises(ValueError, match=r"holds thesis.tex, which no sweep has written"):
        run_sweep(SPEC, copy, overwrite=True)
    assert (copy / "thesis.tex").exists() and len(cases.shards(copy)) == 4


INNER = {"prompt": 1, "output": 3}


def test_a_full_disk_is_one_sentence_and_leaves_no_trace(whole, tmp_path, monkeypatch):
    path = tmp_path / "store"
    create, calls = zarr.Group.create_array, []

    def full(self, name, **options):
        calls.append(name)
        if len(calls) == 14:  # two shards of six arrays each, and one array of the third
            raise OSError(errno.ENOSPC, "No space left on device")
        return create(self, name, **options)

    monkeypatch.setattr(zarr.Group, "create_array", full)
    words = r"the disk is full; 2 of 4 shards are safe, shard 2 was computed and could not be kept; the same"
    with pytest.raises(SweepStopped, match=words):
        run_sweep(SPEC, path)
    assert len(list((path / "shards").glob("*-*"))) == 2 == len(cases.shards(path))
    assert not list((path / "shards").glob(".*"))
    assert run_sweep(SPEC, path).found == 2
    assert cases.contents(path) == cases.contents(whole)


def test_what_a_dead_process_left_behind_goes(whole, copy):
    folder = cases.shards(copy)[3]
    shutil.copytree(folder, folder.with_name(f".{folder.name}.partial-0123"))
    shutil.rmtree(folder)
    (copy / ".discarded-0123").mkdir()
    assert run_sweep(SPEC, copy).computed == 1
    assert cases.contents(copy) == cases.contents(whole)


def small_disk(place, size):
    """Mounts a file system of so many bytes."""
    place.mkdir()
    line = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(line, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs rights that these tests do not have")


def test_on_a_disk_of_any_size_a_shard_is_written_whole_or_not_at_all(whole, tmp_path):
    arrays, place = Store.open(whole).read(0), tmp_path / "disk"
    small_disk(place, 2**20)
    try:
        with Store.create(place / "store", SPEC) as opened:
            filler, refused = place / "filler", 0
            empty = os.statvfs(place).f_bavail
            for pages in range(empty + 1):
                filler.write_bytes(b"x" * (empty - pages) * os.statvfs(place).f_bsize)
                assert os.statvfs(place).f_bavail == pages
                try:
                    opened.write(0, arrays)
                except OSError as error:
                    assert (
                        error.errno == errno.ENOSPC and str(opened.path) in str(error) and "partial" not in str(error)
                    )
                    assert opened.state(0) == "missing" and not list((opened.path / "shards").glob(".*"))
                    refused += 1
                    continue
                break
            assert opened.state(0) == "done" and refused > 10
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


FOREIGN = {
    "no spec": (lambda root: root.pop("spec"), "its description has no spec"),
    "no fingerprint": (lambda root: root.pop("fingerprint"), "its description has no fingerprint"),
    "no numbers": (lambda root: root["made_by"].pop("numbers"), "its description has no made_by.numbers"),
    "a list": (lambda root: root.clear(), "its description has no spec"),
    "other keys": (lambda root: root["spec"].update(grid=3), "unknown key 'grid'"),
    "other dynamics": (lambda root: root["spec"]["dynamics"].update(kind="leap"), "dynamics: kind is 'leap'"),
}


@pytest.mark.parametrize("change, words", FOREIGN.values(), ids=FOREIGN)
def test_a_store_of_another_version_is_one_sentence(change, words, copy, capsys):
    attributes = json.loads((copy / "zarr.json").read_text())["attributes"]
    root = attributes["pgdyn_sweep"]
    change(root)
    attributes["sha256"] = digest(root)
    group = {"attributes": attributes, "zarr_format": 3, "node_type": "group"}
    (copy / "zarr.json").write_text(json.dumps(group))
    before = cases.contents(copy) if "made_by" in root else None
    with pytest.raises(ValueError, match="was written by another version of pgdyn") as caught:
        open_sweep(copy)
    assert words in str(caught.value) and str(copy) in str(caught.value)
    assert main(["sweep", "--status", str(copy)]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1
    if not words.startswith(("unknown", "dynamics")):  # those are another spec, which is said by comparing the two
        with pytest.raises(ValueError, match="was written by another version of pgdyn"):
            run_sweep(SPEC, copy)
    else:
        assert run_sweep(SPEC, copy).found == 4
    assert before is None or cases.contents(copy) == before


def test_places_that_are_no_folder_are_one_sentence(tmp_path):
    (tmp_path / "file").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    for name, words in (("file", "is a file; a store is a folder"), ("link", "is a link to .*gone, which does not")):
        with pytest.raises(ValueError, match=words):
            run_sweep(SPEC, tmp_path / name)
    with pytest.raises(OSError, match="store cannot be written"):
        run_sweep(SPEC, tmp_path / "file" / "store")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "link"]


def test_the_dataset_has_the_axes_as_dimensions(whole):
    dataset = open_sweep(whole)
    assert dict(dataset.sizes) == {"p0": 6, "proxy_reward[1]": 5, **INNER}
    assert dataset.log_policy.dims == ("p0", "proxy_reward[1]", "prompt", "output")
    assert dataset.true_value.dims == ("p0", "proxy_reward[1]") == dataset.result.dims
    np.testing.assert_array_equal(dataset.p0, SPEC.axes[0].values)
    assert dataset.p0.attrs == {"units": "1", "long_name": "initial_policy[0]"}
    assert dataset["proxy_reward[1]"].attrs["units"] == dataset.true_value.attrs["units"] == "reward"
    assert dataset.result.attrs["flag_meanings"].split() == [member.name for member in Result]
    for shard in range(4):  # the oracle: each shard computed anew, laid out by a plain loop
        arrays = engine.compute_shard(SPEC, shard)
        for i, point in enumerate(SPEC.shard_points(shard)):
            at = divmod(point, 5)
            for name, array in arrays.items():
                np.testing.assert_array_equal(dataset[name].values[at], array[i])
    for name in ("dynamics", "settings", "objective", "jax_version", "numbers", "dtype", "fingerprint", "title"):
        assert name in dataset.attrs
    assert Spec.from_table(json.loads(dataset.attrs["sweep"])).fingerprint == SPEC.fingerprint
    assert list(open_sweep(whole, variables=["steps"]).data_vars) == ["steps"]
    with pytest.raises(ValueError, match="variables"):
        open_sweep(whole, variables=["kl"])


def test_the_store_is_plain_zarr(whole):
    group = zarr.open_group(whole, mode="r")
    shards = group["shards"]
    assert len(list(shards.group_keys())) == 4
    first = shards[cases.shards(whole)[0].name]
    np.testing.assert_array_equal(first["true_value"][...], engine.compute_shard(SPEC, 0)["true_value"])


def test_progress_counts_points_and_ends_full(tmp_path):
    seen = []
    run_sweep(SPEC, tmp_path / "store", progress=seen.append)
    assert [(p.shards_done, p.points_done) for p in seen] == [(0, 0), (1, 8), (2, 16), (3, 24), (4, 30)]
    assert seen[0].remaining is None and seen[-1].remaining == 0
    assert all(p.rate > 0 and p.points == 30 and p.shards == 4 for p in seen[1:])


def test_the_time_left_leaves_out_compilation(tmp_path, monkeypatch):
    compute, seen = engine.compute_shard, []

    def compiled_first(spec, shard):
        time.sleep(1.0 if shard == 0 else 0.05)
        return compute(spec, shard)

    monkeypatch.setattr(engine, "compute_shard", compiled_first)
    run_sweep(SPEC, tmp_path / "store", progress=seen.append)
    assert seen[1].seconds > 1 and seen[1].remaining is None  # nothing else is known yet
    assert all(0 < p.remaining < 0.5 for p in seen[2:-1])


def test_without_dask_a_cluster_is_refused_in_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "distributed", None)
    (tmp_path / "spec.json").write_text(json.dumps(SPEC.to_table()))
    arguments = ["sweep", str(tmp_path / "spec.json"), "--out", str(tmp_path / "store")]
    for options in (["--workers", "2"], ["--cluster", "tcp://127.0.0.1:1"]):
        assert main([*arguments, *options]) == 2
        err = capsys.readouterr().err
        assert err.startswith("error: ") and err.count("\n") == 1 and "pip install 'pgdyn[cluster]'" in err
    assert not (tmp_path / "store").exists()
