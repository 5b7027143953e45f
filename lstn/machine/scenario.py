"""Scenarios of load, in MLPerf's words."""

from enum import Enum


class Scenario(str, Enum):
    """How queries come (Reddi et al. 2020, MLPerf Inference Benchmark, section III)."""

    SINGLE_STREAM = "single-stream"
    MULTI_STREAM = "multi-stream"
    SERVER = "server"
    OFFLINE = "offline"
