"""Videos, streams and cameras: their frames as pixels, one after another. PyAV decodes them (extra `video`)."""

import math
import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import numpy as np

from lstn.errors import DataError
from lstn.images import DecodeLimits, Pixels
from lstn.imports import require

_KINDS = "3gp asf avi flv m2ts m4v mkv mov mp4 mpeg mpg mts mxf ogv ts webm wmv"
_SUFFIXES = tuple(f".{kind}" for kind in _KINDS.split())
_CONTAINERS = "asf,avi,flv,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mpeg,mpegts,mpegvideo,mxf,ogg"
"""What FFmpeg calls the formats behind those suffixes. A playlist, which may name any other file, is none of them."""

_STREAMS = frozenset({"rtmp", "rtmps", "rtp", "rtsp", "rtsps", "srt", "udp"})
"""Schemes of live streams."""

_CAMERA = "/dev/video"
"""How Linux calls cameras (Video4Linux)."""

_PATIENCE_S = 10.0
"""How long a stream may take to open, and from one piece of it to the next."""

_LOOK_S = 0.2
"""How often whoever waits for a live frame looks whether Ctrl-C was pressed."""

_SLACK_S = 0.1
"""By how much a file may end earlier than it says, beyond two of its frames."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A frame of a video.

    seconds: after the first one
    pixels:  (H, W, 3) uint8 RGB, upright
    """

    seconds: float
    pixels: Pixels


def is_video(word: str) -> bool:
    """Whether a word is a video, a stream or a camera, by its name."""
    path = urlsplit(word).path if "://" in word else word
    return is_live(word) or path.lower().endswith(_SUFFIXES)


def is_live(word: str) -> bool:
    """Whether what a word names goes on until somebody stops it."""
    return word.startswith(_CAMERA) or word.partition("://")[0].lower() in _STREAMS


class Video:
    """A video that is open.

    stopped: set by whoever wants no more frames
    fault:   what is wrong with it, once its frames are read; empty if nothing is
    """

    def __init__(self, source: str, container: Any, limits: DecodeLimits) -> None:
        self.source, self.stopped, self.fault = source, threading.Event(), ""
        self._container, self._most = container, limits.max_pixels
        self._stream = container.streams.video[0]
        codec = self._stream.codec_context
        self._check_size(codec.width, codec.height)
        # Should a frame be larger than its file says, FFmpeg refuses to allocate it.
        codec.options = {**codec.options, "max_pixels": str(self._most)}
        if not is_live(source):
            self._stream.thread_type = "AUTO"  # frames too: faster, and each comes later

    def frames(self, every_s: float = 0.0) -> Generator[Frame, None, None]:
        """Yield the frames that are at least `every_s` seconds apart. Of a live video those that come while a frame is
        used are left out, but for the newest. Whatever is wrong with the video ends them, and is its fault.

        Raises:
            DataError: a frame has more pixels than are allowed.
        """
        frames = self._spaced(every_s)
        return _newest(frames, self.stopped) if is_live(self.source) else frames

    def _spaced(self, every_s: float) -> Generator[Frame, None, None]:
        first, due, last_s = math.nan, -math.inf, 0.0
        for number, decoded in enumerate(self._decoded()):
            at = float(number if decoded.time is None else decoded.time)
            first = at if math.isnan(first) else first
            last_s = at - first
            if last_s >= due:
                due = last_s + every_s * (1 - 1e-6)
                self._check_size(decoded.width, decoded.height)
                yield Frame(last_s, np.ascontiguousarray(np.rot90(decoded.to_ndarray(format="rgb24"), _turns(decoded))))
            if self.stopped.is_set():
                return
        self.fault = self.fault or self._missing(last_s)

    def _decoded(self) -> Iterator[Any]:
        av = require("av", extra="video")
        frames = self._container.decode(self._stream)
        while True:
            try:
                frame = next(frames, None)
            except (av.error.FFmpegError, ValueError) as error:
                self.fault = f"damaged, or cut off: {_told(error)}"
                return
            if frame is None:
                return
            yield frame

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self._most:
            limit = f"the limit of {self._most / 1e6:g} million"
            raise DataError(f"{self.source}: frames of {width} x {height} pixels, more than {limit}")

    def _missing(self, last_s: float) -> str:
        """Say how much is missing behind the last frame of a file, if the file says how long it is."""
        duration, rate = self._container.duration, self._stream.average_rate
        if is_live(self.source) or duration is None or not rate:
            return ""
        whole_s = duration / 1e6
        return f"ends after {last_s:.3f} of {whole_s:.3f} seconds" if last_s + 2 / rate + _SLACK_S < whole_s else ""


@contextmanager
def open_video(source: str, limits: DecodeLimits) -> Iterator[Video]:
    """Open a video file, a stream by its URL, or a camera.

    Raises:
        DataError: it can't be opened, has no picture, or its frames have more pixels than `limits` allows.
        MissingExtra: PyAV is not installed.
    """
    av = require("av", extra="video")
    local = "://" not in source
    if local and not Path(source).exists():
        raise DataError(f"{source}: no such file")
    options = {"protocol_whitelist": "file"} if local else {}
    if not is_live(source):
        options["format_whitelist"] = _CONTAINERS
    try:
        if source.startswith(_CAMERA):
            container = av.open(source, format="v4l2", timeout=_PATIENCE_S)
        else:
            name = f"file:{source}" if local else source
            container = av.open(name, options=options, timeout=_PATIENCE_S, metadata_errors="replace")
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise DataError(f"{source}: not a video that can be opened ({_told(error)})") from error
    with container:
        if not container.streams.video:
            raise DataError(f"{source}: no picture in it")
        yield Video(source, container, limits)


_Slot: TypeAlias = "queue.Queue[Frame | BaseException | None]"


def _newest(frames: Generator[Frame, None, None], stopped: threading.Event) -> Generator[Frame, None, None]:
    """Yield the newest frame each time that one is asked for; a thread reads, so that none grows old in a buffer."""
    slot: _Slot = queue.Queue(maxsize=1)

    def read() -> None:
        try:
            for frame in frames:
                with suppress(queue.Empty):
                    slot.get_nowait()  # nobody has taken it, and it is old now
                slot.put(frame)
            slot.put(None)  # behind the last frame
        except BaseException as error:
            slot.put(error)

    reader = threading.Thread(target=read, name="video", daemon=True)
    reader.start()
    try:
        while (found := _taken(slot, stopped)) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found
    finally:
        stopped.set()
        while reader.is_alive():  # until its next frame comes, or none for too long
            with suppress(queue.Empty):
                slot.get_nowait()
            reader.join(_LOOK_S)


def _taken(slot: _Slot, stopped: threading.Event) -> Frame | BaseException | None:
    while not stopped.is_set():
        with suppress(queue.Empty):
            return slot.get(timeout=_LOOK_S)
    return None


def _turns(frame: Any) -> int:
    """Quarter turns counter-clockwise that make a frame upright, as the telephone noted that took it."""
    return int(frame.rotation) // 90 % 4


def _told(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())
