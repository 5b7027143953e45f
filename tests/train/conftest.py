import pytest
from spots import data, few, few_digits, folder
from tiny_fixtures import run_lstn

__all__ = ["data", "few", "few_digits", "folder", "run_lstn"]

pytest.register_assert_rewrite("short_runs")  # so that a difference between two runs is shown
