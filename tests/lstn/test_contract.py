import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstn.contract import CONTROLS, PAPER_LOCS, SPACE, VERSION, At, Contract, Fit, Loc, Task, ThetaForm, check_task
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
