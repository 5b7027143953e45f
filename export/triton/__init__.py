"""A model -> a repository of NVIDIA's Triton Inference Server."""
