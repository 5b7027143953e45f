from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from lstn.data.splits import spaced


@given(st.integers(1, 10_000), st.integers(1, 3000))
def test_chosen_images_are_spread_over_all(count: int, most: int) -> None:
    numbers = spaced(count, most)
    assert len(set(numbers)) == len(numbers) == min(count, most)
    assert numbers[0] == 0
    assert numbers[-1] == (count - 1 if most > 1 else 0)
    gaps = {after - before for before, after in pairwise(numbers)}
    assert not gaps or max(gaps) - min(gaps) <= 1
