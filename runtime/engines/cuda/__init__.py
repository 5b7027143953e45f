"""CUDA calls that engines on a GPU make, by whichever package makes them, and images that are on the GPU already."""
