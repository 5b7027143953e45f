"""Experiments that use all stages: the paper's claims, studies of localizers, attacks, the search of `lstn tune`."""
