"""Costs of a network, part by part: what is counted, and the parts to time."""
