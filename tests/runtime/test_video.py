"""`lstn infer` of videos: clips that PyAV wrote, whole, turned, damaged and live."""

import csv
import io
import itertools
import json
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import av
import numpy as np
import pytest
from clips import RATE, SIDES, moving_digit, write_clip
from command import RunLstn
from PIL import Image
from tiny import MakeTiny, Tiny

from lstn.contract import Loc
from lstn.errors import DataError, MissingExtra
from lstn.evaluation.answer import softmax
from lstn.images import USUAL, DecodeLimits, Pixels, pixels_of
from lstn.runtime.inference.video import is_video, open_video
from lstn.warps.steadying import SteadyWarp

COUNT = 20
FRAMES = moving_digit(COUNT, step=2)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", FRAMES)


def read(path: Path, every_s: float = 0.0, limits: DecodeLimits = USUAL) -> tuple[list[float], list[Pixels], str]:
    with open_video(str(path), limits) as video:
        found = list(video.frames(every_s))
        return [each.seconds for each in found], [each.pixels for each in found], video.fault


@pytest.mark.parametrize(
    ("word", "known"),
    [
        ("clip.mp4", True),
        ("a b/CLIP.MOV", True),
        ("rtsp://camera/live", True),
        ("udp://127.0.0.1:9", True),
        ("/dev/video0", True),
        ("https://host/clip.webm?x=1", True),
        ("https://host/photo.jpg", False),
        ("photo.gif", False),
        ("photos", False),
        ("names.txt", False),
        ("s3://bucket/key", False),
    ],
)
def test_a_video_is_known_by_its_name(word: str, known: bool) -> None:
    assert is_video(word) == known


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4")])
def test_every_frame_comes_at_its_time(name: str, codec: str, tmp_path: Path) -> None:
    seconds, pixels, fault = read(write_clip(tmp_path / name, FRAMES, codec=codec))
    assert fault == ""
    assert seconds == pytest.approx([index / RATE for index in range(COUNT)], abs=2e-3)
    for found, wanted in zip(pixels, FRAMES, strict=True):
        assert (found.shape, found.dtype) == ((*SIDES, 3), np.uint8)
        assert np.abs(found.astype(int) - wanted).mean() < 12  # what the codec, and half of the colours, lose


def test_frames_in_between_are_left_out(clip: Path) -> None:
    assert read(clip, every_s=0.2)[0] == pytest.approx([0, 0.2, 0.4, 0.6], abs=1e-6)


