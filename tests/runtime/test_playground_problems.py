"""The playground when something goes wrong: the user is told in one line, and nothing stale passes for an answer."""

import json
import signal
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from browser import Browser
from PIL import Image
from playground import EMPTY, SHOWN, Playground
from serving import ZEROS, Server, body_of, random_pixels, serving, until, written
from tiny import SIDE, Tiny, proto_of
from tiny_fixtures import LABELS, tiny_at

from lstn.contract import Loc, ThetaForm

TOKEN = "correct-horse-battery"
OTHERS = ("emu", "elk", "eel", "eft")
RELOADED = {
    "others": (OTHERS, ThetaForm.AFFINE),
    "one more": ((*LABELS, "eft"), ThetaForm.AFFINE),
    "another form": (LABELS, ThetaForm.TPS),
}


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("picture") / "noise.png"
    Image.fromarray(random_pixels(1, 4)[0]).save(path)
    return path


def only_network_errors(browser: Browser, *statuses: str) -> bool:
    """Chromium writes a line of its own for each answer that is an error; the page writes nothing."""
    messages = browser.messages()
    return len(messages) == len(statuses) and all(
        "Failed to load resource" in message and status in message
        for message, status in zip(messages, statuses, strict=True)
    )


def test_what_is_no_picture_is_named(browser: Browser, server: Server, picture: Path, tmp_path: Path) -> None:
    page = Playground(browser, server.http)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "cut.png").write_bytes(picture.read_bytes()[:40])
    for name in ("notes.txt", "cut.png"):
        page.find("file").send_keys(str(tmp_path / name))
        page.wait(f"return document.getElementById('told').textContent.startsWith('{name}')")
        assert page.told() == f"{name}: not a picture that this browser can read."
        assert not page.find("again").is_displayed()
    rows = page.choose(picture)
    assert not page.find("problem").is_displayed()
    page.find("file").send_keys(str(tmp_path / "notes.txt"))
    assert "notes.txt" in page.told()
    assert page.shown() == rows  # of the picture that is still there
    assert browser.messages() == []


def test_of_two_pictures_the_one_chosen_last_stays(browser: Browser, server: Server, picture: Path) -> None:
    page = Playground(browser, server.http)
    page.run(f"""
        const drop = file => {{
            const carried = new DataTransfer();
            carried.items.add(file);
            document.body.dispatchEvent(new DragEvent('drop', {{ dataTransfer: carried, bubbles: true }}));
        }};
        const large = new OffscreenCanvas(4000, 3000);
        large.getContext('2d').fillRect(0, 0, 9, 9);
        return large.convertToBlob().then(blob => {{
            drop(new File([blob], 'large.png'));
            drop(new File([new Uint8Array({list(picture.read_bytes())})], 'small.png'));
            return createImageBitmap(blob).then(() => createImageBitmap(blob)).then(() => 0); // by then it is read
        }});""")
    page.shown()
    np.testing.assert_array_equal(page.pixels("input"), random_pixels(1, 4)[0])


def test_a_picture_is_dropped_anywhere(browser: Browser, server: Server, picture: Path) -> None:
    page = Playground(browser, server.http)
    where, data = page.run("return location.href"), list(picture.read_bytes())
    drop = """
        const carried = new DataTransfer();
        if (%s.length) carried.items.add(new File([new Uint8Array(%s)], 'dropped.png', { type: 'image/png' }));
        const options = { dataTransfer: carried, bubbles: true, cancelable: true };
        return ['dragover', 'drop'].map(kind => document.body.dispatchEvent(new DragEvent(kind, options)));"""
    assert page.run(drop % (data, data)) == [False, False]  # or the browser would leave the page for the picture
    page.shown()
    np.testing.assert_array_equal(page.pixels("input"), random_pixels(1, 4)[0])
    page.run(drop % ([], []))
    assert page.told() == "That is not a file."
    assert page.run("return location.href") == where


