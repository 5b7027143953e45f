"""Bench: paired timings of engines, load generators, profiles."""
