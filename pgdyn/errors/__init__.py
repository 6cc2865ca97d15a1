"""Reward errors: families of them, which help and which harm, and the best one that there is."""
