from spots import data, few, few_digits, folder
from tiny_fixtures import run_lstn

__all__ = ["data", "few", "few_digits", "folder", "run_lstn"]