def test_a_server_that_is_gone_is_said_to_be(browser: Browser, model: Tiny, picture: Path) -> None:
    with serving("--engine", model.path) as running:
        page = Playground(browser, running.http)
        page.choose(picture)
        assert running.stop() == (0, "")
        page.slide(turn=90)
        assert page.told() == "The server doesn't answer. Is it still running?"
        assert page.run("return Boolean(document.querySelector('.stale'))")  # what is left is the older answer
        assert only_network_errors(browser, "ERR_CONNECTION_REFUSED")
        again = [serving("--engine", model.path, http_port=running.http_port)]
    with again[0]:
        page.find("again").click()
        page.shown()
        assert not page.find("problem").is_displayed()
        assert browser.messages() == []


def test_a_full_queue_is_said_to_be(browser: Browser, model: Tiny, picture: Path) -> None:
    patience = ("--max-batch", 4, "--max-wait-ms", 2000, "--max-queue", 2)
    with serving("--engine", model.path, *patience) as running, ThreadPoolExecutor(1) as pool:
        page = Playground(browser, running.http)
        two = [{"name": "pixels", "datatype": "UINT8", "shape": [2, SIDE, SIDE, 3], "data": ZEROS * 2}]
        waiting = pool.submit(running.ask, "POST", "/v2/models/model/infer", body_of(two))
        until(lambda: running.metric('lstn_waiting_images{model="model"}') == 2)
        page.find("file").send_keys(str(picture))
        told = page.told()
        assert told.startswith("The server can't answer now: ")
        assert "full" in told
        assert only_network_errors(browser, "503")
        assert waiting.result()[0] == 200
        page.find("again").click()
        page.shown()
        assert not page.find("problem").is_displayed()


def test_a_token_is_asked_for_and_kept_in_memory_only(
    browser: Browser, model: Tiny, picture: Path, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(TOKEN)
    with serving("--engine", model.path, "--name", "treasure", "--token-file", tmp_path / "token") as running:
        page = Playground(browser, running.http)
        assert page.run("return document.activeElement.id") == "token"
        assert page.find("token").accessible_name == "Token"
        assert page.run("return document.body.innerHTML").find("treasure") == -1
        assert browser.messages() == []  # nothing was asked without it
        page.press("wrong-horse-battery", "\n")
        assert page.told() == "The server wants another token."
        assert not page.find("again").is_displayed()
        assert only_network_errors(browser, "401")
        page.press(TOKEN, "\n")
        page.wait("return document.getElementById('model').value === 'treasure'")
        page.choose(picture)
        assert not page.find("entrance").is_displayed()
        kept = "[localStorage.length, sessionStorage.length, document.cookie, location.href, history.length]"
        *stores, history = page.run(f"return {kept}")
        assert stores == [0, 0, "", f"http://{running.http}/"]
        page.run("location.reload()")
        page.wait("return document.activeElement.id === 'token' && document.getElementById('model').disabled")
        assert page.run("return [document.getElementById('token').value, history.length]") == ["", history]
        assert browser.messages() == []


def test_one_request_at_a_time_and_the_newest_wins(browser: Browser, model: Tiny, picture: Path) -> None:
    with serving("--engine", model.path, "--max-wait-ms", 250) as running:
        page = Playground(browser, running.http)
        page.choose(picture)
        before = running.metric('lstn_batch_images_count{model="model"}')
        for turn in range(1, 31):
            page.slide(turn=turn)
        page.slide(scale=0.5)
        page.shown()
        seen = page.pixels("input")
        np.testing.assert_allclose(page.theta(), model.theta(seen[None]), atol=6e-4)
        requests = running.metric('lstn_batch_images_count{model="model"}') - before
        assert 1 <= requests <= 8  # 31 changes
        spans = page.run("""return performance.getEntriesByType('resource').filter(each => each.name.endsWith('infer'))
            .map(each => [each.startTime, each.responseEnd]).sort((one, other) => one[0] - other[0])""")
        assert len(spans) >= 2
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))


