"""`python -m pgdyn.cli`: the program `pgdyn` where its script is not installed."""

from pgdyn.cli import run

run()
