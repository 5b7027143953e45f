import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstn.contract import (
    AFFINE_FORMS,
    CONTROLS,
    FORM_TRAITS,
    PAPER_LOCS,
    SPACE,
    UNBOUNDED,
    VERSION,
    At,
    Contract,
    Fit,
    Loc,
    Task,
    ThetaForm,
    check_sees,
    check_task,
)
from lstn.errors import ArtifactError, UsageError

CONTRACT = Contract(Loc.LSTN, "cnn", (64, 48), ("cat", "dog"))

names = st.text(min_size=1, max_size=200)
numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)
positive = st.floats(min_value=1e-6, max_value=1e6)
contracts = st.builds(
    Contract,
    loc=st.sampled_from(Loc),
    backbone=names,
    image_hw=st.tuples(st.integers(1, 8192), st.integers(1, 8192)),
    labels=st.lists(names, min_size=1).map(tuple),
    mean=st.tuples(numbers, numbers, numbers),
    std=st.tuples(positive, positive, positive),
    theta=st.sampled_from(ThetaForm),
    iterations=st.integers(1, 8),
    at=st.sampled_from(At),
    temperature=st.floats(0.05, 20),
    fit=st.sampled_from(Fit),
).filter(lambda contract: is_possible(contract))


def is_possible(contract: Contract) -> bool:
    try:
        contract.check()
    except UsageError:
        return False
    return True


@given(contracts)
def test_survives_json(contract: Contract) -> None:
    assert Contract.from_json(contract.to_json(), source="test") == contract


@given(
    st.text()
    | st.recursive(st.none() | st.integers() | st.text(), lambda s: st.lists(s) | st.dictionaries(st.text(), s)).map(
        json.dumps
    )
)
def test_anything_else_is_refused_by_name(text: str) -> None:
    with pytest.raises(ArtifactError, match=r"^evil\.onnx: "):
        Contract.from_json(text, source="evil.onnx")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("loc", "nowhere"),
        ("backbone", ""),
        ("image_hw", [64]),
        ("image_hw", [64, 0]),
        ("image_hw", [64, 10**9]),
        ("image_hw", [64.0, 64.0]),
        ("labels", []),
        ("labels", "cat"),
        ("labels", ["cat", 1]),
        ("mean", [0, 0]),
        ("mean", [0, 0, float("inf")]),
        ("mean", [0, 0, 10**400]),
        ("std", [1, 1, 0]),
        ("std", None),
    ],
)
def test_a_damaged_field_is_refused(field: str, value: object) -> None:
    fields = json.loads(CONTRACT.to_json()) | {field: value}
    with pytest.raises(ArtifactError, match="damaged"):
        Contract.from_json(json.dumps(fields), source="model.onnx")


@pytest.mark.parametrize("field", ["loc", "backbone", "image_hw", "labels", "mean", "std"])
def test_a_missing_field_is_named(field: str) -> None:
    fields = json.loads(CONTRACT.to_json())
    del fields[field]
    with pytest.raises(ArtifactError, match=f"'{field}' is missing"):
        Contract.from_json(json.dumps(fields), source="model.onnx")


def test_what_version_1_can_say_is_said_in_it() -> None:
    """So that files without bounds are read by every lstn, and are the same bytes as before."""
    written = json.loads(CONTRACT.to_json())
    assert written["version"] == 1
    assert "theta" not in written
    assert Contract.from_json(CONTRACT.to_json(), source="test").theta is ThetaForm.AFFINE


@pytest.mark.parametrize("theta", ["sideways", None, 3])
def test_a_bound_that_nobody_knows_is_refused(theta: object) -> None:
    """An lstn that ignored it would build another network around the same weights."""
    bounded = replace(CONTRACT, theta=ThetaForm.CROP)
    fields = json.loads(bounded.to_json())
    assert (fields["version"], fields["theta"]) == (2, "crop")
    with pytest.raises(ArtifactError, match="damaged"):
        Contract.from_json(json.dumps(fields | {"theta": theta}), source="model.onnx")


