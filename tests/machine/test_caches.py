import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstn.errors import LstnError
from lstn.formats.plan_file import Flavour
from lstn.machine.caches import cache_folder, cache_path, read_cache, write_cache
from lstn.machine.gpu import Gpu

L4 = Gpu("NVIDIA L4", "sm89", 24_000)


def test_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for unset in ("", "relative/cache"):
        monkeypatch.setenv("XDG_CACHE_HOME", unset)
        assert cache_folder() == tmp_path / "home" / ".cache" / "lstn"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == tmp_path / "home" / ".cache" / "lstn"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "lstn"


def test_no_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("pathlib.Path.home", homeless)
    with pytest.raises(LstnError, match="no home folder") as caught:
        cache_folder()
    assert caught.value.hint == "set XDG_CACHE_HOME to a folder"


def test_flavour_version_and_gpu_each_have_their_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = cache_path(Flavour.TRT, "10.9.0.34", L4)
    assert path == tmp_path / "lstn" / "timing-tensorrt-10.9.0.34-sm89-nvidia-l4.bin"
    others = [
        cache_path(Flavour.TRT_RTX, "10.9.0.34", L4),
        cache_path(Flavour.TRT, "10.9.0.35", L4),
        cache_path(Flavour.TRT, "10.9.0.34", Gpu("NVIDIA L40S", "sm89", 48_000)),
        cache_path(Flavour.TRT, "10.9.0.34", Gpu("NVIDIA L4", "sm90", 24_000)),
    ]
    assert len({path, *others}) == 5


@given(name=st.text(max_size=400), version=st.text(max_size=400))
def test_whatever_a_driver_calls_its_gpu_is_one_file_name(name: str, version: str) -> None:
    path = cache_path(Flavour.TRT, version, Gpu(name, "sm89", 1))
    assert path.parent == cache_folder()
    assert len(path.name.encode()) < 255
    assert path.name.isascii()


@given(data=st.binary(max_size=100))
def test_what_is_kept_is_read_again(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("kept") / "new" / "a.bin"
    assert read_cache(path) == b""
    write_cache(path, memoryview(data))
    assert read_cache(path) == data
    assert path.read_bytes() == hashlib.sha256(data).digest() + data
    assert [entry.name for entry in path.parent.iterdir()] == ["a.bin"]


@given(data=st.binary(min_size=1, max_size=40), place=st.integers(0, 71), bit=st.integers(0, 7))
def test_one_flipped_bit_is_told(tmp_path_factory: pytest.TempPathFactory, data: bytes, place: int, bit: int) -> None:
    path = tmp_path_factory.mktemp("flipped") / "a.bin"
    write_cache(path, data)
    whole = bytearray(path.read_bytes())
    whole[place % len(whole)] ^= 1 << bit
    path.write_bytes(whole)
    with pytest.MonkeyPatch.context() as patch:
        told: list[str] = []
        patch.setattr("lstn.machine.caches.warn", told.append)
        assert read_cache(path) == b""
    assert told == [f"{path}: damaged; the cache is created again"]


def test_a_folder_that_takes_no_file_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    for name in "abc":
        assert read_cache(tmp_path / "file" / "caches" / name) == b""
        write_cache(tmp_path / "file" / "caches" / name, b"data")
    read, written = capsys.readouterr().err.splitlines()
    assert read == f"warning: {tmp_path}/file/caches: Not a directory; continuing without this cache"
    assert written.startswith(f"warning: cannot write {tmp_path}/file/caches: ")


def test_what_cannot_be_read_or_written_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "folder").mkdir()
    assert read_cache(tmp_path / "folder") == b""
    assert "folder: Is a directory; continuing without this cache" in capsys.readouterr().err
    write_cache(tmp_path / "folder", b"data")
    assert "not a regular file; the next run starts without this cache" in capsys.readouterr().err
