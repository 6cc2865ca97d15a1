"""Claims of the papers, each tied to an experiment, a figure and a check.

    python -m paper_repro [--only NAME ...] [--out DIR] [--quick] [--list]

runs the experiments, draws the figures and writes a report that lists every claim with what was expected, what was
measured and the verdict. To add a reproduction, add a file to `paper_repro/reproductions` with a `REPRODUCTION`.
"""
