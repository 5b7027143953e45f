"""Passwords and tokens in URLs are in nothing that lstn says or keeps."""

import re
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from command import RunLstn
from hypothesis import given
from hypothesis import strategies as st
from tiny import Tiny

from lstn.machine.lock import locked
from lstn.runtime.inference.video_rows import frame_name
from lstn.terminal import without_secrets

CAMERA = "rtsp://guest:swordfish@127.0.0.1:1/live"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (CAMERA, "rtsp://guest:***@127.0.0.1:1/live"),
        ("sftp://:pw@h/x and ftp://a:b@c@h", "sftp://:***@h/x and ftp://a:***@h"),
        (
            "https://h/x.jpg?page=2&sig=a%2Fb&X-Amz-Credential=c#top",
            "https://h/x.jpg?page=2&sig=***&X-Amz-Credential=***#top",
        ),
        ("https://user@host:8080/a?b=c", "https://user@host:8080/a?b=c"),
        ("data/a:b@c?token=1", "data/a:b@c?token=1"),
        ("rtsp://u:p#w?d@cam/x rtsp://u:p/w@cam/x", "rtsp://u:***@cam/x rtsp://u:***@cam/x"),
        ("http://localhost:9000/a@b.png http://[::1]:80/a@b", "http://localhost:9000/a@b.png http://[::1]:80/a@b"),
        ("s3://bucket/a:b@c.png", "s3://bucket/a:b@c.png"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


@given(
    st.sampled_from(["rtsp", "s3", "https"]),
    st.text("abc.-_~%25", max_size=5),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=12),
)
def test_no_password_is_shown_and_the_place_stays(scheme: str, user: str, password: str) -> None:
    """Against the standard library's own reading of URLs, of passwords as they must be quoted."""
    url = f"error in {scheme}://{user}:{quote('#' + password + '#', safe='@:!$*')}@host:80/a/b.png"
    shown = without_secrets(url)
    parts = urlsplit(shown.removeprefix("error in "))
    assert (parts.scheme, parts.username, parts.password) == (scheme, user, "***")
    assert (parts.hostname, parts.port, parts.path) == ("host", 80, "/a/b.png")


def test_an_error_names_the_camera_and_not_its_password(run_lstn: RunLstn, tiny: Tiny) -> None:
    ran = run_lstn("infer", CAMERA, "--engine", tiny.path)
    assert ran.code == 1
    assert "rtsp://guest:***@127.0.0.1:1/live: not a video that can be opened" in ran.err
    assert "swordfish" not in ran.err + ran.out


def test_rows_of_a_camera_and_the_lock_of_a_folder_keep_no_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert frame_name(CAMERA, 1.5) == "rtsp://guest:***@127.0.0.1:1/live#t=1.500"
    monkeypatch.setattr("sys.argv", ["lstn", "infer", "ftp://a:swordfish@h/x", "--ray", "local"])
    with locked(tmp_path):
        held = (tmp_path / ".lock").read_text()
    assert re.search(r"lstn infer ftp://a:\*\*\*@h/x --ray local", held)
