"""torchvision's Faster R-CNN, built, trained and exported for the comparison in `detectors`.

Ren et al. 2015, with a feature pyramid (Lin et al. 2017), as torchvision has it. It sees the pictures at their own
size, its anchors are as large against them as those of lstn, and its BatchNorm learns, since no weights are loaded.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from lstn.data.objects import objects_of
from lstn.data.splits import Split
from lstn.detection.detecting import DetectionScores, score_detections
from lstn.detection.suppression import LEAST_SCORE, MOST_FOUND, OVERLAP, Detection
from lstn.nn.region_localizer import RATIOS, SIZES
from lstn.warps.quadrilaterals import upright_boxes

_WARM_UP = 0.05
"""Share of the steps in which the rate rises."""

_LEVELS = 5
PROPOSALS = 300
"""Of an image that the second stage sees (Ren et al. 2015, section 4.1); torchvision's defaults are 2000 and 1000."""
DRAWN = 64
"""Of these, as many are drawn in training (Girshick 2015, section 2.3); torchvision's default is 512, which takes eight
times as long and is of no use to pictures with five objects."""

OPTIMIZERS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "Adam": lambda model: torch.optim.Adam(model.parameters(), lr=0.001),
    "SGD": lambda model: torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-4),
}
"""The one that `lstn train` uses for this backbone, and the one of torchvision's own recipe."""


def faster_rcnn(backbone: str, classes: int, side: int) -> FasterRCNN:
    """Return the untrained network for pictures of side x side pixels. backbone: such as `resnet18`"""
    sizes = tuple((side * SIZES[min(level, len(SIZES) - 1)],) for level in range(_LEVELS))
    body = resnet_fpn_backbone(
        backbone_name=backbone, weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=_LEVELS
    )
    return FasterRCNN(
        body,
        classes + 1,  # theirs begin with "nothing here"
        min_size=side,
        max_size=side,
        rpn_anchor_generator=AnchorGenerator(sizes, (RATIOS,) * _LEVELS),
        rpn_post_nms_top_n_train=PROPOSALS,
        rpn_post_nms_top_n_test=PROPOSALS,
        box_batch_size_per_image=DRAWN,
        box_score_thresh=LEAST_SCORE,
        box_nms_thresh=OVERLAP,
        box_detections_per_img=MOST_FOUND,
    )


def train(
    model: FasterRCNN,
    train_split: Split,
    val_split: Split,
    labels: tuple[str, ...],
    *,
    optimizer: str,
    epochs: int,
    batch: int,
    seed: int,
    tell: Callable[[str], None],
) -> None:
    """Fit the model as `lstn train` fits one: a warm-up, then a cosine, and the epoch that is best by AP50 is kept."""
    steps = epochs * math.ceil(len(train_split) / batch)
    rate = OPTIMIZERS[optimizer](model)
    schedule = torch.optim.lr_scheduler.LambdaLR(rate, lambda step: _share_of_rate(step, steps))
    best, best_weights = -1.0, copy.deepcopy(model.state_dict())
    for epoch in range(1, epochs + 1):
        model.train()
        order = np.random.default_rng((seed, epoch)).permutation(len(train_split))
        total = 0.0
        for start in range(0, len(order), batch):
            images, targets = zip(*(_example(train_split, int(n)) for n in order[start : start + batch]), strict=True)
            loss = sum(model(list(images), list(targets)).values())
            assert isinstance(loss, Tensor)
            rate.zero_grad()
            loss.backward()
            rate.step()
            schedule.step()
            total += float(loss) * len(images)
        found = evaluate(model, val_split, labels).upright.ap50 or 0.0
        tell(f"epoch {epoch}/{epochs}: loss {total / len(order):.3f}, validation AP50 {100 * found:.1f} %")
        if found > best:
            best, best_weights = found, copy.deepcopy(model.state_dict())
    model.load_state_dict(best_weights)


@torch.no_grad()
def evaluate(model: FasterRCNN, images: Split, labels: tuple[str, ...]) -> DetectionScores:
    """Return COCO's figures, as `lstn evaluate` has them."""
    model.eval()
    side = images[0][0].shape[:2]
    found = []
    for number in range(len(images)):
        (answer,) = model([image_of(images, number)])
        found.append((objects_of(images, number), _detections(answer, labels, (side[0], side[1]))))
    return score_detections(found, labels, (side[0], side[1]))


def write_onnx(model: FasterRCNN, image: Tensor, path: Path) -> str:
    """Export the model; return why it can't be, or nothing."""
    try:
        torch.onnx.export(model.eval(), ([image],), str(path), opset_version=18, input_names=["image"], dynamo=False)
    except Exception as error:  # whatever the exporter has to say of it
        return " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return ""


def _share_of_rate(step: int, steps: int) -> float:
    warm = max(1, round(_WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    return (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) / 2


def image_of(images: Split, number: int) -> Tensor:
    """Return an image as the network takes it: (3, H, W) float32, 0 to 1."""
    return torch.tensor(images[number][0]).permute(2, 0, 1).float() / 255


def _example(images: Split, number: int) -> tuple[Tensor, dict[str, Tensor]]:
    image, known = image_of(images, number), objects_of(images, number)
    boxes = torch.tensor(upright_boxes(known.thetas, (image.shape[1], image.shape[2])), dtype=torch.float32)
    height, width = image.shape[1:]
    boxes = torch.minimum(boxes.clamp(min=0), torch.tensor([width, height, width, height], dtype=torch.float32))
    return image, {"boxes": boxes.reshape(-1, 4), "labels": torch.tensor(known.labels) + 1}


def _detections(answer: dict[str, Tensor], labels: Sequence[str], image_hw: tuple[int, int]) -> tuple[Detection, ...]:
    return tuple(_each(answer, labels, image_hw))


def _each(answer: dict[str, Tensor], labels: Sequence[str], image_hw: tuple[int, int]) -> Iterator[Detection]:
    height, width = image_hw
    for box, label, score in zip(answer["boxes"], answer["labels"], answer["scores"], strict=True):
        left, top, right, bottom = box.tolist()
        if right > left and bottom > top:
            theta = [
                [(right - left) / width, 0, (left + right) / width - 1],
                [0, (bottom - top) / height, (top + bottom) / height - 1],
            ]
            yield Detection(labels[int(label) - 1], float(score), np.array(theta, np.float32))
