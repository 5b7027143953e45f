import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from published_sets import accept, write_mnist

from lstn.data.dataset import open_data, rooted
from lstn.data.published import mnist
from lstn.errors import DataError, UsageError
from lstn.train.downloads import download

NOWHERE = "http://127.0.0.1:9/"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A server of a small MNIST behind a mirror that doesn't answer; yields its folder."""
    source = tmp_path / "server"
    write_mnist(source)
    accept(monkeypatch, "mnist", source)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(source))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        files = tuple(replace(f, urls=(NOWHERE + f.path, address + f.path)) for f in mnist.MNIST_FILES)
        monkeypatch.setattr(mnist, "MNIST_FILES", files)
        monkeypatch.setattr("lstn.train.downloads.MNIST_FILES", files)
        yield source
        server.shutdown()


def test_files_are_fetched_from_the_first_that_answers_and_only_once(served: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    spec = rooted("mnist-r", root)
    download(spec)
    assert len(open_data(spec, image_hw=(28, 28)).train) == 50
    for path in served.rglob("*.gz"):
        path.unlink()
    download(spec)  # nothing is left to fetch
    assert len(list(root.rglob("*"))) == 6


def test_another_file_than_the_published_is_not_kept(served: Path, tmp_path: Path) -> None:
    (served / mnist.MNIST_FILES[1].path).write_bytes(b"a page that says sorry")
    root = tmp_path / "root"
    with pytest.raises(DataError, match="a file with MD5") as caught:
        download(f"mnist:{root}")
    assert f"at {root / mnist.MNIST_FILES[1].path}" in caught.value.hint
    assert [path.name for path in root.rglob("*.gz")] == ["train-images-idx3-ubyte.gz"]
    assert not list(root.rglob("*.tmp"))


def test_offline_the_error_says_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = tuple(replace(f, urls=(NOWHERE + f.path,)) for f in mnist.MNIST_FILES)
    monkeypatch.setattr("lstn.train.downloads.MNIST_FILES", files)
    with pytest.raises(DataError, match=r"cannot download .*127\.0\.0\.1.*refused") as caught:
        download(f"mnist:{tmp_path}")
    assert caught.value.hint.count("put ") == 4


def test_a_data_root_that_cannot_be_written_is_told_before_anything_is_fetched(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match="cannot write") as caught:
        download(f"svhn:{tmp_path / 'file'}")
    assert "--data-root" in caught.value.hint


@pytest.mark.parametrize("spec", ["digits", "folder:photos", "cifar10:elsewhere"])
def test_a_data_root_is_for_named_sets_alone(tmp_path: Path, spec: str) -> None:
    with pytest.raises(UsageError, match=r"--data-root is for|names its data root already"):
        rooted(spec, tmp_path)


def test_what_needs_no_download_gets_none(tmp_path: Path) -> None:
    download("digits")
    (tmp_path / "images/svhn").mkdir(parents=True)
    download(f"svhn:{tmp_path}")
    assert [path.name for path in tmp_path.rglob("*")] == ["images", "svhn"]