@pytest.mark.parametrize(
    "newer",
    [
        replace(CONTRACT, at=At.STEM),
        replace(CONTRACT, iterations=2),
        *(replace(CONTRACT, loc=loc) for loc in Loc if loc is not Loc.GLANCE),
    ],
)
def test_only_what_version_3_alone_can_say_is_said_in_it(newer: Contract) -> None:
    """An lstn that knows no version 3 says so, instead of building another network."""
    fields = json.loads(newer.to_json())
    assert (fields["version"] == 3) == (newer.loc not in PAPER_LOCS or newer.at is At.STEM or newer.iterations > 1)
    assert ("at" in fields, "iterations" in fields) == (fields["version"] == 3,) * 2


@pytest.mark.parametrize(
    "newest",
    [
        replace(CONTRACT, loc=Loc.GLANCE),
        replace(CONTRACT, view_hw=(16, 12)),
        replace(CONTRACT, crop_hw=(32, 24)),
        *(replace(CONTRACT, theta=form) for form in (ThetaForm.PROJECTIVE, ThetaForm.TPS, ThetaForm.POLAR)),
    ],
)
def test_views_crops_glance_and_new_warps_are_said_in_version_4(newest: Contract) -> None:
    fields = json.loads(newest.to_json())
    assert fields["version"] == 4
    assert Contract.from_json(newest.to_json(), source="test") == newest
    assert newest.plain == (newest == replace(CONTRACT, temperature=1.5))
    for field in ("view_hw", "crop_hw"):
        with pytest.raises(ArtifactError, match=f"'{field}' is missing"):
            Contract.from_json(json.dumps({key: value for key, value in fields.items() if key != field}), source="test")


@pytest.mark.parametrize("fit", [Fit.LETTERBOX, Fit.CENTRE])
def test_a_fit_is_said_in_version_5_which_older_readers_refuse(fit: Fit) -> None:
    """They would stretch photos, and say nothing."""
    fields = json.loads(replace(CONTRACT, fit=fit).to_json())
    assert (fields["version"], fields["fit"]) == (5, fit.value)
    assert replace(CONTRACT, fit=fit).plain
    del fields["fit"]
    with pytest.raises(ArtifactError, match="'fit' is missing"):
        Contract.from_json(json.dumps(fields), source="model.onnx")


@pytest.mark.parametrize("fit", ["crop", None, 1])
def test_a_fit_that_nobody_knows_is_refused(fit: object) -> None:
    fields = json.loads(replace(CONTRACT, fit=Fit.CENTRE).to_json()) | {"fit": fit}
    with pytest.raises(ArtifactError, match="damaged"):
        Contract.from_json(json.dumps(fields), source="model.onnx")


def test_a_detector_stretches() -> None:
    detector = Contract(Loc.GLANCE, "cnn", (64, 48), ("cat", "dog"), task=Task.DETECT, warps=4)
    detector.check()
    with pytest.raises(UsageError, match="a detector of fit letterbox"):
        replace(detector, fit=Fit.LETTERBOX).check()


GENERATOR = Contract(Loc.GLANCE, "dcgan", (64, 96), ("0", "1"), task=Task.GENERATE, noise=16, crop_hw=(32, 32))


def test_a_generator_is_said_in_version_8_which_older_readers_refuse() -> None:
    fields = json.loads(GENERATOR.to_json())
    assert (fields["version"], fields["task"], fields["noise"]) == (8, "generate", 16)
    assert Contract.from_json(GENERATOR.to_json(), source="test") == GENERATOR
    with pytest.raises(ArtifactError, match="version 6 knows no task generate"):
        Contract.from_json(json.dumps(fields | {"version": 6}), source="model.onnx")
    with pytest.raises(ArtifactError, match="'noise' is missing"):
        Contract.from_json(json.dumps({key: fields[key] for key in fields if key != "noise"}), source="model.onnx")
    with pytest.raises(ArtifactError, match="noise"):
        Contract.from_json(json.dumps(fields | {"noise": 10**9}), source="model.onnx")


TAGGER = Contract(Loc.LSTN, "cnn", (64, 96), ("cat", "dog"), task=Task.TAG, thresholds=(0.25, 1.0))


