"""An engine as something that can be explained: it answers, and that is all that occlusion needs."""

from lstn.evaluation.answer import Logits
from lstn.explanation.explaining import Explainable
from lstn.images import Pixels
from lstn.runtime.engines.base import Engine
from lstn.warps.warp import Theta


def explainable_engine(engine: Engine) -> Explainable:
    """Return an open engine as something that can be explained."""

    def answer(pixels: Pixels) -> tuple[Logits, Theta | None]:
        prediction = engine.infer(pixels)
        return prediction.logits, prediction.theta

    return Explainable(engine.contract, answer, engine.max_batch)
