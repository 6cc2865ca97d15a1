"""The command: exit codes, what it writes, what it refuses, and what remains when it is interrupted."""

import dataclasses
import html.parser
import json
import pathlib

import matplotlib.figure
import pytest
import xarray

from paper_repro import cli, output
from paper_repro.claims import Claim, fact, measurement, number
from paper_repro.reproduction import Reproduction
from pgdyn.io import datasets


def experiment(size=3, progress=None):
    if progress is not None:
        progress(size, size)
    return xarray.Dataset({"x": ("i", [0.5] * size)})


def draw(dataset):
    figure = matplotlib.figure.Figure(figsize=(1, 1))
    figure.subplots().plot(dataset["x"])
    return figure


GOOD = Reproduction(
    name="good",
    title="A title with <angles> & more",
    summary="What is run.",
    experiment=experiment,
    quick={"size": 2},
    figures={"picture": draw},
    claims=(
        Claim("half", "x is | one half", "a paper, section 1", number(lambda data: float(data["x"][0]), 0.5, 1e-3)),
        Claim("three", "there are three", "section 2", fact("3", lambda d: (d.sizes["i"] == 3, "n")), needs_full=True),
        Claim("number", "how many", "here", measurement(lambda data: str(data.sizes["i"]))),
    ),
    order=1,
)
OTHER = dataclasses.replace(GOOD, name="other", title="Another", figures={}, quick=None, order=2)


def broken_expectation(one):
    wrong = Claim("half", "x is one half", "a paper, section 1", number(lambda data: float(data["x"][0]), 0.6, 1e-3))
    return dataclasses.replace(one, claims=(wrong, *one.claims[1:]))


@pytest.fixture
def command(monkeypatch, tmp_path):
    """Runs the command on the given reproductions; returns (exit code, output folder)."""
    folder = tmp_path / "out"

    def run(*arguments, known=(GOOD, OTHER), out=folder):
        monkeypatch.setattr(cli, "registry", lambda: {one.name: one for one in known})
        return cli.main([*arguments, "--out", str(out)]), out

    return run


def state(folder):
    return json.loads((folder / "report.json").read_text())


def verdicts(folder):
    return {
        f"{part['name']}/{claim['name']}": claim["verdict"]
        for part in state(folder)["reproductions"]
        for claim in part["claims"]
    }


