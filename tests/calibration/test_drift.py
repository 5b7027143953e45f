import copy
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hand_made import LABELS, SIDE, ArraySplit, Edit, MeasureByHand, make_model, random_split, save, untouched

from lstn.calibration.cost.drift import IMAGES, measure_drift
from lstn.contract import Loc
from lstn.errors import ArtifactError, DataError, UsageError, VerificationError


def shift(dx: float, dy: float) -> Edit:
    """Move every window by so many pixels."""

    def edit(weights: dict[str, np.ndarray]) -> None:
        weights["localizer.head.1.bias"] += np.array([0, 0, 2 * dx / SIDE, 0, 0, 2 * dy / SIDE], np.float32)

    return edit


def perturb(name: str, by: float) -> Edit:
    def edit(weights: dict[str, np.ndarray]) -> None:
        noise = np.random.default_rng(7).normal(0, by, weights[name].shape)
        weights[name] += noise.astype(np.float32)

    return edit


def both(*edits: Edit) -> Edit:
    return lambda weights: [edit(weights) for edit in edits]


HEAD, CONV, FC = "localizer.head.1.weight", "backbone.conv1.weight", "backbone.fc.weight"


def answers(edit: Edit, split: ArraySplit) -> tuple[np.ndarray, np.ndarray]:
    """Logits and theta, one image at a time."""
    session = onnxruntime.InferenceSession(
        make_model(edit=edit).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found = [session.run(["logits", "theta"], {"pixels": split[index][0][None]}) for index in range(len(split))]
    return np.concatenate([logits for logits, _ in found]), np.concatenate([theta for _, theta in found])


def test_a_model_against_itself_costs_nothing(measure_by_hand: MeasureByHand) -> None:
    cost = measure_by_hand(untouched)
    assert cost.agreement == 1
    assert cost.top1.reference == cost.top1.lowered
    assert (cost.logit_difference.mean, cost.logit_difference.largest) == (0, 0)
    assert cost.drift is not None
    assert cost.changed is not None
    assert (cost.drift.mean_px, cost.drift.p99_px, cost.drift.max_px) == (0, 0, 0)
    assert (cost.changed.warp, cost.changed.backbone) == (0, 0)


@pytest.mark.parametrize(("dx", "dy"), [(3.0, 4.0), (0.0, -0.25), (0.001, 0.0)])
def test_a_window_moved_by_known_pixels_drifts_by_them(measure_by_hand: MeasureByHand, dx: float, dy: float) -> None:
    cost = measure_by_hand(shift(dx, dy))
    assert cost.drift is not None
    wanted = pytest.approx(math.hypot(dx, dy), rel=1e-3, abs=2e-6)
    assert [cost.drift.mean_px, cost.drift.p99_px, cost.drift.max_px] == [wanted] * 3


def test_drift_is_how_far_the_worst_corner_moves_image_by_image(measure_by_hand: MeasureByHand) -> None:
    split = random_split(70)
    cost = measure_by_hand(perturb(HEAD, 0.02), split=split)
    exact, rough = answers(untouched, split)[1].astype(float), answers(perturb(HEAD, 0.02), split)[1].astype(float)
    drift = []
    for before, after in zip(exact, rough, strict=True):
        corners = [np.array([x, y, 1.0]) for x in (-1, 1) for y in (-1, 1)]
        drift.append(max(np.linalg.norm((after - before) @ corner) * SIDE / 2 for corner in corners))
    assert cost.drift is not None
    assert cost.per_image.drift_px is not None
    np.testing.assert_allclose(cost.per_image.drift_px, drift, atol=1e-5)
    ordered = sorted(drift)
    between = 0.99 * 69 - 68  # p99 of 70 lies between the last two
    assert cost.drift.p99_px == pytest.approx(ordered[68] + between * (ordered[69] - ordered[68]), rel=1e-5)
    assert cost.drift.mean_px == pytest.approx(sum(drift) / 70, rel=1e-5)
    assert cost.drift.max_px == pytest.approx(ordered[-1], rel=1e-5)


def test_a_lowered_backbone_alone_moves_nothing_by_the_warp(measure_by_hand: MeasureByHand) -> None:
    cost = measure_by_hand(both(perturb(CONV, 0.2), perturb(FC, 0.5)))
    assert cost.changed is not None
    assert cost.drift is not None
    assert (cost.changed.warp, cost.drift.max_px) == (0, 0)
    assert cost.changed.backbone == pytest.approx(1 - cost.agreement)
    assert cost.changed.backbone > 0.05


def test_a_lowered_localizer_alone_changes_nothing_by_the_backbone(measure_by_hand: MeasureByHand) -> None:
    cost = measure_by_hand(both(perturb(HEAD, 0.1), shift(3, 3)))
    assert cost.changed is not None
    assert cost.changed.backbone == 0
    assert cost.changed.warp == pytest.approx(1 - cost.agreement)
    assert cost.changed.warp > 0.05


def test_warp_and_backbone_are_told_apart_where_both_are_lowered(measure_by_hand: MeasureByHand) -> None:
    warp, backbone = both(perturb(HEAD, 0.1), shift(3, 3)), both(perturb(CONV, 0.2), perturb(FC, 0.5))
    cost, warp_alone, backbone_alone = (
        measure_by_hand(both(warp, backbone)),
        measure_by_hand(warp),
        measure_by_hand(backbone),
    )
    assert cost.changed is not None
    assert cost.changed.warp == pytest.approx(1 - warp_alone.agreement)
    assert cost.changed.backbone == pytest.approx(1 - backbone_alone.agreement)
    assert cost.changed.warp != cost.changed.backbone


def test_accuracy_agreement_and_logits_are_those_of_the_models_run_by_themselves(
    measure_by_hand: MeasureByHand,
) -> None:
    split = random_split(70)
    edit = both(perturb(HEAD, 0.05), perturb(CONV, 0.1))
    cost = measure_by_hand(edit, split=split)
    (exact, _), (rough, _) = answers(untouched, split), answers(edit, split)
    for logits, top1, top5 in (
        (exact, cost.top1.reference, cost.top5 and cost.top5.reference),
        (rough, cost.top1.lowered, cost.top5 and cost.top5.lowered),
    ):
        orders = [sorted(range(len(LABELS)), key=lambda k, row=row: -row[k]) for row in logits]
        assert top1 == sum(order[0] == label for order, label in zip(orders, split.labels, strict=True)) / 70
        assert top5 == pytest.approx(
            sum(label in order[:5] for order, label in zip(orders, split.labels, strict=True)) / 70
        )
        assert 0 < top1 < top5 < 1
    assert cost.agreement == np.mean([a.argmax() == b.argmax() for a, b in zip(exact, rough, strict=True)])
    assert cost.logit_difference.largest == pytest.approx(np.abs(exact - rough).max(), rel=1e-4)
    assert cost.logit_difference.mean == pytest.approx(np.abs(exact - rough).mean(), rel=1e-4)
    np.testing.assert_array_equal(cost.per_image.label, split.labels)
    np.testing.assert_array_equal(cost.per_image.lowered, rough.argmax(1))


def test_the_worst_are_those_that_drifted_most(measure_by_hand: MeasureByHand) -> None:
    split = random_split(70)
    cost = measure_by_hand(both(perturb(HEAD, 0.05), perturb(CONV, 0.1)), split=split)
    assert cost.per_image.drift_px is not None
    assert [case.place for case in cost.worst] == np.argsort(-cost.per_image.drift_px)[:10].tolist()
    thetas = answers(untouched, split)[1]
    for case in cost.worst:
        np.testing.assert_array_equal(case.pixels, split.pixels[case.place])
        np.testing.assert_allclose(case.reference_theta, thetas[case.place], atol=1e-6)
        assert not np.allclose(case.lowered_theta, case.reference_theta)


def test_where_none_drifted_the_worst_are_those_whose_logits_moved_most(measure_by_hand: MeasureByHand) -> None:
    for loc in (Loc.LSTN, Loc.NONE):
        cost = measure_by_hand(perturb(CONV, 0.1), loc=loc)
        assert [case.place for case in cost.worst] == np.argsort(-cost.per_image.logit_difference)[:10].tolist()


def test_without_a_transformer_there_is_no_warp(measure_by_hand: MeasureByHand) -> None:
    cost = measure_by_hand(perturb(CONV, 0.1), loc=Loc.NONE)
    assert (cost.drift, cost.changed, cost.per_image.drift_px) == (None, None, None)
    assert {(case.reference_theta, case.lowered_theta) for case in cost.worst} == {(None, None)}
    assert cost.logit_difference.largest > 0


@pytest.mark.parametrize(("classes", "there"), [(5, False), (6, True)])
def test_top5_of_five_classes_says_nothing(measure_by_hand: MeasureByHand, classes: int, there: bool) -> None:
    assert (measure_by_hand(untouched, labels=LABELS[:classes]).top5 is not None) is there


def test_images_are_spread_over_the_split(measure_by_hand: MeasureByHand) -> None:
    cost = measure_by_hand(untouched, split=random_split(100), count=34)
    assert cost.per_image.index.tolist() == list(range(0, 100, 3))
    assert (cost.images, cost.split_size) == (34, 100)
    assert cost.warnings == (f"34 images, of 100: fewer than {IMAGES}, and each is 2.9 points",)


def test_a_small_split_is_taken_whole_and_said_to_be_small(measure_by_hand: MeasureByHand) -> None:
    cost = measure_by_hand(untouched, split=random_split(20))
    assert cost.per_image.index.tolist() == list(range(20))
    assert cost.warnings == (f"20 images, all that the split has: fewer than {IMAGES}, and each is 5.0 points",)


def test_a_large_split_leaves_nothing_to_warn_of(measure_by_hand: MeasureByHand) -> None:
    cost = measure_by_hand(untouched, split=random_split(IMAGES + 1))
    assert (cost.images, cost.warnings, cost.noise_images) == (IMAGES, (), 64)


def test_one_class_alone_is_a_warning(measure_by_hand: MeasureByHand) -> None:
    split = replace(random_split(20), labels=(3,) * 20)
    assert (
        measure_by_hand(untouched, split=split).warnings[-1]
        == "all images are of one class, class 3, so accuracy says little"
    )


def test_no_more_than_a_few_images_are_decoded_at_once(measure_by_hand: MeasureByHand) -> None:
    alive: list[int] = []

    class Counting(ArraySplit):
        def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
            pixels = super().__getitem__(index)[0].copy().view(Counted)
            alive.append(Counted.alive)
            return pixels, self.labels[index]

    class Counted(np.ndarray):
        alive = 0

        def __array_finalize__(self, source: object) -> None:
            Counted.alive += 1

        def __del__(self) -> None:
            Counted.alive -= 1

    split = random_split(120)
    measure_by_hand(untouched, split=Counting(split.pixels, split.labels))
    assert max(alive) <= 40


@pytest.mark.parametrize("name", ["model.onnx", "model.low.onnx"])
def test_what_is_not_finite_is_an_error_that_names_the_model(measure_by_hand: MeasureByHand, name: str) -> None:
    def spoil(weights: dict[str, np.ndarray]) -> None:
        weights["backbone.fc.bias"][3] = np.nan

    first, second = (spoil, untouched) if name == "model.onnx" else (untouched, spoil)
    with pytest.raises(VerificationError, match=rf"^{name} computes logits that are not finite"):
        measure_by_hand(second, spoil=first)


def test_a_theta_that_is_not_finite_is_an_error(measure_by_hand: MeasureByHand) -> None:
    def spoil(weights: dict[str, np.ndarray]) -> None:
        weights["localizer.head.1.bias"][3] = np.inf

    with pytest.raises(VerificationError, match=r"model\.low\.onnx computes (logits|theta) that are not finite"):
        measure_by_hand(spoil)


def test_other_images_are_refused(measure_by_hand: MeasureByHand) -> None:
    with pytest.raises(DataError, match="holds no image"):
        measure_by_hand(untouched, split=ArraySplit(np.empty((0, SIDE, SIDE, 3), np.uint8), ()))
    with pytest.raises(DataError, match="an image is of class 8, and the model knows 8 classes"):
        measure_by_hand(untouched, split=replace(random_split(3), labels=(0, 8, 1)))


def test_models_of_two_contracts_are_refused(tmp_path: Path) -> None:
    reference = save(make_model(), tmp_path / "a.onnx")
    lowered = save(make_model(labels=(*LABELS[:-1], "other")), tmp_path / "b.onnx")
    with pytest.raises(UsageError, match="their contracts differ"):
        measure_drift(reference, lowered, random_split(3))


def test_a_file_that_onnx_runtime_cannot_run_is_refused(tmp_path: Path) -> None:
    reference, broken = make_model(), copy.deepcopy(make_model())
    broken.graph.node[-1].op_type = "Gemmm"
    (tmp_path / "b.onnx").write_bytes(broken.SerializeToString())
    with pytest.raises(ArtifactError, match=r"b\.onnx: ONNX Runtime \S+ can't open it"):
        measure_drift(save(reference, tmp_path / "a.onnx"), tmp_path / "b.onnx", random_split(3))
