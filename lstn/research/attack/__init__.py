"""Attacks on checkpoints: the smallest changes that mislead one, and whether they mislead the engines made of it."""
