from spots import data, few, folder
from tiny_fixtures import run_lstn

__all__ = ["data", "few", "folder", "run_lstn"]