def test_a_model_that_tags_is_said_in_version_9_which_older_readers_refuse() -> None:
    fields = json.loads(TAGGER.to_json())
    assert (fields["version"], fields["task"], fields["thresholds"]) == (9, "tag", [0.25, 1.0])
    assert Contract.from_json(TAGGER.to_json(), source="test") == TAGGER
    assert (TAGGER.logits_shape, TAGGER.theta_shape, TAGGER.plain) == ((2,), (2, 3), False)
    with pytest.raises(ArtifactError, match="version 8 knows no task tag"):
        Contract.from_json(json.dumps(fields | {"version": 8}), source="model.onnx")
    with pytest.raises(ArtifactError, match="'thresholds' is missing"):
        Contract.from_json(json.dumps({key: fields[key] for key in fields if key != "thresholds"}), source="model.onnx")
    half = replace(TAGGER, thresholds=())
    half.check()
    assert json.loads(half.to_json())["thresholds"] == []


@pytest.mark.parametrize("thresholds", [[0.5, 1.01], [-0.1, 0.5], ["0.5", 0.5], 0.5, None, [0.5], [0.5] * 3])
def test_thresholds_that_no_model_can_have_are_refused(thresholds: object) -> None:
    fields = json.loads(TAGGER.to_json()) | {"thresholds": thresholds}
    with pytest.raises(ArtifactError, match=r"model\.onnx: damaged contract"):
        Contract.from_json(json.dumps(fields), source="model.onnx")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"temperature": 2.0}, "thresholds, and no temperature"),
        ({"at": At.MAP}, "--at map is for detectors"),
        ({"warps": 17}, "17 warps of an image"),
        ({"loc": Loc.NONE, "warps": 2}, "a model of loc none chooses no warps"),
        ({"task": Task.CLASSIFY}, "a model that classifies has no thresholds of labels"),
        ({"thresholds": (0.5,)}, "1 threshold for 2 labels"),
    ],
)
def test_a_model_that_cannot_tag_is_refused(changes: dict[str, Any], told: str) -> None:
    TAGGER.check()
    with pytest.raises(UsageError, match=told):
        replace(TAGGER, **changes).check()


READER = Contract(Loc.GLANCE, "cnn", (64, 96), ("0", "1"), task=Task.READ, warps=4, crop_hw=(16, 16))


def test_a_reader_is_said_in_version_6_which_older_readers_refuse() -> None:
    """They know no such task, and say which version they read."""
    fields = json.loads(READER.to_json())
    assert (fields["version"], fields["task"]) == (6, "read")
    assert Contract.from_json(READER.to_json(), source="test") == READER
    assert (READER.logits_shape, READER.theta_shape, READER.plain) == ((4, 3), (4, 2, 3), False)
    with pytest.raises(ArtifactError, match="version 5 knows no task read"):
        Contract.from_json(json.dumps(fields | {"version": 5}), source="model.onnx")


def test_a_model_that_aligns_is_said_in_version_7() -> None:
    aligner = replace(READER, task=Task.ALIGN, labels=("a", "stop", "sign"), separator=" ")
    fields = json.loads(aligner.to_json())
    assert (fields["version"], fields["task"]) == (7, "align")
    assert Contract.from_json(aligner.to_json(), source="test") == aligner
    assert (aligner.logits_shape, aligner.theta_shape) == ((4, SPACE), (4, 2, 3))
    with pytest.raises(ArtifactError, match="version 6 knows no task align"):
        Contract.from_json(json.dumps(fields | {"version": 6}), source="model.onnx")
    with pytest.raises(UsageError, match="a model that aligns knows words"):
        replace(aligner, separator="", labels=("a",)).check()
    with pytest.raises(UsageError, match="a model that aligns has regions"):
        replace(aligner, loc=Loc.NONE).check()
    with pytest.raises(UsageError) as raised:
        check_task(Task.ALIGN, Task.CLASSIFY, "lstn tune")
    assert raised.value.hint == "lstn infer --sentence TEXT, evaluate, export and bench take models that align"


