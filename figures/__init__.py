"""Figures: every file's `draw(dataset)` makes one `matplotlib.figure.Figure` from an experiment's dataset.

Nothing here simulates, and nothing touches pyplot's global state.
"""
