"""Data makers: every experiment is a function `run(...)` of its settings that returns an `xarray.Dataset`.

Nothing here plots. The defaults are a paper's settings, named in the file's docstring; other values run the same
experiment on another problem.
"""
