"""How fast engines are: paired timings, load generators, profiles."""
