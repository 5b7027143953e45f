"""Labels of 200 characters in any script."""

import csv
import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from benchmarks.support.loads.made_models import write_model, write_pictures
from benchmarks.support.loads.measured_run import LoadRow, answered, run_lstn
from benchmarks.support.loads.served import served_answers

LENGTH = 200
_WORDS = {
    "Latin": "Straßenüberführung ",
    "Cyrillic": "Достопримечательность ",
    "Greek": "Ηλεκτρεγκεφαλογράφημα ",
    "Arabic": "الاستثناءات المحددة ",
    "Hebrew": "התמחויותיהם הרבות ",
    "Devanagari": "क्षत्रिय विद्यार्थी ",
    "Thai": "กรุงเทพมหานครอมรรัตนโกสินทร์",
    "Chinese": "漢字仮名交じり文",
    "Korean": "대한민국헌법제일조",
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈🇪🇺",
    "outside of the plane": "𒀀𓀀𝔄𠀀",
    "combining": "Ż̸̢̛a̷͎͝l̴̰̈g̵̱̎o̶̦͊ ",
    "marks of CSV and HTML": '","<b>&amp;\'`|=1+1',
}
"""A script -> what is repeated."""


def labels() -> list[str]:
    """Return a label of each script, in composed form."""
    return [unicodedata.normalize("NFC", text * LENGTH)[:LENGTH].strip().ljust(LENGTH, "x") for text in _WORDS.values()]


def long_labels(folder: Path) -> Iterator[LoadRow]:
    """Answer with such labels in each format, under locales that know them and don't, and over HTTP."""
    wanted = labels()
    write_model(folder / "model.onnx", wanted)
    write_pictures(folder / "pictures", 40)
    for locale in ("C.UTF-8", "C"):
        language = {"LC_ALL": locale, "LANG": None, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        for format_ in ("json", "jsonl", "csv", "table"):
            words = ("infer", "pictures", "--engine", "model.onnx", "--top", len(wanted), "--format", format_)
            ended = run_lstn(*words, cwd=folder, set_to=language)
            wrong = "" if ended.code or format_ == "table" else _wrong(format_, ended.out, wanted, locale)
            yield answered(
                f"`lstn infer --format {format_}`, LC_ALL={locale}", ended, f"{len(ended.out)} characters", wrong
            )
        ended = run_lstn("inspect", "model.onnx", cwd=folder, set_to=language)
        yield answered(f"`lstn inspect model.onnx`, LC_ALL={locale}", ended, f"{len(ended.out)} characters")
        rows = folder / "rows.csv"
        words = ("infer", "pictures", "--engine", "model.onnx", "--top", len(wanted), "--output", rows)
        ended = run_lstn(*words, cwd=folder, set_to=language)
        wrong = "" if ended.code else _wrong("csv", rows.read_text("utf-8"), wanted, "C.UTF-8")
        yield answered(f"`lstn infer --output rows.csv`, LC_ALL={locale}", ended, wrong=wrong)
    ended = run_lstn("export", "model.onnx", "--engine", "openvino", cwd=folder)
    yield answered("`lstn export model.onnx --engine openvino`", ended)
    ended = run_lstn("infer", "pictures", "--engine", "model.xml", "--format", "json", "--top", len(wanted), cwd=folder)
    wrong = "" if ended.code else _wrong("json", ended.out, wanted, "C.UTF-8")
    yield answered("`lstn infer --engine model.xml`", ended, wrong=wrong)
    yield from served_answers(folder / "model.onnx", folder / "pictures" / "000.png")
    yield from _classes(folder)


def _wrong(format_: str, text: str, wanted: list[str], locale: str) -> str:
    """Return what is wrong with the labels in these rows; where a locale lacks characters, CSV may escape them."""
    if format_ == "csv":
        rows = list(csv.DictReader(text.splitlines()))
        found = {row["label"] for row in rows}
        return "" if locale == "C" or found <= set(wanted) else f"{(found - set(wanted)).pop()!r:.100}"
    rows = json.loads(text) if format_ == "json" else [json.loads(line) for line in text.splitlines()]
    found = {guess["label"] for row in rows for guess in row["top"]}
    return "" if found == set(wanted) else f"{(found ^ set(wanted)).pop()!r:.100}"


def _classes(folder: Path) -> Iterator[LoadRow]:
    """Train on folders whose names are as long as a file's may be, 255 bytes."""
    for text in _WORDS.values():
        name = unicodedata.normalize("NFC", text * LENGTH).replace("/", "")[:LENGTH].strip()
        while len(name.encode()) > 255:
            name = name[:-1].strip()
        write_pictures(folder / "set" / name, 8)
    words = ("train", "--data", "folder:set", "--model", "cnn", "--image-size", 32, "--epochs", 1, "--name", "run")
    yield answered("`lstn train` on folders with names of 255 bytes", run_lstn(*words, "--workers", 0, cwd=folder))
    words = ("evaluate", "runs/run", "--json", "all.json", "--html", "all.html")
    yield answered("`lstn evaluate RUN --html`", run_lstn(*words, cwd=folder))
    yield answered("`lstn doctor --data folder:FOLDER`", run_lstn("doctor", "--data", "folder:set", cwd=folder))
