"""Training of an aligner: a sentence fits its own image better than others, and that image better than others do."""

import numpy as np
import torch
from torch import Tensor, nn

from lstn.alignment.alignment_scores import AlignedPair, score_alignment
from lstn.data.objects import Objects
from lstn.nn.aligner import Aligner, with_memory
from lstn.nn.models import Model
from lstn.nn.recurrent_localizer import Glimpses
from lstn.train.batches.loading import NOBODY, ImageBatch, Images, batches
from lstn.train.computing.distributed import World
from lstn.train.computing.workplace import Workplace
from lstn.train.objectives.classifier_objective import AMP
from lstn.train.objectives.glimpse_loss import glimpse_loss
from lstn.train.objectives.objective import Measured, StepLoss
from lstn.train.objectives.reader_objective import texts_of
from lstn.train.runs.options import Options, TrainingPrecision

MARGIN = 1.0
"""By how much a pair's score is to be higher than those of other pairs (Karpathy and Fei-Fei 2015, equation 9)."""


class AlignerNetwork(nn.Module):
    """An aligner as it trains: pixels (N, H, W, 3) uint8 and words (N, M) int64, NOBODY behind the last -> vectors of
    regions (N, K, SPACE) and of words (N, M, SPACE) float32, theta (N, K, 2, 3), and what its localizer answers.

    Only the backbone runs in a lower precision.
    """

    def __init__(self, model: Aligner, precision: TrainingPrecision, *, compiled: bool = False) -> None:
        super().__init__()
        self.model = model
        self.precision = precision
        self._seen = torch.compile(model.seen) if compiled else model.seen

    def forward(self, pixels: Tensor, words: Tensor) -> tuple[Tensor, Tensor, Tensor, Glimpses]:
        """Return both kinds of vectors, the regions, and where it looked."""
        crops, theta, found = self.model.locate(self.model.normalise(pixels))
        with torch.autocast(pixels.device.type, AMP[self.precision], enabled=self.precision != "fp32"):
            vectors = self._seen(crops)
        said = self.model.words.several(words.clamp(min=0), (words != NOBODY).sum(1))
        return with_memory(vectors.float(), found), said, theta, found


class AlignerObjective:
    """The objective of an aligner."""

    def network(self, model: Model, options: Options, *, compiled: bool) -> nn.Module:
        """Return the model as it trains."""
        assert isinstance(model, Aligner)
        return AlignerNetwork(model, options.precision, compiled=compiled)

    def loss(self, network: nn.Module, batch: ImageBatch, options: Options, size: int, world: World) -> StepLoss:
        """Return what a step comes to, of which the ranking loss is told."""
        assert batch.objects is not None
        words, places = batch.objects
        regions, said, _, found = network(batch.pixels, words)
        scores = score_pairs(regions, said, words != NOBODY)
        ranking = ranking_loss(scores, same_sentences(words))
        loss = ranking
        if options.supervise:
            poses = region_poses(words, places, count=found.boxes.shape[1])
            loss = loss + options.supervise * glimpse_loss(found, poses, options, size, world)
        own = torch.arange(len(scores), device=scores.device)
        right = same_sentences(words)[own, scores.argmax(1)]
        return StepLoss(loss, ranking, right.double().mean())

    @torch.no_grad()
    def measure(self, model: Model, images: Images, batch_size: int, at: Workplace) -> Measured:
        """Return the mean ranking loss of batches, and the share of images and sentences that find each other."""
        assert isinstance(model, Aligner)
        network = AlignerNetwork(model, "fp32").eval()
        loss_sum = 0.0
        pairs: list[AlignedPair] = []
        loader = batches(
            images, batch_size=batch_size, workers=at.workers, shuffle_seed=None, device=at.device, world=at.world
        )
        for batch in loader:
            there = batch.to(at.device)
            assert there.objects is not None
            words = there.objects[0]
            regions, said, theta, _ = network(there.pixels, words)
            loss = ranking_loss(score_pairs(regions, said, words != NOBODY), same_sentences(words))
            loss_sum += float(loss) * len(batch.pixels)
            each = zip(*(values.cpu().numpy() for values in (regions, theta, said)), texts_of(batch), strict=True)
            pairs += [aligned_pair(*answer) for answer in each]
        for others in at.world.others(pairs):
            pairs = pairs + others
        (loss_sum,) = at.world.sum(torch.tensor([loss_sum], dtype=torch.float64, device=at.device))
        scores = score_alignment(pairs)
        accuracy = (scores.sentence_recall.value + scores.image_recall.value) / 200
        return Measured(loss_sum / len(images), accuracy, None, scores)


def aligned_pair(regions: np.ndarray, theta: np.ndarray, words: np.ndarray, truth: Objects) -> AlignedPair:
    """Put together what the model makes of an image and of its sentence, of which words has some behind the end."""
    return AlignedPair(regions, theta, words[: len(truth)], truth)


def score_pairs(regions: Tensor, words: Tensor, there: Tensor) -> Tensor:
    """Return the score of each sentence for each image (Karpathy and Fei-Fei 2015, equation 8): regions (N, K, SPACE),
    words (N, M, SPACE), of which `there` (N, M) are -> (N images, N sentences)."""
    products = torch.einsum("ikv,smv->ismk", regions, words)
    return torch.where(there[None], products.amax(3), 0.0).sum(2)


def ranking_loss(scores: Tensor, same: Tensor) -> Tensor:
    """Return the mean over pairs of how much other sentences fit an image, and other images a sentence, better than
    the pair's own less MARGIN (Karpathy and Fei-Fei 2015, equation 9).

    scores: (N, N), as `score_pairs`; same: (N, N), pairs whose sentences have the same words, of which none is wrong
    """
    own = scores.diagonal()
    for_image = (scores - own[:, None] + MARGIN).clamp(min=0)
    for_sentence = (scores - own[None] + MARGIN).clamp(min=0)
    return torch.where(same, 0.0, for_image + for_sentence).sum() / len(scores)


def same_sentences(words: Tensor) -> Tensor:
    """Return which sentences have the same words: (N, M) -> (N, N)."""
    return (words[:, None] == words[None]).all(2)


def region_poses(words: Tensor, thetas: Tensor, *, count: int) -> Tensor:
    """Return what each region that is chosen is to be: the places of words, each once, in the order of the sentence.

    (N, M), (N, M, 2, 3) -> (N, count, 2, 3), not a number where there are fewer
    """
    found = np.full((len(words), count, 2, 3), np.nan, np.float32)
    there = (words != NOBODY).cpu().numpy()
    for row, places in enumerate(thetas.cpu().numpy()):
        known = places[there[row] & np.isfinite(places).all(axis=(1, 2))]
        _, first = np.unique(known, axis=0, return_index=True)
        once = known[np.sort(first)[:count]]
        found[row, : len(once)] = once
    return torch.from_numpy(found).to(thetas.device)
