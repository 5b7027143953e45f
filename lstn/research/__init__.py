"""Experiments that use all stages: the paper's claims, and studies of localizers."""
