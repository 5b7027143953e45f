"""Costs of a lowered model against its float32 one, and whether they are too high."""
