"""An engine as something that is asked about pixels, for `lstn.evaluation`."""

from lstn.contract import Loc
from lstn.evaluation.answer import Logits
from lstn.evaluation.measuring import Answering
from lstn.images import Pixels
from lstn.runtime.engines.base import Engine
from lstn.warps.warp import Theta


def answering(engine: Engine) -> Answering:
    """Return pixels -> logits and theta, the latter if the engine's contract has a localizer."""

    def locate(pixels: Pixels) -> Theta:
        theta = engine.infer(pixels).theta
        assert theta is not None  # its contract has a localizer
        return theta

    def both(pixels: Pixels) -> tuple[Logits, Theta | None]:
        prediction = engine.infer(pixels)
        return prediction.logits, prediction.theta

    located = None if engine.contract.loc is Loc.NONE else locate
    return Answering(both, lambda pixels: engine.infer(pixels).logits, located)
