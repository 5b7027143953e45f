"""`lstn push` and `lstn pull`, against a stand-in of the hub."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from command import RunLstn
from hub_stand_in import HubStandIn, hub_running
from huggingface_hub import constants
from tiny import MakeTiny, Tiny

from lstn.errors import ArtifactError, UsageError
from lstn.files import sha256_of
from lstn.sharing.hub import MOST_BYTES, repository_named, wanted_files
from lstn.sharing.signing import MOST_SIGNATURE_BYTES
from lstn.zoo.named_models import FOLDER

WHERE = "ada/signs"
CHECKPOINT_3 = Path(__file__).parents[1] / "fixtures" / "release-0.1" / "v3" / "checkpoint.safetensors"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStandIn]:
    with hub_running(token="hf_secret") as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # as the variable of that name, where a hub has none
        yield running


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_is_pushed_comes_back_with_its_page(hub: HubStandIn, run_lstn: RunLstn) -> None:
    model = FOLDER / "digits.onnx"
    pushed = run_lstn("push", "zoo:digits", "--to", WHERE, "--license", "apache-2.0")
    assert (pushed.code, pushed.out) == (0, "")
    assert f"{hub.address}/{WHERE}/commit/" in pushed.err
    assert set(hub.repositories[WHERE]) == {"README.md", "digits.onnx"}
    assert hub.repositories[WHERE]["digits.onnx"] == model.read_bytes()
    assert hub.private == set()
    pulled = run_lstn("pull", WHERE)
    assert pulled.code == 0
    assert sorted(path.name for path in Path("signs").iterdir()) == ["README.md", "digits.onnx"]
    assert sha256_of(Path("signs/digits.onnx")) == sha256_of(model)
    assert "next: lstn infer images/ --engine signs/digits.onnx" in pulled.err
    again = run_lstn("pull", WHERE)
    assert (again.code, "signs exists" in again.err) == (2, True)
    assert run_lstn("push", "zoo:digits", "--to", WHERE).code == 0  # the repository is there


def test_the_page_is_true_and_its_head_is_yaml(run_lstn: RunLstn) -> None:
    ran = run_lstn("push", "zoo:digits", "--to", WHERE, "--license", "mit", "--dry-run")
    assert (ran.code, ran.err) == (0, "")
    _, head, page = ran.out.split("---\n", 2)
    assert yaml.safe_load(head) == {
        "library_name": "lstn",
        "pipeline_tag": "image-classification",
        "license": "mit",
        "tags": ["spatial-transformer", "lstn", "cnn"],
    }
    assert f"`{sha256_of(FOLDER / 'digits.onnx')}`" in page
    card = json.loads((FOLDER / "digits.json").read_text())
    assert f"{card['bytes']:,}" in page
    assert "| validation accuracy |" in page
    assert "lstn pull ada/signs\nlstn infer images/ --engine signs/digits.onnx" in page


def test_a_run_brings_its_checkpoint_and_its_test_figures(hub: HubStandIn, run_lstn: RunLstn) -> None:
    folder = Path("runs/a")
    folder.mkdir(parents=True)
    shutil.copy(CHECKPOINT_3, folder / "checkpoint.safetensors")
    (folder / "test.json").write_text('{"images": 200, "top1": 0.91, "classes": []}')
    ran = run_lstn("push", folder, "--to", WHERE, "--private")
    assert ran.code == 0
    assert set(hub.repositories[WHERE]) == {"README.md", "checkpoint.safetensors"}
    assert hub.private == {WHERE}
    page = hub.repositories[WHERE]["README.md"].decode()
    assert "91.0 % of 200 images (95 % interval 86.2 to 94.2 %)" in page  # Wilson's, by hand
    assert "lstn export signs/checkpoint.safetensors" in page


def test_a_label_cannot_become_markup(make_tiny: MakeTiny, run_lstn: RunLstn) -> None:
    tiny = make_tiny(labels=("<script>alert(1)</script>", "a|b", "[x](http://y)"))
    ran = run_lstn("push", tiny.path, "--to", WHERE, "--dry-run")
    assert ran.code == 0
    assert "<script>" not in ran.out
    assert "[x](" not in ran.out
    assert "a\\|b" in ran.out


def test_a_file_that_came_wrong_is_not_kept(hub: HubStandIn, run_lstn: RunLstn) -> None:
    assert run_lstn("push", "zoo:digits", "--to", WHERE).code == 0
    hub.corrupt = True
    ran = run_lstn("pull", WHERE)
    assert ran.code == 1
    assert "digits.onnx: not the file that the hub names" in ran.err
    assert list(Path().iterdir()) == []


def test_a_strangers_files_are_looked_at_and_others_stay_there(hub: HubStandIn, tiny: Tiny, run_lstn: RunLstn) -> None:
    hub.repositories[WHERE] = {
        "model.onnx": tiny.path.read_bytes(),
        "pytorch_model.bin": b"a pickle",
        "config.json": b"{}",
        "tools/evil.onnx": b"x",
        "..onnx": b"x",
    }
    assert run_lstn("pull", WHERE, "--out", "got").code == 0
    assert [path.name for path in Path("got").iterdir()] == ["model.onnx"]
    hub.repositories[WHERE]["other.onnx"] = b"no model at all"
    ran = run_lstn("pull", WHERE, "--out", "again")
    assert ran.code == 1
    assert "other.onnx" in ran.err
    assert not Path("again").exists()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("pull", "ada/gone"), 1, "there is no repository ada/gone"),
        (("pull", "ada/signs", "--revision", "v9"), 1, "no such revision"),
        (("pull", "signs"), 2, "can't name a repository"),
        (("pull", "../signs"), 2, "can't name a repository"),
        (("push", "gone.onnx", "--to", WHERE), 2, "no such file"),
        (("push", "zoo:digits", "zoo:signs", "--to", WHERE), 2, "another network"),
        (("push", "zoo:digits", "zoo:digits", "--to", WHERE), 2, "two files are called digits.onnx"),
        (("push", "zoo:digits", "--to", WHERE, "--license", "a\nb: c"), 2, "licence"),
    ],
)
def test_wrong_use_is_one_line(
    words: tuple[str, ...], code: int, says: str, hub: HubStandIn, run_lstn: RunLstn
) -> None:
    hub.repositories["ada/signs"] = {}
    ran = run_lstn(*words)
    assert ran.code == code
    assert says in ran.err
    assert len(ran.err.splitlines()) == 2
    assert list(Path().iterdir()) == []


def test_a_wrong_token_and_a_hub_that_is_not_there_are_one_line_without_the_token(
    hub: HubStandIn, run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    refused = run_lstn("push", "zoo:digits", "--to", WHERE)
    assert (refused.code, "hf_wrong" in refused.err) == (1, False)
    assert refused.err.splitlines()[-1].endswith("hf auth login")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "1")
    gone = run_lstn("pull", WHERE)
    assert gone.code == 1
    assert "the hub can't be reached" in gone.err


@pytest.fixture
def keys() -> Path:
    """A private key of Ada's, her public one, and Eve's."""
    for name in ("ada", "eve"):
        command = f"openssl ecparam -name prime256v1 -genkey -noout -out {name}.pem"
        subprocess.run(command.split(), check=True, capture_output=True)
        command = f"openssl ec -in {name}.pem -pubout -out {name}.pub.pem"
        subprocess.run(command.split(), check=True, capture_output=True)
    return Path()


def test_signed_files_are_kept_if_its_owner_signed_them_as_they_are(
    hub: HubStandIn, keys: Path, tiny: Tiny, run_lstn: RunLstn
) -> None:
    assert run_lstn("push", "zoo:digits", "--to", WHERE, "--sign", keys / "ada.pem").code == 0
    assert set(hub.repositories[WHERE]) == {"README.md", "digits.onnx", "model.sig"}
    hub.repositories[WHERE]["README.md"] += b"A word more."  # as a hub's own editor adds
    pulled = run_lstn("pull", WHERE, "--key", "ada.pub.pem")
    assert (pulled.code, "signed by the owner of ada.pub.pem" in pulled.err) == (0, True)
    assert sorted(path.name for path in Path("signs").iterdir()) == ["README.md", "digits.onnx", "model.sig"]

    others = run_lstn("pull", WHERE, "--key", "eve.pub.pem", "--out", "got")
    assert (others.code, "model.sig: not of these files by the owner of this key" in others.err) == (1, True)
    signed = hub.repositories[WHERE].copy()
    for changed in (
        {"digits.onnx": tiny.path.read_bytes()},
        {"more.onnx": tiny.path.read_bytes()},
        {"model.sig": b"{"},
        {"model.sig": b"x" * (MOST_SIGNATURE_BYTES + 1)},
    ):
        hub.repositories[WHERE] = signed | changed
        ran = run_lstn("pull", WHERE, "--key", "ada.pub.pem", "--out", "got")
        assert (ran.code, "model.sig" in ran.err, len(ran.err.splitlines())) == (1, True, 2)
        assert not Path("got").exists()
    del hub.repositories[WHERE]["model.sig"]
    bare = run_lstn("pull", WHERE, "--key", "ada.pub.pem", "--out", "got")
    assert (bare.code, f"{WHERE} is not signed" in bare.err) == (1, True)


def test_what_is_no_key_is_one_line_and_nothing_is_sent(hub: HubStandIn, keys: Path, run_lstn: RunLstn) -> None:
    assert run_lstn("push", "zoo:digits", "--to", WHERE).code == 0
    before = hub.repositories[WHERE].copy()
    Path("text.pem").write_text("a key")
    for made in ("genrsa -out rsa.pem 2048", "ec -in ada.pem -aes256 -passout pass:word -out locked.pem"):
        subprocess.run(["openssl", *made.split()], check=True, capture_output=True)
    for command, others in (
        (("push", "zoo:digits", "--to", WHERE, "--sign"), "ada.pub.pem"),
        (("pull", WHERE, "--key"), "ada.pem"),
    ):
        for key in ("gone.pem", "text.pem", "rsa.pem", "locked.pem", others):
            ran = run_lstn(*command, key)
            assert (ran.code, f"{key}: not a " in ran.err, len(ran.err.splitlines())) == (2, True, 2)
    assert hub.repositories[WHERE] == before
    assert not Path("signs").exists()


def test_what_is_fetched_is_bounded() -> None:
    assert wanted_files(WHERE, {"a.xml": 1, "a.bin": 1, "b.bin": 1, "m.plan": 1, "m.plan.json": 1, "m.json": 1}) == (
        "a.xml",
        "m.plan",
        "a.bin",
        "m.plan.json",
    )
    for sizes in ({"a.onnx": MOST_BYTES + 1}, {f"{number}.onnx": 1 for number in range(65)}):
        with pytest.raises(ArtifactError, match="more than the limit"):
            wanted_files(WHERE, sizes)
    with pytest.raises(ArtifactError, match="no model of lstn there"):
        wanted_files(WHERE, {"pytorch_model.bin": 1, "README.md": 1})


@pytest.mark.parametrize("name", ["a", "a/b/c", "a/", "/b", "a/..", "a b/c", "é/b", "a/b\n", "a" * 97 + "/b"])
def test_what_cannot_name_a_repository_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="can't name a repository"):
        repository_named(name)
