"""Which files of a folder are its images: against os.walk and sorting, and with all that folders can hold."""

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstn.data.folders.listing import Skipped, images_below, scan
from lstn.errors import DataError

PARTS = st.sampled_from(["a", "b", "a b", "a-", "A", "ä", "1", "10", "2", "x.png", "__macosx", ".git"])
NAMES = st.sampled_from(["1.png", "2.JPG", "x.png", "a.png", "a", "b.txt", ".c.png", "_d.tga", "png", "Thumbs.db"])


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def listed(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in images_below(root, Skipped())]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.lists(PARTS, max_size=3), NAMES), max_size=12))
def test_it_is_what_walking_and_sorting_finds(files: list[tuple[list[str], str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for parts, name in files:
            path = root.joinpath(*parts, name)
            try:
                touch(root, str(path))
            except (NotADirectoryError, IsADirectoryError, FileExistsError):  # `a` is a file, or a folder, already
                continue
        wanted = []
        for place, _, names in os.walk(root):
            for path in (Path(place, name) for name in names):
                hidden = [part for part in path.relative_to(root).parts if part[0] == "." or part == "__macosx"]
                if path.suffix.lower() in (".png", ".jpg", ".tga") and not hidden:
                    wanted.append(path)
        assert list(images_below(root, Skipped())) == sorted(wanted)


def test_links_are_followed_and_a_folder_reached_twice_is_listed_once(tmp_path: Path) -> None:
    touch(tmp_path, "store/1.png", "store/deep/2.png", "in/3.png")
    (tmp_path / "in/b").symlink_to(tmp_path / "store")
    (tmp_path / "in/c").symlink_to(tmp_path / "in/b")
    (tmp_path / "store/up").symlink_to(tmp_path / "in")
    (tmp_path / "store/deep/self").symlink_to(tmp_path / "store/deep")
    (tmp_path / "in/file.png").symlink_to(tmp_path / "store/1.png")
    skipped = Skipped()
    found = [path.relative_to(tmp_path).as_posix() for path in images_below(tmp_path / "in", skipped)]
    assert found == ["in/3.png", "in/b/1.png", "in/b/deep/2.png", "in/file.png"]
    assert skipped.repeated == 3
    assert skipped.describe() == "skipped: 3 linked folders are listed already"


def test_links_that_double_at_every_level_end_at_once(tmp_path: Path) -> None:
    for level in range(40):
        (tmp_path / str(level)).mkdir()
        for name in "ab":
            (tmp_path / str(level) / name).symlink_to(tmp_path / str(level + 1))
    touch(tmp_path, "40/1.png")
    assert len(list(images_below(tmp_path / "0", Skipped()))) == 1


def test_lost_links_are_images_that_decode_will_call_broken(tmp_path: Path) -> None:
    (tmp_path / "lost.png").symlink_to("/nowhere/lost.png")
    (tmp_path / "self.jpg").symlink_to(tmp_path / "self.jpg")
    (tmp_path / "folder").symlink_to("/nowhere/folder")
    skipped = Skipped()
    assert [path.name for path in images_below(tmp_path, skipped)] == ["lost.png", "self.jpg"]
    assert (skipped.lost, skipped.unread) == (1, {})  # which once led to a folder


def test_what_is_neither_image_nor_the_users_is_counted(tmp_path: Path) -> None:
    touch(tmp_path, "1.png", "2.CR2", "3.cr2", "README", "jpg", "4.jp2", "5.tga", "6.ico")
    touch(tmp_path, "1.txt", "_annotations.coco.json", "1.xml", "data.yaml")  # say where objects are
    touch(tmp_path, ".DS_Store", "._1.png", "Thumbs.db", "a/.ipynb_checkpoints/1.png", "__MACOSX/a/1.png")
    touch(tmp_path, "@eaDir/1.png", "#recycle/1.png", "$RECYCLE.BIN/1.png", "a/System Volume Information/1.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "a" / "gone").symlink_to("/nowhere")
    skipped = Skipped()
    assert sorted(path.name for path in images_below(tmp_path, skipped)) == ["1.png", "4.jp2", "5.tga", "6.ico"]
    assert skipped.unread == {".cr2": 2, "without a suffix": 2}
    assert (skipped.irregular, skipped.lost) == (1, 1)
    said = skipped.describe()
    assert said.startswith("4 files are not read (2 .cr2, 2 without a suffix); convert ")
    assert "9 hidden or system names (" in said
    assert said.endswith(" and 5 more), 1 special file (pipe or device), 1 link to nowhere")


def test_the_folder_that_was_named_may_be_hidden(tmp_path: Path) -> None:
    touch(tmp_path, ".cache/@eaDir/1.png")
    assert listed(tmp_path / ".cache/@eaDir") == ["1.png"]


def test_a_socket_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("s.png")
        assert listed(tmp_path) == []


def test_folders_deeper_than_pythons_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(1100):
        Path("d").mkdir()
        os.chdir("d")
    Path("1.png").touch()
    os.chdir(tmp_path)
    found = [path.name for path in images_below(Path(), Skipped())]
    os.chdir("/".join(["d"] * 1100))
    Path("1.png").unlink()
    for _ in range(1100):  # shutil.rmtree is recursive
        os.chdir("..")
        Path("d").rmdir()
    assert found == ["1.png"]


def test_a_folder_that_cant_be_read_is_never_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.png", "locked/b.png")
    real = os.scandir

    def scandir(path: str | Path) -> Iterator[os.DirEntry[str]]:  # root, as whom tests may run, can read everything
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match=r"locked: Permission denied"):
        list(images_below(tmp_path, Skipped()))


def test_one_level_has_folders_and_loose_images(tmp_path: Path) -> None:
    touch(tmp_path, "b/1.png", "a/1.png", ".git/1.png", "1.png", "2.txt")
    (tmp_path / "c").symlink_to(tmp_path / "a")
    skipped = Skipped()
    folders, loose = scan(tmp_path, skipped)
    assert ([folder.name for folder in folders], loose) == (["a", "b", "c"], 1)
    assert skipped.hidden == {".git": 1}
