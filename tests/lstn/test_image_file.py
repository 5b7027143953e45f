"""Metadata never decides whether pixels are read: damaged, huge or absent, they stay the same."""

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lstn.errors import ImageError
from lstn.images import MAX_PIXELS, DecodeLimits, decode
from lstn.imaging.image_file import without_metadata

PICTURE = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
HW = PICTURE.shape[:2]


def encoded(kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PICTURE).save(buffer, kind, **options)
    return buffer.getvalue()


PNG, JPEG = encoded("PNG"), encoded("JPEG", quality=95)
JPEG_PIXELS = np.asarray(Image.open(io.BytesIO(JPEG)))


def with_chunk(kind: bytes, body: bytes, crc: int | None = None) -> bytes:
    """A PNG with one chunk more, behind its header."""
    end = zlib.crc32(kind + body) if crc is None else crc
    return PNG[:33] + struct.pack(">I", len(body)) + kind + body + struct.pack(">I", end) + PNG[33:]


def with_segment(marker: int, body: bytes) -> bytes:
    """A JPEG with one segment more, behind its first marker."""
    return JPEG[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body + JPEG[2:]


BOMB = zlib.compress(bytes(80 << 20))
CHUNKS = {
    "an EXIF block that is none": (b"eXIf", b"nonsense"),
    "text beyond Pillow's limit": (b"zTXt", b"Comment\0\0" + BOMB),
    "a profile beyond Pillow's limit": (b"iCCP", b"x\0\0" + BOMB),
    "a profile that is not compressed": (b"iCCP", b"x\0\0" + b"junk" * 9),
    "a physical size that is too short": (b"pHYs", b"\0\0"),
    "a gamma that is too short": (b"gAMA", b"\0"),
    "a gamma of nothing": (b"gAMA", bytes(4)),
    "primaries that are too short": (b"cHRM", b"\0\0\0"),
    "an intent that is absent": (b"sRGB", b""),
    "text without an end": (b"iTXt", b"\xff\xfe"),
    "an animation of no frames": (b"acTL", bytes(8)),
    "a frame without an animation": (b"fcTL", bytes(3)),
}


@pytest.mark.parametrize("what", CHUNKS)
def test_a_png_is_read_whatever_its_metadata(what: str) -> None:
    assert np.array_equal(decode(with_chunk(*CHUNKS[what]), HW), PICTURE)


def test_a_wrong_checksum_of_metadata_does_not_matter_and_of_pixels_it_does() -> None:
    assert np.array_equal(decode(with_chunk(b"tEXt", b"a\0b", crc=1), HW), PICTURE)
    broken = bytearray(PNG)
    broken[-20] ^= 255
    with pytest.raises(ImageError, match="damaged"):
        decode(bytes(broken), HW)


def exif(*entries: tuple[int, int, int, bytes], order: str = ">") -> bytes:
    """An EXIF block of such entries: tag, type, count, value or offset."""
    packed = b"".join(struct.pack(f"{order}HHI", *entry[:3]) + entry[3].ljust(4, b"\0") for entry in entries)
    head = b"MM\0*" if order == ">" else b"II*\0"
    return b"Exif\0\0" + head + struct.pack(f"{order}IH", 8, len(entries)) + packed + bytes(4)


TURNED = (274, 3, 1, b"\0\6")
SEGMENTS = {
    "an EXIF block that is none": (0xE1, b"Exif\0\0nonsense", False),
    "an empty EXIF block": (0xE1, b"Exif\0\0", False),
    "a resolution that is not a number": (0xE1, exif((282, 12, 1, struct.pack(">I", 26)), TURNED), True),
    "software that is a fraction": (0xE1, exif(TURNED, (305, 5, 1, struct.pack(">I", 26))), True),
    "a date beyond the end": (0xE1, exif(TURNED, (306, 2, 20, struct.pack(">I", 60_000))), True),
    "an entry of no known type": (0xE1, exif((270, 99, 1, b""), TURNED), True),
    "an orientation of three values": (0xE1, exif((274, 3, 2, b"\0\6\0\6")), True),
    "an orientation that does not exist": (0xE1, exif((274, 3, 1, b"\0\x63")), False),
    "a profile in pieces that lack": (0xE2, b"ICC_PROFILE\0\3\7junk", False),
    "an index of previews that is junk": (0xE2, b"MPF\0MM\0*\0\0\0\x08\0\1junk", False),
    "Photoshop's block, cut": (0xED, b"Photoshop 3.0\x008BIM\x03\xed\0\0\0\0\xff\xff", False),
    "an Adobe block that is too short": (0xEE, b"Adobe", False),
    "a JFIF block that is too short": (0xE0, b"JFIF\0", False),
    "a comment that is not text": (0xFE, b"\xff\0" * 99, False),
}


@pytest.mark.parametrize("what", SEGMENTS)
def test_a_jpeg_is_read_and_turned_whatever_its_metadata(what: str) -> None:
    marker, body, turned = SEGMENTS[what]
    hw = HW[::-1] if turned else HW
    wanted = np.rot90(JPEG_PIXELS, -1) if turned else JPEG_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", module=r"PIL\.")  # as lstn.images asks for
        assert np.array_equal(decode(with_segment(marker, body), hw), wanted)


@given(st.lists(st.tuples(st.sampled_from([*range(0xE2, 0xEE), 0xEF, 0xFE]), st.binary(max_size=60)), max_size=4))
def test_segments_of_any_content_change_nothing(segments: list[tuple[int, bytes]]) -> None:
    extra = b"".join(bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body for marker, body in segments)
    assert np.array_equal(decode(JPEG[:2] + extra + JPEG[2:], HW), JPEG_PIXELS)


LETTER = st.sampled_from(b"abcdefghijklmnopqrstuvwxyz")


@given(st.lists(LETTER, min_size=4, max_size=4).map(bytes), st.binary(max_size=60))
def test_chunks_of_any_content_change_nothing(kind: bytes, body: bytes) -> None:
    assert np.array_equal(decode(with_chunk(kind, body), HW), PICTURE)


@given(st.binary(max_size=300))
def test_any_bytes_come_through(data: bytes) -> None:
    for start in (b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", PNG[:33], JPEG[:20]):
        assert len(without_metadata(start + data)) <= len(start + data)


@given(st.binary(max_size=20), st.sampled_from([b"", b"IHDR", PNG[16:]]))
def test_transparency_before_the_header_is_left_to_the_decoder(key: bytes, rest: bytes) -> None:
    early = PNG[:8] + struct.pack(">I", len(key)) + b"tRNS" + key + bytes(4) + rest
    assert without_metadata(early) == early
    with pytest.raises(ImageError):
        decode(early, HW)


def test_what_is_whole_and_bare_is_not_changed() -> None:
    assert without_metadata(PNG) == PNG
    assert without_metadata(JPEG) == JPEG
    assert without_metadata(b"GIF89a") == b"GIF89a"


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_ends_early_is_refused_unless_it_is_to_be_read(progressive: bool) -> None:
    whole = encoded("JPEG", quality=95, progressive=progressive)
    cut = whole[: len(whole) * 2 // 3]
    with pytest.raises(ImageError, match="damaged"):
        decode(cut, HW)
    pixels = decode(cut, HW, limits=DecodeLimits(truncated=True))
    assert np.abs(pixels[:16].astype(int) - JPEG_PIXELS[:16]).mean() < (40 if progressive else 1)
    if not progressive:
        assert np.ptp(pixels[-8:]) <= 40  # one colour where nothing is left
    assert np.array_equal(decode(whole, HW, limits=DecodeLimits(truncated=True)), decode(whole, HW))


def test_large_photos_are_read_when_a_user_allows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # decode raises it
    buffer = io.BytesIO()
    Image.new("L", (20_000, 10_000), 200).save(buffer, "JPEG")
    with pytest.raises(ImageError, match="the limit of 100 million"):
        decode(buffer.getvalue(), (8, 8))
    with pytest.raises(ImageError, match=r"20000 x 10000 pixels, more than the limit of 199\.5 million"):
        decode(buffer.getvalue(), (8, 8), limits=DecodeLimits(max_pixels=199_500_000))
    pixels = decode(buffer.getvalue(), (8, 8), limits=DecodeLimits(max_pixels=2 * MAX_PIXELS))
    assert np.unique(pixels).tolist() == [200]


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("hw", [(16, 32), (20, 20), (7, 50)])
def test_a_large_jpeg_decoded_small_is_the_same_picture(hw: tuple[int, int], orientation: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    stripes = (
        rng.integers(0, 256, (45, 73, 3)).astype(np.uint8).repeat(9, 0).repeat(9, 1)[:397, :651]
    )  # no multiple of 8
    tag = Image.Exif()
    tag[274] = orientation
    path = tmp_path / "large.jpg"
    Image.fromarray(stripes).save(path, quality=95, exif=tag)
    whole = np.asarray(Image.open(path))
    upright = Image.fromarray(np.rot90(whole, -1) if orientation == 6 else whole)
    wanted = np.asarray(upright.resize(hw[::-1], Image.Resampling.BILINEAR)).astype(int)
    difference = np.abs(decode(path, hw) - wanted)
    assert difference.mean() < 1.5
    assert difference.max() <= 12


def test_markers_without_a_length_and_fill_bytes_are_passed_over() -> None:
    comment = b"\xff\xfe\x00\x04ab"
    for alone in (b"\xff\x01", b"\xff\xd0", b"\xff\xd7", b"\xff"):
        assert without_metadata(JPEG[:2] + alone + comment + JPEG[2:]) == JPEG


def test_all_that_follows_the_start_of_a_scan_comes_through() -> None:
    at = JPEG.index(b"\xff\xda")
    scan = JPEG[at : at + 14] + b"\xff\xfe\x00\x04ab" + JPEG[at + 14 :]
    assert without_metadata(JPEG[:at] + scan) == JPEG[:at] + scan


@pytest.mark.parametrize("length", [0, 1, 60_000])
def test_a_segment_of_a_wrong_length_is_left_to_the_decoder_with_all_behind_it(length: int) -> None:
    damaged = JPEG[:2] + b"\xff\xfe" + struct.pack(">H", length) + JPEG[2:]
    assert without_metadata(damaged) == damaged


@pytest.mark.parametrize(
    ("marker", "start", "least"), [(0xE0, b"JFIF\0", 14), (0xE1, b"Exif\0\0", 6), (0xEE, b"Adobe", 12)]
)
def test_a_segment_that_libjpeg_heeds_is_kept_and_a_shorter_one_is_not(marker: int, start: bytes, least: int) -> None:
    rest = JPEG[2:]
    for count, kept in ((least - 1, False), (least, True), (least + 90, True)):
        whole = with_segment(marker, start.ljust(count, b"\0")[:count])
        assert without_metadata(whole) == (whole if kept else JPEG)
    assert without_metadata(with_segment(marker, b"x".ljust(least, b"\0"))) == JPEG[:2] + rest


@pytest.mark.parametrize(
    ("depth", "colour", "key", "expected"),
    [
        (2, 0, b"\0\2", b"\0\xaa"),
        (4, 0, b"\0\2", b"\0\x22"),
        (4, 0, b"\0\x12", b"\0\x22"),
        (8, 0, b"\0\2", b"\0\2"),
        (1, 0, b"\0\1", b"\0\1"),
        (16, 2, b"\1\2\3\4\5\6", b"\0\1\0\3\0\5"),
        (8, 2, b"\0\1\0\2\0\3", b"\0\1\0\2\0\3"),
        (8, 3, b"\1\2\3", b"\1\2\3"),
        (4, 0, b"\2", b"\2"),
    ],
)
def test_a_transparent_colour_is_told_in_8_bits(depth: int, colour: int, key: bytes, expected: bytes) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = PNG[:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, depth, colour, 0, 0, 0))
    assert without_metadata(header + chunk(b"tRNS", key)) == header + chunk(b"tRNS", expected)
