"""`lstn tune --load`: a real server under a short load, and the choice of a setting from answers that are made up."""

import asyncio
import json
import signal
import socket
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command import RunLstn
from PIL import Image
from serving import outputs_of, serving
from small_models import Exported, exported_once

from lstn.contract import Loc
from lstn.errors import ArtifactError, LstnError, UsageError
from lstn.images import decode
from lstn.research.tune import serving_tuned
from lstn.research.tune.open_loop import OpenLoad, due_moments, send_openly
from lstn.research.tune.sent_images import sent_images
from lstn.research.tune.server_under_load import Connections, ServingSetting, running_server
from lstn.research.tune.serving_report import serving_advice, serving_page, serving_report
from lstn.research.tune.serving_tuned import ServingRequest, TunedServer, opened_model, settings_to_try, tune_serving
from lstn.runtime.engines.opening import open_engine

QUICK = ("--data", "digits", "--load", "500", "--seconds", "0.2")
REQUEST = ServingRequest(load=100.0, batches=(1, 8), waits_ms=(0.0, 5.0), p99_ms=50.0, seconds=1.0)
ONE, NO_WAIT, WAIT, USUAL = (ServingSetting(*each) for each in ((1, 0.0), (8, 0.0), (8, 5.0), (32, 5.0)))


@pytest.fixture(scope="module")
def model() -> Exported:
    return exported_once(Loc.LSTN, "cnn")


