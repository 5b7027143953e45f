from evaluated_folder import folder
from tiny_fixtures import built_plan, make_tiny, plan, run_lstn, tiny

__all__ = ["built_plan", "folder", "make_tiny", "plan", "run_lstn", "tiny"]
