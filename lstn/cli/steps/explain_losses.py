"""`lstn evaluate --top-losses`: what moves the answer to the images that the model is most wrongly sure of."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lstn.report.wording import counted
from lstn.waiting import working

if TYPE_CHECKING:
    from lstn.contract import Contract
    from lstn.data.splits import Split
    from lstn.evaluation.answer import Answers
    from lstn.evaluation.top_losses import Mistake, ShownMistake


def explained_mistakes(
    mistakes: Sequence["Mistake"], answer: "Answers", contract: "Contract", images: "Split", *, batch: int
) -> tuple["ShownMistake", ...]:
    """Explain each mistake by occlusion, and draw it."""
    from lstn.evaluation.top_losses import ShownMistake, image_name
    from lstn.explanation.explaining import Explainable, explain
    from lstn.explanation.explanation_page import figures_of
    from lstn.explanation.heat_pictures import explanation_picture
    from lstn.explanation.methods import Method
    from lstn.explanation.occlusion import window_for
    from lstn.warps.warp import sampling_of

    if not mistakes:
        return ()
    window, shown = window_for(contract.image_hw), []
    model, total = Explainable(contract, answer, batch), len(mistakes) * (1 + window.count(contract.image_hw))
    with working(f"explaining {counted(len(mistakes), 'mistake')}", total) as advance:
        for each in mistakes:
            pixels, _ = images[each.image]
            found = explain(model, pixels, [Method.OCCLUSION], window, batch=batch, advance=advance)
            drawn = io.BytesIO()
            explanation_picture(found, sampling_of(contract)).save(drawn, format="PNG")
            name, truth, label = (
                image_name(images, each.image),
                contract.labels[each.truth],
                contract.labels[each.label],
            )
            figures = figures_of(found, contract, window)
            shown.append(ShownMistake(each, name, truth, label, drawn.getvalue(), figures))
    return tuple(shown)