def test_the_command_it_prints_starts_a_server_that_answers_right(
    model: Exported, tmp_path: Path, run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two settings and the server's own, each under a short load; then every answer of a load, image by image."""
    monkeypatch.setattr(serving_tuned, "_ROUNDS", 1)
    monkeypatch.setattr(serving_tuned, "_FINALISTS", 1)
    out = tmp_path / "tune"
    ran = run_lstn("tune", model.path, "--batch", "1,2", "--wait-ms", "1", *QUICK, "--p99-ms", "60000", "--out", out)
    assert ran.code == 0, ran.err
    found = json.loads((out / "serving.json").read_text())
    assert [(each["max_batch"], each["max_wait_ms"]) for each in found["trials"]] == [(1, 1), (2, 1)]
    assert [each["requests"] for each in found["trials"]] == [100, 100]
    assert (found["finalists"][0]["max_batch"], found["finalists"][0]["max_wait_ms"]) == (32, 5)
    assert "p50 of each" in (out / "serving.html").read_text()
    command = ran.out.splitlines()[-1].split()
    if found["command"] is None:  # a machine so busy that none kept up
        command = ["lstn", "serve", "--engine", str(model.path), *ONE.options]
    assert command[:2] == ["lstn", "serve"]
    files = sent_images(model.contract, "digits", seed=0, most=6)
    with serving(*command[2:], "--name", "tuned") as server:
        assert asyncio.run(answers_of(server.http_port, files)) == expected_of(model, files)


async def answers_of(port: int, files: list[bytes]) -> list[str]:
    """Labels of what a load of 30 requests is answered, in the order of the requests."""
    connections, labels = Connections(port, files), [""] * 30

    async def ask(number: int) -> bool:
        status, body = await connections.post(number)
        labels[number] = outputs_of(body)["label"][0]
        return status == 200

    load = await send_openly(ask, due_moments(300.0, seconds=0.1, warm_up_s=0.0, seed=0), seconds=0.1)
    connections.close()
    assert np.isfinite(load.done_s).all()
    assert (load.done_s > load.due_s).all()
    return labels


def expected_of(model: Exported, files: list[bytes]) -> list[str]:
    pixels = np.stack([decode(file, model.contract.image_hw) for file in files])
    with open_engine(model.path) as engine:
        best = engine.infer(pixels).logits.argmax(axis=1)
    return [model.contract.labels[best[number % len(files)]] for number in range(30)]


class MadeUpServers:
    """Loads that take as long as is said, in place of servers. ms: what each request takes; None: it isn't answered"""

    def __init__(self, ms: dict[ServingSetting, list[float | None]], *, stop_at: int = -1) -> None:
        self.ms, self.asked, self.stop_at = ms, list[ServingSetting](), stop_at

    def __call__(
        self, engine: Path, setting: ServingSetting, files: list[bytes], *, rate: float, seconds: float, seed: int
    ) -> OpenLoad:
        self.asked.append(setting)
        if len(self.asked) == self.stop_at:
            raise KeyboardInterrupt
        due_s = np.linspace(0, seconds, round(rate * seconds), endpoint=False)
        took = np.resize([np.inf if each is None else each / 1000 for each in self.ms[setting]], len(due_s))
        return OpenLoad(due_s, due_s + took, seconds)


def tuned_with(servers: MadeUpServers, model: Exported, folder: Path, monkeypatch: pytest.MonkeyPatch) -> TunedServer:
    monkeypatch.setattr(serving_tuned, "load_server", servers)
    return tune_serving(opened_model(model.path, "digits", 0), folder / "serving.json", REQUEST)


@pytest.mark.parametrize(
    ("ms", "best", "said"),
    [
        ({ONE: [9], NO_WAIT: [4], WAIT: [6], USUAL: [8]}, NO_WAIT, ""),
        ({ONE: [9], NO_WAIT: [4, *[5] * 8, 60], WAIT: [6], USUAL: [8]}, WAIT, "too slow"),
        ({ONE: [9], NO_WAIT: [4, None], WAIT: [5, None], USUAL: [8]}, USUAL, "50 unanswered"),
        ({ONE: [700], NO_WAIT: [900], WAIT: [49, 51], USUAL: [900]}, None, "falls behind"),
        ({ONE: [None], NO_WAIT: [None], WAIT: [None], USUAL: [None]}, None, "100 unanswered"),
    ],
)
def test_the_best_is_the_fastest_that_keeps_up_within_the_limit(
    ms: dict[ServingSetting, list[float | None]], best: ServingSetting | None, said: str, model: Exported,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    tuned = tuned_with(MadeUpServers(ms), model, tmp_path, monkeypatch)
    assert list(tuned.trials) == [ONE, NO_WAIT, WAIT]
    assert (None if tuned.best is None else tuned.best.setting) == best
    assert REQUEST.fails(tuned.trials[NO_WAIT]) == said
    assert tuned.finalists[0].setting == USUAL
    advice = serving_advice(tuned, "m.onnx")
    asked = "no setting " if best is None else f"lstn serve --engine m.onnx {best}"
    assert advice.startswith(asked)
    assert json.loads(json.dumps(serving_report(tuned, "m.onnx"), allow_nan=False))["command"] == (best and advice)
    assert asked in serving_page(tuned, "m.onnx")


def test_a_tuning_goes_on_where_it_was_stopped(
    model: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ms: dict[ServingSetting, list[float | None]] = {ONE: [9], NO_WAIT: [None], WAIT: [6], USUAL: [8]}
    with pytest.raises(KeyboardInterrupt):
        tuned_with(MadeUpServers(ms, stop_at=3), model, tmp_path, monkeypatch)
    again = MadeUpServers(ms)
    tuned = tuned_with(again, model, tmp_path, monkeypatch)
    assert again.asked == [WAIT, *[USUAL, WAIT, ONE, NO_WAIT] * 3]
    afresh = tuned_with(MadeUpServers(ms), model, tmp_path / "other", monkeypatch)
    assert tuned.trials == afresh.trials
    other = MadeUpServers(ms)
    monkeypatch.setattr(serving_tuned, "load_server", other)
    tune_serving(
        opened_model(model.path, "digits", 0), tmp_path / "serving.json", replace(REQUEST, load=200.0)
    )  # another load, other figures
    assert other.asked[:3] == [ONE, NO_WAIT, WAIT]
    (tmp_path / "serving.json").write_text('{"served": "m", "version": 1, "key": 7}')
    with pytest.raises(ArtifactError, match="damaged figures"):
        tuned_with(again, model, tmp_path, monkeypatch)


def test_images_of_a_folder_are_sent_as_they_are_and_others_as_jpeg(tmp_path: Path, model: Exported) -> None:
    for number, name in enumerate(("train/a/0", "train/b/1", "val/a/2", "val/b/3")):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (30 + number, 20)).save(path)
    contract = replace(model.contract, labels=("a", "b"))
    sent = sent_images(contract, f"folder:{tmp_path}", seed=0)
    assert sent == [(tmp_path / f"val/{name}.png").read_bytes() for name in ("a/2", "b/3")]
    (drawn,) = sent_images(model.contract, "digits", seed=0, most=1)
    assert drawn.startswith(b"\xff\xd8")
    assert decode(drawn, model.contract.image_hw).shape == (*model.contract.image_hw, 3)


def test_settings_that_cannot_differ_are_tried_once_and_those_too_large_never() -> None:
    assert settings_to_try((1, 8, 64), (0.0, 5.0), 32) == [ONE, NO_WAIT, WAIT]
    with pytest.raises(UsageError, match="batches of 4 at most"):
        settings_to_try((8, 16), (0.0,), 4)


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    told = r"lstn serve ended: .*none\.onnx: no such file"
    with pytest.raises(LstnError, match=told), running_server(tmp_path / "none.onnx", ONE):
        pass


def test_sigterm_leaves_no_server_behind(model: Exported) -> None:
    before = signal.getsignal(signal.SIGTERM)
    ports: list[int] = []

    def terminated() -> None:
        with running_server(model.path, ONE) as port:
            ports.append(port)
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit) as ended:
        terminated()
    assert ended.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", ports[0]))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--load", "0"), "--load 0: expected requests a second, more than 0"),
        (("--load", "-3"), "--load -3: expected requests a second"),
        (("--load", "nan"), "--load nan: expected requests a second"),
        (("--load", "1e9"), "at most 10,000"),
        (("--load", "5"), "--load 5: 10 requests in 2 s, and p99 needs 100 add --seconds 20"),
        (("--load", "100", "--wait-ms", "soon"), "--wait-ms 'soon': expected times"),
        (("--load", "100", "--wait-ms", "70000"), "--wait-ms '70000': expected times"),
        (("--load", "100", "--batch", "0"), "--batch '0': expected numbers of images"),
        (("--load", "100", "--crop", "24"), "--crop is not with --load"),
        (("--load", "100", "--max-drop", "0.5"), "--max-drop is not with --load"),
        (("--wait-ms", "5"), "--wait-ms is for lstn serve, with --load"),
        (("--load", "100", "--out", "model.onnx"), "a folder is meant"),
    ],
)
def test_bad_loads_are_refused_before_the_work(words: tuple[str, ...], told: str, model: Exported, tmp_path: Path,
                                               run_lstn: RunLstn) -> None:  # fmt: skip
    out = () if "--out" in words else ("--out", tmp_path / "tune")
    ran = run_lstn("tune", model.path, "--data", "digits", *words, *out)
    assert ran.code == 2
    assert told in " ".join(ran.err.split())
    assert not list(tmp_path.rglob("*.json"))


def test_without_what_serves_nothing_is_started(
    model: Exported, tmp_path: Path, run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    ran = run_lstn("tune", model.path, *QUICK, "--out", tmp_path / "tune")
    assert ran.code == 1
    assert "uvicorn is not installed" in ran.err
    assert "serve" in ran.err.splitlines()[-1]