def test_a_reader_of_words_is_said_in_version_7_which_older_readers_refuse() -> None:
    words = replace(READER, labels=("a", "stop", "sign"), separator=" ")
    words.check()
    fields = json.loads(words.to_json())
    assert (fields["version"], fields["separator"]) == (7, " ")
    assert Contract.from_json(words.to_json(), source="test") == words
    with pytest.raises(ArtifactError, match="a reader's symbol 'stop'"):  # of version 6, which has no separator
        Contract.from_json(json.dumps(fields | {"version": 6}), source="model.onnx")
    with pytest.raises(ArtifactError, match="damaged"):
        Contract.from_json(json.dumps(fields | {"separator": ", "}), source="model.onnx")
    with pytest.raises(UsageError, match="a reader's word 'stop sign'"):
        replace(words, labels=("stop sign",)).check()
    with pytest.raises(UsageError, match="a model that classifies has no text"):
        replace(CONTRACT, separator=" ").check()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"loc": Loc.SHARED}, "a reader of loc shared"),
        ({"loc": Loc.DEAD, "crop_hw": None}, "a reader of loc dead"),
        ({"labels": ("0", "10")}, "a reader's symbol '10'"),
        ({"warps": 1}, "a reader of 1 symbol"),
        ({"warps": 65}, "a reader of 65 symbols"),
        ({"theta": ThetaForm.TPS}, "a reader's boxes can't be tps"),
        ({"iterations": 2}, "a reader looks once"),
        ({"temperature": 2.0}, "a reader's symbols have no temperature"),
        ({"fit": Fit.CENTRE}, "a reader of fit centre"),
        ({"at": At.MAP}, "a reader at map"),
        ({"crop_hw": (65, 16)}, "a crop of 65 x 16 pixels is larger"),
    ],
)
def test_a_reader_that_cannot_be_is_refused(changes: dict[str, Any], told: str) -> None:
    READER.check()
    with pytest.raises(UsageError, match=told):
        replace(READER, **changes).check()


@pytest.mark.parametrize("field", ["view_hw", "crop_hw"])
@pytest.mark.parametrize("size", [[0, 4], [4], 4, [4, 9000], [True, 4], "large"])
def test_sizes_that_no_image_has_are_refused(field: str, size: object) -> None:
    fields = json.loads(replace(CONTRACT, crop_hw=(32, 24)).to_json()) | {field: size}
    with pytest.raises(ArtifactError, match="damaged"):
        Contract.from_json(json.dumps(fields), source="model.onnx")


def test_a_temperature_leaves_the_transformer_the_papers() -> None:
    trained = replace(CONTRACT, temperature=1.5)
    assert json.loads(trained.to_json())["version"] == 4
    assert Contract.from_json(trained.to_json(), source="test") == trained
    assert trained.plain


@pytest.mark.parametrize(
    "other",
    [{"iterations": 2}, {"at": At.STEM}, {"loc": Loc.SHARED}, {"warps": 2}, {"task": Task.DETECT, "warps": 4}],
)
def test_what_the_paper_has_not_is_not_the_papers(other: dict[str, Any]) -> None:
    assert CONTRACT.plain
    assert not replace(CONTRACT, **other).plain


def test_a_file_from_before_there_were_temperatures_has_1() -> None:
    glance = replace(CONTRACT, loc=Loc.GLANCE)
    assert "temperature" not in json.loads(glance.to_json())
    assert Contract.from_json(glance.to_json(), source="test").temperature == 1
    assert json.loads(replace(glance, temperature=2.0).to_json())["temperature"] == 2


@pytest.mark.parametrize("temperature", [0, -1, 0.049, 20.1, True, "warm", None, 1e400])
def test_temperatures_that_no_fit_ends_at_are_refused(temperature: object) -> None:
    fields = json.loads(replace(CONTRACT, temperature=2.0).to_json()) | {"temperature": temperature}
    with pytest.raises(ArtifactError, match="damaged"):
        Contract.from_json(json.dumps(fields), source="model.onnx")


@pytest.mark.parametrize("loc", [Loc.GLANCE, Loc.SHARED, *CONTROLS])
@pytest.mark.parametrize("older", [CONTRACT, replace(CONTRACT, theta=ThetaForm.CROP)])
def test_an_older_version_knows_no_newer_localizer(older: Contract, loc: Loc) -> None:
    fields = json.loads(older.to_json()) | {"loc": loc.value}
    with pytest.raises(ArtifactError, match=f"version {fields['version']} knows no loc {loc.value}"):
        Contract.from_json(json.dumps(fields), source="model.onnx")


@pytest.mark.parametrize(
    ("field", "value"), [("iterations", 0), ("iterations", 9), ("iterations", True), ("at", "sea")]
)
def test_a_transformer_that_nobody_can_build_is_refused(field: str, value: object) -> None:
    fields = json.loads(replace(CONTRACT, iterations=2).to_json()) | {field: value}
    with pytest.raises(ArtifactError, match="damaged"):
        Contract.from_json(json.dumps(fields), source="model.onnx")