class Page(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.links, self.open, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "col"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_a_run_writes_data_figures_and_reports(command):
    code, folder = command()
    assert code == 0
    assert datasets.load(folder / "data" / "good.zarr")["x"].values.tolist() == [0.5] * 3
    assert (folder / "figures" / "picture.png").stat().st_size and (folder / "figures" / "picture.pdf").stat().st_size
    assert set(verdicts(folder).values()) == {"passed", "measured"} and len(verdicts(folder)) == 6
    assert state(folder)["state"] == "complete" and state(folder)["provenance"]["jax_version"]
    assert not [path for path in folder.rglob(".*") if "partial" in path.name]


def test_both_reports_list_every_claim(command):
    _, folder = command()
    page = Page((folder / "report.html").read_text())
    assert not page.open  # every tag that was opened is closed
    text = "".join(page.words)
    markdown = (folder / "report.md").read_text()
    for one in (GOOD, OTHER):
        assert one.title in text and one.title in markdown
        for claim in one.claims:
            assert text.count(claim.statement) == 2 and claim.source in text
            assert markdown.count(claim.statement.replace("|", "\\|")) == 2
    assert "4 of 4 checked claims hold; 2 further measurements" in text


def test_the_page_needs_no_other_file(command):
    _, folder = command()
    links = Page((folder / "report.html").read_text()).links
    assert any(link.startswith("data:image/png;base64,") for link in links)
    assert all(link.startswith(("data:", "#")) for link in links)


def test_a_broken_claim_fails_the_run(command, capsys):
    code, folder = command(known=(broken_expectation(GOOD), OTHER))
    assert code == 1
    assert verdicts(folder)["good/half"] == "failed" and verdicts(folder)["other/half"] == "passed"
    assert "✗" in (folder / "report.md").read_text() and 'class="banner failed"' in (folder / "report.html").read_text()
    assert "good/half" in capsys.readouterr().out


def test_an_experiment_that_raises_fails_the_run_and_no_other(command):
    def broken():
        raise RuntimeError("no such luck")

    code, folder = command(known=(dataclasses.replace(GOOD, experiment=broken, quick=None), OTHER))
    assert code == 1
    assert "no such luck" in (folder / "report.html").read_text()
    assert verdicts(folder)["good/half"] == "failed" and verdicts(folder)["other/half"] == "passed"


def test_quick_runs_smaller_settings_and_says_so(command):
    code, folder = command("--quick")
    assert code == 0
    assert datasets.load(folder / "data" / "good.zarr").sizes["i"] == 2
    assert verdicts(folder)["good/three"] == "not checked (quick)"
    assert verdicts(folder)["other/three"] == "passed"  # its full settings are quick
    for name in ("report.md", "report.html"):
        text = (folder / name).read_text()
        assert "good (size = 2)" in text and "not checked (quick)" in text


def test_only_runs_what_is_named(command):
    code, folder = command("--only", "other")
    assert code == 0
    assert [part["name"] for part in state(folder)["reproductions"]] == ["other"]


def test_unknown_name(command, capsys):
    code, folder = command("--only", "nonsense")
    captured = capsys.readouterr()
    assert code == 2 and not folder.exists()
    assert captured.err == "error: --only: there is no reproduction 'nonsense'; choose from good, other\n"


@pytest.mark.parametrize("arguments", [("--only",), ("--nonsense",), ("stray",)])
def test_bad_arguments(command, capsys, arguments):
    code, folder = command(*arguments)
    captured = capsys.readouterr()
    assert code == 2 and not folder.exists()
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1


def test_list_runs_nothing(command, capsys):
    code, folder = command("--list")
    assert code == 0 and not folder.exists()
    assert "good" in capsys.readouterr().out


def test_refuses_a_folder_with_other_files(command, capsys, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    code, _ = command(out=tmp_path / "mine")
    assert code == 2 and "holds other files" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_refuses_a_file_and_a_place_that_cannot_be_written(command, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert command(out=tmp_path / "file")[0] == 2
    assert "is a file" in capsys.readouterr().err
    assert command(out=tmp_path / "file" / "below")[0] == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_running_again_replaces_its_own_files_only(command):
    _, folder = command(known=(broken_expectation(GOOD),))
    (folder / "notes.txt").write_text("mine")
    (folder / "figures" / "extra.png").write_text("mine too")
    code, _ = command()
    assert code == 0 and verdicts(folder)["good/half"] == "passed"
    assert (folder / "notes.txt").read_text() == "mine" and (folder / "figures" / "extra.png").exists()


def test_an_interruption_keeps_what_was_finished(command):
    def stopped():
        raise KeyboardInterrupt

    code, folder = command(known=(GOOD, dataclasses.replace(OTHER, experiment=stopped)))
    assert code == 130
    assert state(folder)["state"] == "interrupted"
    assert datasets.load(folder / "data" / "good.zarr").sizes["i"] == 3
    assert "interrupted, still to run: other" in (folder / "report.html").read_text()
    assert verdicts(folder) == {"good/half": "passed", "good/three": "passed", "good/number": "measured"}


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "report.md"
    output.write_text(path, "whole")

    def interrupted(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(pathlib.Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        output.write_text(path, "ha")
    assert path.read_text() == "whole" and [one.name for one in tmp_path.iterdir()] == ["report.md"]


def test_processes_share_the_work(tmp_path):
    """Two reproductions of the registry, each in a process: the report is in its own order, whichever ends first."""
    chosen = ["--quick", "--jobs", "2", "--only", "user_logs", "factor_scales"]
    assert cli.main([*chosen, "--out", str(tmp_path / "out")]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["state"] == "complete"
    assert [run["name"] for run in report["reproductions"]] == ["factor_scales", "user_logs"]
    assert all(claim["expected"] for run in report["reproductions"] for claim in run["claims"])