@pytest.mark.parametrize(("turned", "matrix"), [(1, (0, -1, 1, 0)), (2, (-1, 0, 0, -1)), (3, (0, 1, -1, 0))])
def test_a_telephones_video_stands_upright(
    clip: Path, tmp_path: Path, turned: int, matrix: tuple[int, int, int, int]
) -> None:
    """The matrix of the track's header (ISO/IEC 14496-12, 8.3.2) says how a video is turned when it is shown."""
    data = bytearray(clip.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    one, two, three, four = (round(value * 65536).to_bytes(4, "big", signed=True) for value in matrix)
    data[at : at + 36] = one + two + bytes(4) + three + four + bytes(4) + bytes(8) + (1 << 30).to_bytes(4, "big")
    (tmp_path / "turned.mp4").write_bytes(data)
    shown = read(tmp_path / "turned.mp4")[1][5]
    np.testing.assert_array_equal(shown, np.rot90(read(clip)[1][5], turned))


def test_rows_are_what_the_engine_says_of_each_frame(clip: Path, tiny: Tiny, run_lstn: RunLstn) -> None:
    ran = run_lstn("infer", clip, "--engine", tiny.path, "--format", "json", "--batch", 3)
    assert ran.code == 0, ran.err
    rows, steady = json.loads(ran.out), SteadyWarp()
    with av.open(str(clip)) as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert [row["path"] for row in rows] == [f"{clip}#t={index / RATE:.3f}" for index in range(COUNT)]
    for index, (row, frame) in enumerate(zip(rows, decoded, strict=True)):
        pixels = pixels_of(frame, tiny.contract)[None]
        shares = softmax(tiny.logits(pixels))[0]
        assert row["label"] == tiny.contract.labels[int(shares.argmax())]
        assert row["probability"] == pytest.approx(float(shares.max()), abs=1e-5)
        theta = tiny.theta(pixels)[0]
        np.testing.assert_allclose(row["theta"], theta, atol=1e-5)
        np.testing.assert_allclose(row["steady_theta"], steady.steadied(theta, index / RATE), atol=1e-4)
    assert f"{COUNT} frames in " in ran.err


def test_tables_and_pictures_of_a_video(clip: Path, tiny: Tiny, run_lstn: RunLstn, tmp_path: Path) -> None:
    output, warps = tmp_path / "rows.csv", tmp_path / "warps"
    words = ("infer", clip, "--engine", tiny.path, "--output", output, "--warps", warps, "--every", 0.2)
    assert run_lstn(*words).code == 0
    rows = list(csv.DictReader(io.StringIO(output.read_text())))
    assert [row["path"].partition("#")[2] for row in rows] == ["t=0.000", "t=0.200", "t=0.400", "t=0.600"]
    assert sorted(path.name for path in warps.iterdir()) == [f"{number:06d}-clip.png" for number in range(1, 5)]
    assert run_lstn(*words).code == 0  # they are ours to replace
    Image.new("RGB", (3, 3)).save(warps / "000002-clip.png")
    assert "is not a picture that lstn drew" in run_lstn(*words).err


def test_a_model_without_a_transformer_has_no_warp(clip: Path, make_tiny: MakeTiny, run_lstn: RunLstn) -> None:
    plain = make_tiny(loc=Loc.NONE)
    ran = run_lstn("infer", clip, "--engine", plain.path, "--format", "json")
    assert not {"theta", "steady_theta"} & set(json.loads(ran.out)[0])


@pytest.mark.parametrize("name", ["cut.mkv", "cut.avi"])
def test_of_a_file_that_ends_early_the_frames_so_far_are_answered(
    name: str, tiny: Tiny, run_lstn: RunLstn, tmp_path: Path
) -> None:
    noise = [np.random.default_rng(index).integers(0, 256, (64, 64, 3), np.uint8) for index in range(40)]
    whole = write_clip(tmp_path / name.replace("cut", "whole"), noise, codec="mpeg4")
    data = whole.read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    output = tmp_path / "rows.jsonl"
    ran = run_lstn("infer", tmp_path / name, "--engine", tiny.path, "--output", output)
    assert ran.code == 1
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert 5 < len(rows) < 35
    assert f"error: {tmp_path / name}: " in ran.err
    assert "Traceback" not in ran.err
    assert "the frames before that were answered" in ran.err


@pytest.mark.parametrize("data", [b"", b"no video at all" * 99, b"\0\0\0\x18ftypmp42" + bytes(300)])
def test_what_is_no_video_is_one_line(data: bytes, tiny: Tiny, run_lstn: RunLstn, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(data)
    ran = run_lstn("infer", tmp_path / "a.mp4", "--engine", tiny.path)
    assert (ran.code, ran.out) == (1, "")
    assert f"error: {tmp_path / 'a.mp4'}: " in ran.err
    assert "Traceback" not in ran.err


def test_a_playlist_opens_no_other_file(clip: Path, tmp_path: Path) -> None:
    """FFmpeg goes by contents: a list of addresses that is called clip.mp4 would be fetched."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.5)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}/a.ts"
    head = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:9\n#EXTINF:9.0,\n"
    (tmp_path / "list.mp4").write_text(f"{head}{address}\n#EXT-X-ENDLIST\n")
    with listener:
        with pytest.raises(DataError):
            read(tmp_path / "list.mp4")
        with pytest.raises(TimeoutError):
            listener.accept()


def test_a_list_of_files_that_is_called_a_video_opens_none_of_them(clip: Path) -> None:
    """FFmpeg's own form of a list; the file that it names is beside it and whole."""
    listed = clip.with_name("list.mp4")
    listed.write_text(f"ffconcat version 1.0\nfile {clip.name}\n")
    with pytest.raises(DataError, match="not a video that can be opened"):
        read(listed)


def test_frames_that_are_too_large_are_refused_before_they_are_decoded(
    clip: Path, tiny: Tiny, run_lstn: RunLstn
) -> None:
    ran = run_lstn("infer", clip, "--engine", tiny.path, "--max-megapixels", 0.003)
    assert (ran.code, ran.out) == (1, "")
    assert "frames of 64 x 48 pixels, more than the limit of 0.003 million" in ran.err


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(DataError, match="no picture in it"):
        read(tmp_path / "a.mkv")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("clip.mp4", "photo.png"), "a video is answered alone"),
        (("gone.mp4",), "gone.mp4: no such file"),
        (("/dev/video99",), "/dev/video99: no such file"),
        (("photo.png", "--every", "1"), "--every: only of a video"),
        (("clip.mp4", "--ray", "local", "--out", "out", "--every", "1"), "--every: not with --ray"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    words: tuple[str, ...], told: str, tiny: Tiny, run_lstn: RunLstn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run_lstn("infer", *words, "--engine", tiny.path)
    assert ran.code in (1, 2)
    assert told in ran.err


def test_without_the_extra_the_line_says_what_to_install(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtra, match="av is not installed") as caught:
        read(clip)
    assert "[video]" in caught.value.hint


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_stream_is_answered_until_ctrl_c(tiny: Tiny, tmp_path: Path) -> None:
    address, ended = f"udp://127.0.0.1:{free_port()}", threading.Event()

    def send() -> None:
        with av.open(f"{address}?pkt_size=1316", "w", format="mpegts") as container:
            stream = container.add_stream("mpeg2video", rate=RATE)
            stream.height, stream.width, stream.pix_fmt, stream.gop_size = *SIDES, "yuv420p", 5
            for pixels in itertools.cycle(FRAMES):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
                if ended.wait(1 / RATE):
                    return

    sender = threading.Thread(target=send)
    sender.start()
    command = [sys.executable, "-m", "lstn", "infer", address, "--engine", str(tiny.path), "--format", "jsonl"]
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            first = [process.stdout.readline() for _ in range(5)]
            process.send_signal(signal.SIGINT)
            rest, told = process.communicate(timeout=60)
    finally:
        ended.set()
        sender.join()
    rows = [json.loads(line) for line in (*first, *rest.splitlines())]
    times = [float(row["path"].removeprefix(f"{address}#t=")) for row in rows]
    assert times == sorted(times)
    assert {row["label"] for row in rows} <= set(tiny.contract.labels)
    assert (process.returncode, "stopped" in told) == (0, True), told
