"""Training of a model that aligns: its loss by hand, sentences of several lengths, and runs of seconds."""

from pathlib import Path

import pytest
import torch
from short_runs import options, run
from small_captions import HW, block_captions

from lstn.alignment.word_regions import sentence_score
from lstn.contract import SPACE, Loc, Task
from lstn.data.poses import pose_from_box
from lstn.errors import UsageError
from lstn.nn.models import build_model
from lstn.nn.sources.starts import start_weights
from lstn.nn.word_vectors import WordVectors
from lstn.train.batches.loading import NOBODY
from lstn.train.choices.asked_run import ChosenNetwork, Course
from lstn.train.choices.choosing import choose_options
from lstn.train.choices.recipe_changes import RecipeChanges
from lstn.train.objectives.aligner_objective import ranking_loss, region_poses, same_sentences, score_pairs

ALIGNER = {"task": Task.ALIGN, "loc": Loc.GLANCE, "image_size": HW, "crop": (12, 12), "warps": 4, "batch_size": 16}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = block_captions(tmp_path_factory.mktemp("blocks"), images=200)
    return f"captions:{file},{file.parent / 'train'}"


def test_a_pairs_score_is_that_of_what_is_there() -> None:
    torch.manual_seed(0)
    regions, words = torch.randn(3, 4, 5), torch.randn(3, 6, 5)
    lengths = torch.tensor([6, 1, 3])
    found = score_pairs(regions, words, torch.arange(6)[None] < lengths[:, None])
    for image in range(3):
        for sentence, length in enumerate(lengths.tolist()):
            wanted = sentence_score(regions[image].numpy(), words[sentence, :length].numpy())
            assert float(found[image, sentence]) == pytest.approx(wanted, abs=1e-4)


def test_the_loss_is_the_sum_of_what_others_fit_too_well() -> None:
    """Equation 9, pair by pair; the second and the third sentence have the same words, so neither is wrong."""
    scores = torch.tensor([[2.0, 1.5, -1.0, 0.0], [0.5, 1.0, 3.0, 0.2], [0.1, 4.0, 0.5, 0.7], [3.0, 0.3, 0.4, 5.0]])
    words = torch.tensor([[1, 2], [3, NOBODY], [3, NOBODY], [3, 3]])
    same = same_sentences(words)
    assert same.int().tolist() == [[1, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]]
    wanted = 0.0
    for k in range(4):
        for other in range(4):
            if not bool(same[k, other]):
                wanted += max(0.0, float(scores[k, other] - scores[k, k]) + 1)
                wanted += max(0.0, float(scores[other, k] - scores[k, k]) + 1)
    assert float(ranking_loss(scores, same)) == pytest.approx(wanted / 4)


def test_sentences_of_a_batch_are_as_each_alone() -> None:
    torch.manual_seed(0)
    network = WordVectors(7).eval()
    words = torch.tensor([[1, 2, 3, 4], [5, NOBODY, NOBODY, NOBODY], [6, 0, 2, NOBODY]])
    lengths = (words != NOBODY).sum(1)
    with torch.no_grad():
        several = network.several(words.clamp(min=0), lengths)
        assert several.shape == (3, 4, SPACE)
        for row, length in enumerate(lengths.tolist()):
            torch.testing.assert_close(several[row, :length], network(words[row, :length]), atol=1e-6, rtol=1e-5)
        one, other = network(torch.tensor([1, 2])), network(torch.tensor([1, 3]))
    assert not torch.allclose(one[0], other[0])  # what follows is context, too


def test_regions_are_to_be_what_words_are_about_each_once() -> None:
    places = [torch.from_numpy(pose_from_box((x, 12), (8, 6), 10, (32, 32)).theta) for x in (10, 20, 15)]
    nowhere = torch.full((2, 3), torch.nan)
    words = torch.tensor([[0, 1, 2, 3, 4], [5, 6, NOBODY, NOBODY, NOBODY], [7, 8, 9, 9, 9]])
    thetas = torch.stack(
        [
            torch.stack([places[1], places[1], nowhere, places[0], places[1]]),
            torch.stack([nowhere, nowhere, torch.eye(2, 3), torch.eye(2, 3), torch.eye(2, 3)]),
            torch.stack([places[0], places[1], places[2], places[2], nowhere]),
        ]
    )
    found = region_poses(words, thetas, count=2)
    assert found.shape == (3, 2, 2, 3)
    torch.testing.assert_close(found[0], torch.stack([places[1], places[0]]))
    assert found[1].isnan().all()
    torch.testing.assert_close(found[2], torch.stack([places[0], places[1]]))


def test_sentences_find_their_images(data: str, tmp_path: Path) -> None:
    """Of 18 images most find a sentence of their own words: by chance, few would."""
    result = run(options(data, **ALIGNER, epochs=12, lr=0.004, loc_lr_scale=1.0, cosine=True), tmp_path / "run")
    scores = result.scores
    assert scores.images == 18  # type: ignore[union-attr]
    assert result.test_accuracy > 0.5
    assert scores.overlap is None  # type: ignore[union-attr]  # nobody knows where the words are


def test_every_weight_learns(data: str, tmp_path: Path) -> None:
    given = options(data, **ALIGNER, epochs=1, lr=0.004)
    result = run(given, tmp_path / "run")
    torch.manual_seed(given.seed)
    fresh = build_model(result.contract)
    start_weights(fresh.backbone, given.seed)
    before = dict(fresh.named_parameters())
    assert [name for name, weight in result.model.named_parameters() if torch.equal(weight, before[name])] == []


def test_usual_choices_of_an_aligner() -> None:
    usual = choose_options(
        "robust",
        RecipeChanges(),
        ChosenNetwork(loc=Loc.GLANCE, model="cnn", task=Task.ALIGN),
        Course(data="captions-digits", augment="none", epochs=None, precision="fp32"),
    )
    assert (usual.image_size, usual.warps, usual.crop, usual.supervise) == ((128, 128), 5, (32, 32), 1)
    assert usual.recipe.loc_lr_scale == 1


def test_what_cannot_align_is_refused(data: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a model that aligns has regions"):
        run(options(data, **ALIGNER | {"loc": Loc.NONE, "crop": None}, epochs=1), tmp_path / "run")
    with pytest.raises(UsageError, match="a model that aligns knows words"):
        run(options("numbers-digits", **ALIGNER, epochs=1), tmp_path / "run")
    assert not (tmp_path / "run").exists()
