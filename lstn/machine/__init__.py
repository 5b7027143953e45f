"""The machine: cores, GPUs, caches, installed packages, and what it can do."""
