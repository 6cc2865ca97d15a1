"""The problem of the tests of `pgdyn simulate`, and the program run within this process."""

from pgdyn.cli import main

TRUE = [1.0, 0.8, -1.0, -1.0, -1.0]
PROXY = [1.0, -1.0, -1.0, -1.0, -1.0]
POLICY = [0.05, 0.5, 0.15, 0.15, 0.15]


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def refused(capsys, *arguments):
    code, out, err = run(capsys, *arguments)
    assert code == 2 and out == ""
    assert err.startswith("error: ") and err.endswith("\n") and err.count("\n") == 1
    return err.removeprefix("error: ").rstrip("\n")
