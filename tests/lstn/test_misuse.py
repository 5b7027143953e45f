"""What the parser refuses is said like every other error, with the nearest right name."""

import pytest
from command import RunLstn
from hypothesis import given
from hypothesis import strategies as st

from lstn.cli.parsing.misuse import is_misuse, usage_error
from lstn.errors import UsageError


@pytest.mark.parametrize(
    ("arguments", "says", "hint"),
    [
        ("train --loc lstm", "--loc lstm: expected one of none, stn, vstn, lstn,", "did you mean lstn?"),
        ("train --loc LSTN", "--loc LSTN: expected one of", "did you mean lstn?"),
        ("train --recipe papers", "--recipe papers: expected one of paper, robust", "did you mean paper?"),
        ("train --theta Afine", "--theta Afine: expected one of affine,", "did you mean affine?"),
        ("train --loc zebra", "--loc zebra: expected one of", "see: lstn train --help"),
        ("export --precision int9", "--precision int9: expected one of fp16, bf16, int8, fp8", "did you mean int8?"),
        ("bench x --device gpu", "unknown device 'gpu'", "use auto, cpu, cuda or cuda:N"),
        ("calibrate --ranges min", "--ranges min: expected one of minmax,", "did you mean minmax?"),
        ("train --epochs 0", "--epochs: expected 1 or more", "see: lstn train --help"),
        ("train --epochs", "option '--epochs' requires an argument", "see: lstn train --help"),
        ("train --epochs ten", "--epochs: expected a valid integer", "see: lstn train --help"),
        ("train --lok x", "lstn train has no option --lok", "did you mean --loc?"),
        ("trian", "lstn has no command trian", "did you mean train?"),
        ("frobnicate", "lstn has no command frobnicate", "see: lstn --help"),
        ("inspect", "missing argument 'FILE|RUN'", "see: lstn inspect --help"),
    ],
)
def test_a_wrong_word_is_answered_with_the_right_one(run_lstn: RunLstn, arguments: str, says: str, hint: str) -> None:
    ran = run_lstn(*arguments.split())
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"error: {says}")
    assert ran.err.endswith(f"\n  {hint}\n")
    assert "Value error" not in ran.err


@pytest.mark.parametrize("size", ["7", "4097", "7x8", "8x4097"])
def test_sides_that_no_training_takes_are_refused(run_lstn: RunLstn, size: str) -> None:
    ran = run_lstn("train", "--model", "cnn", "--image-size", size)
    assert ran.code == 2
    assert ran.err.startswith(
        f"error: --image-size {size!r}: expected a side, or height x width, of 8 to 4096 pixels\n"
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("evaluate gone --rotate 10 --rotate 20", "--rotate"),
        ("infer gone --engine=a --top 3 --engine b", "--engine"),
        ("evaluate gone --rotate 10 --scale 2", ""),
        ("serve --engine gone --engine gone", ""),
        ("calibrate gone --keep a --keep b", ""),
        ("infer --engine gone -- --top --top", ""),
    ],
)
def test_a_value_that_does_not_count_is_told(run_lstn: RunLstn, arguments: str, told: str) -> None:
    ran = run_lstn(*arguments.split())
    assert ran.code == 2
    warnings = [line for line in ran.err.splitlines() if line.startswith("warning")]
    assert warnings == ([f"warning: {told} is given more than once; only the last one counts"] if told else [])


def test_lstn_alone_shows_its_help(run_lstn: RunLstn) -> None:
    ran = run_lstn()
    assert ran.code == 2
    assert "Usage:" in ran.out + ran.err
    assert not ran.err.startswith("error")


class RefusedError(Exception):
    exit_code = 2
    ctx = None

    def format_message(self) -> str:
        return str(self.args[0])


@given(st.text(max_size=80))
def test_any_words_of_the_parser_become_a_usage_error(words: str) -> None:
    for message in (
        words,
        f"Invalid value for '--loc': {words}",
        f"Invalid value for '--loc': {words!r} is not one of 'a'.",
    ):
        error = RefusedError(message)
        assert is_misuse(error)
        assert isinstance(usage_error(error), UsageError)
    assert not is_misuse(ValueError(words))


@pytest.mark.parametrize(
    ("words", "before"),
    [
        (["infer", ""], "infer"),
        (["infer", "a.png", "--engine", ""], "--engine"),
        (["train", "--weights", ""], "--weights"),
        (["train", "--weights="], "--weights"),
        (["evaluate", "x", "--rotate", ""], "--rotate"),
        ([""], "lstn"),
    ],
)
def test_an_empty_word_is_refused_and_never_means_the_current_folder(
    run_lstn: RunLstn, words: list[str], before: str
) -> None:
    ran = run_lstn(*words)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"error: {before} '': expected a value\n")


def test_a_folder_of_no_name_is_not_the_current_one(run_lstn: RunLstn) -> None:
    ran = run_lstn("train", "--model", "cnn", "--data", "folder:")
    assert ran.code == 2
    assert "error: folder: names no folder\n" in ran.err


@pytest.mark.parametrize("seconds", ["inf", "1e300", "nan"])
def test_a_bench_without_an_end_is_refused(run_lstn: RunLstn, seconds: str) -> None:
    ran = run_lstn("bench", "model.onnx", "--seconds", seconds)
    assert ran.code == 2
    assert ran.err.startswith("error: --seconds: expected ")