def test_a_newer_version_says_so() -> None:
    fields = json.loads(CONTRACT.to_json()) | {"version": 99}
    with pytest.raises(ArtifactError, match="version 99"):
        Contract.from_json(json.dumps(fields), source="model.onnx")


def test_deep_nesting_does_not_crash() -> None:
    with pytest.raises(ArtifactError):
        Contract.from_json("[" * 100_000, source="model.onnx")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"crop_hw": (65, 48)}, "a crop of 65 x 48 pixels is larger than the image, 64 x 48"),
        ({"theta": ThetaForm.TPS, "iterations": 2}, "theta tps looks once"),
        ({"theta": ThetaForm.POLAR, "image_hw": (8192, 8192)}, "a crop of 8192 x 8192 pixels is too large"),
        ({"theta": ThetaForm.TPS, "image_hw": (8192, 8192), "crop_hw": (8, 8)}, "a crop of 8 x 8 pixels is too large"),
        ({"at": At.STEM, "crop_hw": (32, 24)}, "at the stem warps feature maps"),
        ({"loc": Loc.SHARED, "view_hw": (32, 24)}, "no localizer that looks at the image by itself"),
        ({"loc": Loc.NONE, "crop_hw": (32, 24)}, "a model of loc none makes no crop"),
    ],
)
def test_a_contract_that_no_model_can_have_is_refused_wherever_it_is_read(
    changes: dict[str, object], told: str
) -> None:
    impossible = replace(CONTRACT, **changes)
    with pytest.raises(ArtifactError, match=rf"model\.onnx: damaged contract.*{told}"):
        Contract.from_json(impossible.to_json(), source="model.onnx")
    with pytest.raises(UsageError, match=told):
        impossible.check()


KEPT = (Path(__file__).parents[1] / "fixtures" / "contracts.jsonl").read_text(encoding="utf-8").splitlines()
"""Contracts as they were written when their version was new: never written again."""


@pytest.mark.parametrize("text", KEPT)
def test_contracts_of_every_version_are_read_and_written_as_they_were(text: str) -> None:
    contract = Contract.from_json(text, source="kept")
    contract.check()
    assert contract.to_json() == text


def test_a_contract_of_every_version_is_kept() -> None:
    assert {json.loads(text)["version"] for text in KEPT} == set(range(1, VERSION + 1))


DETECTOR = Contract(Loc.GLANCE, "cnn", (64, 64), ("a", "b"), task=Task.DETECT, warps=4, crop_hw=(16, 16))
PLAIN = replace(CONTRACT, loc=Loc.NONE)


@pytest.mark.parametrize(
    ("base", "field", "allowed", "refused"),
    [
        (PLAIN, "image_hw", ([1, 1], [8192, 8192]), ([0, 1], [8193, 1], [1, 8193])),
        (PLAIN, "labels", (["a" * 200],), (["a" * 201], [""])),
        (PLAIN, "backbone", ("b" * 200,), ("b" * 201,)),
        (replace(PLAIN, temperature=1.5), "temperature", (0.05, 20.0), (0.0499, 20.01)),
        (CONTRACT, "iterations", (1, 2, 8), (0, 9)),
        (CONTRACT, "warps", (1, 16), (0, 17)),
        (DETECTOR, "warps", (2, 300), (1, 301)),
        (READER, "warps", (2, 64), (1, 65)),
        (GENERATOR, "noise", (1, 4096), (0, 4097)),
        (GENERATOR, "warps", (1,), (2,)),
    ],
)
def test_the_bounds_are_those_that_files_have_been_written_with(
    base: Contract, field: str, allowed: tuple[object, ...], refused: tuple[object, ...]
) -> None:
    fields = json.loads(replace(base, crop_hw=base.crop_hw or (16, 16) if base.loc is not Loc.NONE else None).to_json())
    for value in allowed:
        Contract.from_json(json.dumps(fields | {field: value}), source="model.onnx")
    for value in refused:
        with pytest.raises(ArtifactError, match=r"model\.onnx"):
            Contract.from_json(json.dumps(fields | {field: value}), source="model.onnx")


