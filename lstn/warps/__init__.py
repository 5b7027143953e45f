"""Warps in NumPy: what a theta samples, thin plate splines, and pictures of both."""
