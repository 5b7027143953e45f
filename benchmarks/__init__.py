"""Benchmarks: each measures one thing. `python -m benchmarks` lists them, `python -m benchmarks NAME` runs one."""