def test_the_largest_contract_has_100000_labels_and_4_mib() -> None:
    fields = json.loads(PLAIN.to_json())
    many = [str(number) for number in range(100_001)]
    text = json.dumps(fields | {"labels": many[:-1]})
    assert len(Contract.from_json(text.ljust(4 << 20), source="model.onnx").labels) == 100_000
    with pytest.raises(ArtifactError, match="is 4194305 characters long"):
        Contract.from_json(text.ljust((4 << 20) + 1), source="model.onnx")
    with pytest.raises(ArtifactError, match="damaged"):
        Contract.from_json(json.dumps(fields | {"labels": many}), source="model.onnx")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"loc": Loc.SHARED}, "a generator of loc shared"),
        ({"loc": Loc.DEAD, "crop_hw": None}, "a generator of loc dead"),
        ({"theta": ThetaForm.TPS}, "a generator's boxes can't be tps"),
        ({"iterations": 2}, "a generator looks once"),
        ({"temperature": 2.0}, "a generator's pictures have no temperature"),
        ({"fit": Fit.CENTRE}, "a generator of fit centre"),
        ({"at": At.MAP}, "a generator at map"),
        ({"at": At.STEM, "crop_hw": None}, "a generator at stem"),
    ],
)
def test_a_generator_that_cannot_be_is_refused(changes: dict[str, Any], told: str) -> None:
    GENERATOR.check()
    with pytest.raises(UsageError, match=told):
        replace(GENERATOR, **changes).check()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"loc": Loc.NONE, "crop_hw": None}, "a detector of loc none finds no regions"),
        ({"loc": Loc.DEAD, "crop_hw": None}, "a detector of loc dead finds no regions"),
        ({"loc": Loc.SHARED}, "a detector of loc shared at input"),
        ({"at": At.MAP}, "a detector of loc glance at map"),
        ({"at": At.STEM, "crop_hw": None}, "a detector of loc glance at stem"),
        ({"iterations": 2}, "a detector looks once"),
        ({"temperature": 2.0}, "a detector's scores have no temperature"),
    ],
)
def test_a_detector_that_cannot_be_is_refused(changes: dict[str, Any], told: str) -> None:
    DETECTOR.check()
    replace(DETECTOR, loc=Loc.SHARED, at=At.MAP).check()
    with pytest.raises(UsageError, match=told):
        replace(DETECTOR, **changes).check()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"warps": 2, "iterations": 2}, "2 warps and 2 iterations"),
        ({"warps": 2, "loc": Loc.IDENTITY}, "loc identity chooses no warps"),
        ({"warps": 2, "loc": Loc.NONE}, "loc none chooses no warps"),
        ({"at": At.MAP}, "--at map is for detectors"),
        ({"at": At.STEM, "view_hw": (16, 16)}, "a transformer at the stem"),
        ({"at": At.STEM, "crop_hw": (16, 16)}, "a transformer at the stem"),
        ({"loc": Loc.NONE, "view_hw": (16, 16)}, "loc none has no localizer that looks"),
        ({"loc": Loc.NONE, "crop_hw": (16, 16)}, "loc none makes no crop"),
        ({"loc": Loc.DEAD, "crop_hw": (16, 16)}, "loc dead makes no crop"),
        ({"crop_hw": (65, 16)}, "a crop of 65 x 16 pixels is larger"),
        ({"noise": 1}, "takes no noise"),
        ({"separator": " "}, "has no text"),
    ],
)
def test_a_classifier_that_cannot_be_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        replace(CONTRACT, **changes).check()


