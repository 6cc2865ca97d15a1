"""The three dynamics: gradient flow, exact ascent, sampled ascent, and the ensemble engine that runs many flows."""
