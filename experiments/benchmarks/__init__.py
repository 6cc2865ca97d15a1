"""Benchmarks: one command each, a table on the screen and as CSV. They are artefacts, not tests."""
