"""Processes, device, threads and memory of a run."""
