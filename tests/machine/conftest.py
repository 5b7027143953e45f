from tiny_fixtures import built_plan, make_tiny, plan, run_lstn, tiny

__all__ = ["built_plan", "make_tiny", "plan", "run_lstn", "tiny"]
