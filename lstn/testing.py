"""An engine without a model, for tests of programs that use one."""

from collections.abc import Callable

from lstn.contract import Contract
from lstn.images import Pixels
from lstn.runtime.engines.base import Engine
from lstn.runtime.engines.prediction import Prediction, check_pixels, check_prediction


class FakeEngine(Engine):
    """An engine that answers what a function says, and takes and gives only what a real one would.

        contract = lstn.Contract(lstn.Loc.NONE, "cnn", (32, 32), ("cat", "dog"))
        engine = FakeEngine(contract, lambda pixels: lstn.Prediction(my_logits(pixels), None))
        assert engine.classify("photo.jpg").label == "cat"

    answer: pixels (N, H, W, 3) uint8 -> Prediction; what it raises, `infer` raises
    calls:  how many images each call of `infer` had
    """

    def __init__(self, contract: Contract, answer: Callable[[Pixels], Prediction], *, max_batch: int = 32) -> None:
        self.contract, self.max_batch = contract, max_batch
        self.calls: list[int] = []
        self._answer = answer

    def infer(self, pixels: Pixels) -> Prediction:
        """(N, H, W, 3) uint8 RGB -> what `answer` says of them; see `Engine.infer`."""
        check_pixels(pixels, self.contract, self.max_batch)
        self.calls.append(len(pixels))
        return check_prediction(self._answer(pixels), self.contract, len(pixels), source="FakeEngine")
