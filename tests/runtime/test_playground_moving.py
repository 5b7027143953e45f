"""The playground's camera and videos in a real browser."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import Browser
from clips import write_clip
from playground import EMPTY, SHOWN, Playground
from serving import Server, serving, until
from tiny import Tiny, proto_of
from tiny_fixtures import tiny_at

from lstn.contract import Loc, ThetaForm
from lstn.warps.steadying import SteadyWarp
from lstn.warps.warp import identity_theta

LABELS = ("ant", "bee", "cat", "dog")
RED, BLUE = (200, 30, 40), (20, 40, 190)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    tiny = tiny_at(tmp_path_factory.mktemp("moving") / "model.onnx", loc=Loc.LSTN, labels=LABELS, seed=2)
    tiny.path.write_bytes(proto_of(tiny).SerializeToString())
    return tiny


@pytest.fixture(scope="module")
def server(model: Tiny) -> Iterator[Server]:
    with serving("--engine", model.path, "--max-wait-ms", 0) as running:
        yield running


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Playground]:
    """The page, on which nothing may go wrong that no test asks for."""
    yield Playground(browser, server.http)
    assert browser.messages() == []


def check_last_frame(page: Playground, model: Tiny) -> None:
    """The frame that stays has the answer that the model gives to it."""
    until(lambda: page.text("camera") == "Camera")

    def answered() -> bool:
        seen = page.pixels("input")[None]
        same = np.allclose(page.theta(), model.theta(seen), atol=6e-4)
        return same and page.shown()[0][0] == LABELS[model.logits(seen).argmax()]

    until(answered)


def test_a_video_is_answered_frame_after_frame(page: Playground, model: Tiny, tmp_path: Path) -> None:
    frames = [np.full((48, 64, 3), colour, np.uint8) for colour in (RED,) * 15 + (BLUE,) * 10]
    labels = [LABELS[model.logits(each[None]).argmax()] for each in (frames[0], frames[-1])]
    assert labels[0] != labels[1]
    clip = write_clip(tmp_path / "clip.webm", frames, codec="libvpx", format_="webm")
    page.find("file").send_keys(str(clip))
    until(lambda: bool(page.run(SHOWN)) and page.shown()[0][0] == labels[0])
    assert page.text("camera") == "Stop"
    assert page.find("source").accessible_name == "The picture clip.webm"
    until(lambda: page.shown()[0][0] == labels[1])
    check_last_frame(page, model)
    np.testing.assert_allclose(page.pixels("input").mean((0, 1)), BLUE, atol=12)  # VP8 keeps colours about so


def test_a_camera_is_shown_and_stopped(page: Playground, model: Tiny) -> None:
    page.find("camera").click()
    page.wait("return document.getElementById('source').ariaLabel === 'The picture of the camera'")
    page.wait(SHOWN)
    first = page.pixels("input")
    assert first.any()
    until(lambda: bool((page.pixels("input") != first).any()))  # it moves
    page.find("camera").click()
    check_last_frame(page, model)
    assert page.run("return document.getElementById('moving').srcObject") is None
    page.find("blank").click()
    page.wait(EMPTY)


def test_a_picture_takes_the_place_of_a_camera(page: Playground, picture: Path) -> None:
    page.find("camera").click()
    page.wait("return moving.video.srcObject && moving.video.videoWidth")
    page.run("window.track = moving.video.srcObject.getTracks()[0]")
    page.choose(picture)
    assert page.run("return window.track.readyState") == "ended"
    assert page.text("camera") == "Camera"


def test_what_is_not_a_video_is_said(page: Playground, tmp_path: Path) -> None:
    false = tmp_path / "false.mp4"
    false.write_bytes(b"no video at all")
    page.find("file").send_keys(str(false))
    assert page.told() == "false.mp4: not a video that this browser can play."
    assert page.text("camera") == "Camera"
    page.browser.messages()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("NotAllowedError", "The browser doesn't let this page see the camera."),
        ("NotFoundError", "There is no camera."),
        ("AbortError", "The camera can't be used: odd."),
    ],
)
def test_a_camera_that_is_refused_is_said(page: Playground, name: str, told: str) -> None:
    page.run(f"navigator.mediaDevices.getUserMedia = async () => {{ throw new DOMException('odd', '{name}') }}")
    page.find("camera").click()
    assert page.told() == told
    assert page.text("camera") == "Camera"


@pytest.mark.parametrize(
    ("form", "warps"), [(ThetaForm.AFFINE, 1), (ThetaForm.AFFINE, 2), (ThetaForm.PROJECTIVE, 1), (ThetaForm.TPS, 1)]
)
def test_warps_are_steadied_as_lstn_infer_does(page: Playground, form: ThetaForm, warps: int) -> None:
    random = np.random.default_rng(4)
    one = identity_theta(form).astype(np.float32)
    thetas = one + random.normal(0, 0.1, (20, warps, *one.shape)).astype(np.float32).cumsum(0)
    thetas = thetas[:, 0] if warps == 1 else thetas
    seconds = np.cumsum(random.uniform(0.01, 0.2, 20))
    seconds[11] = seconds[10]  # not later: a new video
    python = SteadyWarp()
    wanted = [python.steadied(theta, float(at)) for theta, at in zip(thetas, seconds, strict=True)]
    given = json.dumps([[theta.ravel().tolist(), float(at)] for theta, at in zip(thetas, seconds, strict=True)])
    shape = json.dumps(thetas.shape[1:])
    found = page.run(f"""
        const steady = new SteadyWarp();
        return {given}.map(([theta, at]) => steady.steadied(theta, {shape}, '{form.value}', at));""")
    np.testing.assert_allclose(np.reshape(found, thetas.shape), np.stack(wanted), atol=2e-5)
