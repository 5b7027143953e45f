"""A simulated process: its threads, clock, event loop, network and disk, all drawn from one seed."""
