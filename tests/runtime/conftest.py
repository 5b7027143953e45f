from fake_machine import make_machine
from tiny_fixtures import built_plan, make_tiny, plan, run_lstn, tiny

__all__ = ["built_plan", "make_machine", "make_tiny", "plan", "run_lstn", "tiny"]
