"""Explanations in NumPy: what moves a model's label and its warp, drawn on the picture. Loads no stage."""