def test_the_answer_to_another_picture_is_never_shown(browser: Browser, model: Tiny, picture: Path) -> None:
    with serving("--engine", model.path, "--max-wait-ms", 2500) as running:
        page = Playground(browser, running.http)
        page.find("file").send_keys(str(picture))
        until(lambda: running.metric('lstn_waiting_images{model="model"}') == 1)
        page.find("blank").click()
        page.wait("return document.getElementById('seen').getAttribute('aria-busy') === 'false'")
        assert page.run(EMPTY)
        until(lambda: running.metric('lstn_requests_total{model="model",outcome="left",protocol="http"}') == 1)
        assert page.run(EMPTY)
        assert browser.messages() == []


@pytest.mark.parametrize("what", RELOADED)
def test_a_model_that_was_replaced_is_looked_up_anew(
    browser: Browser, picture: Path, tmp_path: Path, what: str
) -> None:
    labels, form = RELOADED[what]
    path = tmp_path / "model.onnx"
    written(path)
    with serving("--engine", path, "--max-wait-ms", 0) as running:
        page = Playground(browser, running.http)
        page.choose(picture)
        before = running.ask("GET", "/v2/models/model")[2]
        newer = tiny_at(path, loc=Loc.STN, labels=labels, seed=8, form=form)
        path.write_bytes(proto_of(newer).SerializeToString())
        running.process.send_signal(signal.SIGHUP)
        until(lambda: running.ask("GET", "/v2/models/model")[2] != before)
        page.slide(turn=7)
        rows = page.shown()
        assert rows[0][0] == labels[newer.logits(page.pixels("input")[None])[0].argmax()]
        assert {label for label, _ in rows} == set(labels)
        theta = newer.theta(page.pixels("input")[None])
        np.testing.assert_allclose(page.theta(*newer.contract.theta_shape), theta, atol=6e-4)
        assert len(page.line("top-edge")) == (17 if form is ThetaForm.TPS else 2)
        assert not page.find("problem").is_displayed()
        assert browser.messages() == []


def test_a_stranger_learns_nothing_from_the_page(server: Server, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    other = tiny_at(tmp_path / "other.onnx", loc=Loc.NONE, labels=OTHERS, seed=1)
    other.path.write_bytes(proto_of(other).SerializeToString())
    with serving("--engine", other.path, "--name", "treasure", "--token-file", tmp_path / "token") as guarded:
        status, headers, page = guarded.ask("GET", "/")
        assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert b"treasure" not in page
        assert page.replace(b'data-guarded="true"', b'data-guarded="false"') == server.ask("GET", "/")[2]
        assert [guarded.ask("GET", path)[0] for path in ("/v2/models", "/v2/models/treasure", "/v2")] == [401] * 3
        assert guarded.ask("POST", "/", b"")[0] == 405
        known = guarded.ask("GET", "/v2/models", Authorization=f"Bearer {TOKEN}")
        assert json.loads(known[2]) == {"models": ["treasure"]}


def test_the_labels_and_the_colour_outside_stand_beside_the_outputs(server: Server, model: Tiny) -> None:
    outputs = {each["name"]: each for each in json.loads(server.ask("GET", "/v2/models/model")[2])["outputs"]}
    assert outputs["logits"]["parameters"] == {"labels": list(model.contract.labels)}
    assert outputs["theta"]["parameters"] == {
        "outside": [124, 116, 104],  # ImageNet's mean
        "crop": list(model.contract.image_hw),
        "form": "affine",
    }
    assert [name for name, output in outputs.items() if "parameters" in output] == ["logits", "theta"]


def test_nothing_but_the_pages_own_script_runs(browser: Browser, server: Server) -> None:
    headers = server.ask("GET", "/")[1]
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["form-action"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert policy["script-src"].startswith("'sha256-")
    assert policy["style-src"].startswith("'sha256-")
    assert headers["x-content-type-options"] == "nosniff"
    page = Playground(browser, server.http)
    page.run("""
        const script = document.createElement('script');
        script.textContent = 'document.title = "theirs"';
        document.body.append(script);""")
    assert page.run("return document.title") == "lstn playground"
    failed = page.run("return fetch('http://127.0.0.1:9/').then(() => '', error => error.name)")
    assert failed == "TypeError"
    told = browser.messages()
    assert len([message for message in told if "Content Security Policy" in message]) >= 2
    assert page.run(SHOWN) is False
