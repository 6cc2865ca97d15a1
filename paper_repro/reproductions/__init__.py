"""One file for each reproduction, with a `REPRODUCTION` in it."""
