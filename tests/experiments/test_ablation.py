"""The ablation at tiny sizes: which devices are left out, and when one helps. Nothing is timed."""

import csv

from experiments.benchmarks import ablation
from pgdyn.ensemble import tuning


def test_every_device_has_a_variant_without_it():
    variants = ablation.variants()
    assert [*variants] == [ablation.ALL_ON, *tuning.Tuning._fields, ablation.ALL_OFF]
    for name in tuning.Tuning._fields:
        assert {field for field, used in variants[name]._asdict().items() if not used} == {name}
    assert not any(variants[ablation.ALL_OFF])


def test_the_command_writes_its_table(tmp_path, monkeypatch):
    few = {name: ablation.variants()[name] for name in (ablation.ALL_ON, "streams", ablation.ALL_OFF)}
    monkeypatch.setattr(ablation, "variants", lambda: few)
    arguments = ["--sizes", "20", "--outputs", "3", "--rounds", "1", "--out", str(tmp_path)]
    assert ablation.main(arguments) == 0
    with (tmp_path / "ensemble_ablation.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == ablation.COLUMNS
    assert [row["without"] for row in rows] == ["streams", ablation.ALL_OFF]
    assert all(float(row["difference"]) < 1e-8 for row in rows)  # devices change no result
    assert tuning.current() == tuning.ALL


def test_a_device_helps_where_a_tenth_is_lost_without_it(monkeypatch):
    seconds = {True: 1.0, False: 1.2}

    class Clock:
        now = 0.0

    def solve(batch, devices):
        Clock.now += seconds[devices.streams]
        return batch.true_reward

    monkeypatch.setattr(ablation, "_solve", solve)
    monkeypatch.setattr(ablation.timing.time, "perf_counter", lambda: Clock.now)
    found = ablation.still_help(ablation.run([2], [3], rounds=2, report=lambda line: None))
    assert [name for name, helps in found.items() if helps] == ["streams", ablation.ALL_OFF]