def test_images_are_normalised_as_torchvisions_weights_were_trained() -> None:
    """https://docs.pytorch.org/vision/stable/models.html: the mean and the standard deviation of ImageNet's colours."""
    assert (CONTRACT.mean, CONTRACT.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_the_backbone_gets_the_crop_unless_its_maps_are_cut() -> None:
    cropped = replace(DETECTOR, loc=Loc.SHARED, at=At.MAP)
    assert (CONTRACT.backbone_hw, DETECTOR.backbone_hw, cropped.backbone_hw) == ((64, 48), (16, 16), (64, 64))


def test_outputs_have_an_axis_for_regions_where_there_are_several() -> None:
    several = replace(CONTRACT, warps=3)
    shapes = {
        "one": (CONTRACT.logits_shape, CONTRACT.theta_shape),
        "several": (several.logits_shape, several.theta_shape),
        "regions": (DETECTOR.logits_shape, DETECTOR.theta_shape),
        "points": replace(CONTRACT, theta=ThetaForm.TPS).theta_shape,
        "homography": replace(CONTRACT, theta=ThetaForm.PROJECTIVE, warps=2).theta_shape,
    }
    assert shapes == {
        "one": ((2,), (2, 3)),
        "several": ((2,), (3, 2, 3)),
        "regions": ((4, 3), (4, 2, 3)),
        "points": (16, 2),
        "homography": (2, 3, 3),
    }


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"loc": "nowhere"}, "loc 'nowhere'"),
        ({"theta": 3}, "theta 3"),
        ({"image_hw": (64, 0)}, "no model can be so"),
        ({"labels": 5}, "no model can be so"),
        ({"crop_hw": (65, 16)}, "is larger"),
    ],
)
def test_values_of_a_program_are_checked_as_a_files(changes: dict[str, Any], told: str) -> None:
    given: dict[str, object] = {"loc": "lstn", "backbone": "cnn", "image_hw": (64, 48), "labels": ["cat", "dog"]}
    assert Contract.checked(given) == CONTRACT
    assert Contract.checked(given | {"mean": [1, 2, 3.5]}).mean == (1.0, 2.0, 3.5)
    with pytest.raises(UsageError, match=told):
        Contract.checked(given | changes).check()


@pytest.mark.parametrize("version", [0, -1, VERSION + 1, True, 1.0, "1", None])
def test_a_version_is_a_number_that_this_lstn_knows(version: object) -> None:
    with pytest.raises(ArtifactError, match="this lstn reads up to version"):
        Contract.from_json(json.dumps(json.loads(CONTRACT.to_json()) | {"version": version}), source="model.onnx")


def test_forms_that_are_affine_bounded_or_dense_are_known() -> None:
    assert set(AFFINE_FORMS) == {ThetaForm.AFFINE, ThetaForm.SIMILARITY, ThetaForm.CROP}
    assert set(UNBOUNDED) == {ThetaForm.AFFINE, ThetaForm.PROJECTIVE, ThetaForm.TPS}
    looked_once = {ThetaForm.TPS, ThetaForm.POLAR}
    for form in ThetaForm:
        twice = replace(CONTRACT, theta=form, iterations=2)
        if form in looked_once:
            with pytest.raises(UsageError, match=f"theta {form.value} looks once"):
                twice.check()
        else:
            twice.check()


def test_a_crop_of_a_dense_form_has_a_million_points_at_most() -> None:
    """Of an image with more than 4 times its side, a crop reads 2 x 2 points for each of its pixels."""
    for side, allowed in ((512, True), (513, False)):
        dense = replace(CONTRACT, image_hw=(4 * side + 1, 4 * side + 1), crop_hw=(side, side), theta=ThetaForm.TPS)
        if allowed:
            dense.check()
        else:
            with pytest.raises(UsageError, match="is too large for theta tps"):
                dense.check()
        replace(dense, theta=ThetaForm.PROJECTIVE).check()


def test_what_is_for_other_models_says_so() -> None:
    check_sees(Task.CLASSIFY, "model.onnx")
    with pytest.raises(UsageError, match=r"model\.onnx: a generator, which looks at no image") as raised:
        check_sees(Task.GENERATE, "model.onnx")
    assert raised.value.hint == "lstn infer --count N, export, bench and inspect take generators"
    check_task(Task.READ, Task.READ, "--x")
    with pytest.raises(UsageError, match="--x is for models that read, and this one detects") as raised:
        check_task(Task.DETECT, Task.READ, "--x")
    assert raised.value.hint == "lstn infer, evaluate, export, serve and bench take models that look at images"
    with pytest.raises(UsageError) as raised:
        check_task(Task.DETECT, Task.READ, "--x", hint="do y")
    assert raised.value.hint == "do y"


@pytest.mark.parametrize("theta", [form for form in ThetaForm if FORM_TRAITS[form].since > 1])
def test_a_version_knows_no_form_that_came_later(theta: ThetaForm) -> None:
    newest = replace(CONTRACT, theta=theta)
    fields = json.loads(newest.to_json())
    assert Contract.from_json(json.dumps(fields), source="test") == newest
    with pytest.raises(ArtifactError, match=f"knows no theta {theta.value}"):
        Contract.from_json(json.dumps(fields | {"version": FORM_TRAITS[theta].since - 1}), source="model.onnx")
