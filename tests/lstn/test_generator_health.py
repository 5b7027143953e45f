"""Health of a generator: each state by figures that are it, and none other."""

import pytest

from lstn.health.generator_health import GeneratorState, Variety, describe_generator, judged_generator

LIVE = Variety(images=100, diversity=0.95, least_diversity=0.8, least_class="7", spread_px=4.0)


@pytest.mark.parametrize(
    ("change", "told_apart", "state", "says"),
    [
        ({}, 0.9, "live", ""),
        ({}, 0.995, "overpowered", "99.5%"),
        ({"least_diversity": 0.3}, 0.9, "collapsed", "class '7' differ from each other by 30%"),
        ({"spread_px": 0.1}, 0.9, "one place", "0.1 pixels"),
        ({"spread_px": None}, 0.9, "live", ""),
    ],
)
def test_states(change: dict[str, float], told_apart: float, state: GeneratorState, says: str) -> None:
    seen = Variety(**{**LIVE, **change})  # type: ignore[typeddict-item]
    found = judged_generator(seen, told_apart, epoch=9, steps=5000)
    assert found["state"] == state
    assert says in found["warning"]
    assert bool(found["cure"]) == bool(found["warning"])
    lines = describe_generator(found)
    assert lines[0].startswith(f"generator: {state}")
    assert any("least in class '7'" in line for line in lines)
    early = judged_generator(seen, told_apart, epoch=1, steps=5000)
    assert (early["state"], early["warning"]) == ("starting", "")
