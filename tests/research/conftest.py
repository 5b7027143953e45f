from spots import data, few, few_digits, folder
from tiny_fixtures import built_plan, make_tiny, plan, run_lstn, tiny

__all__ = ["built_plan", "data", "few", "few_digits", "folder", "make_tiny", "plan", "run_lstn", "tiny"]
