import io
import os
import struct
import subprocess
import sys
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lstn import images
from lstn.contract import Contract, Loc
from lstn.errors import ImageError, UsageError
from lstn.images import MAX_PIXELS, DecodeLimits, decode, pixels_of, readable_suffixes, shown_hw

RAMP = np.arange(16 * 24 * 3, dtype=np.uint32).reshape(16, 24, 3).astype(np.uint8)


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_rgb_at_its_own_size_is_unchanged() -> None:
    assert np.array_equal(decode(encode(Image.fromarray(RAMP)), (16, 24)), RAMP)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM", "JPEG"])
def test_result_is_uint8_rgb_at_the_size_asked_for(kind: str) -> None:
    pixels = decode(encode(Image.fromarray(RAMP), kind), (7, 9))
    assert (pixels.shape, pixels.dtype) == ((7, 9, 3), np.uint8)


def test_what_pillow_logs_stays_off_the_screen(tmp_path: Path) -> None:
    """Seen: a server's standard error told of a TIFF with 278 samples for each pixel."""
    data = bytearray(encode(Image.fromarray(RAMP), "TIFF"))
    samples = data.index(struct.pack("<HHIH", 277, 3, 1, 3))
    data[samples + 8 : samples + 10] = struct.pack("<H", 278)
    (tmp_path / "odd.tif").write_bytes(data)
    code = "import sys; from pathlib import Path; from lstn.errors import ImageError; from lstn.images import decode\n"
    code += "try: decode(Path(sys.argv[1]), (8, 8))\nexcept ImageError: print('refused')"
    ran = subprocess.run([sys.executable, "-c", code, tmp_path / "odd.tif"], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("refused\n", "")


# What each EXIF orientation makes of a stored image, in NumPy's words (TIFF 6.0, tag 274).
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied(orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    expected = UPRIGHT[orientation](RAMP)
    pixels = decode(encode(Image.fromarray(RAMP), exif=exif), expected.shape[:2])
    assert np.array_equal(pixels, expected)


def test_alpha_is_composited_on_black() -> None:
    rgba = np.dstack([np.full((4, 4, 3), 200, np.uint8), np.full((4, 4), 128, np.uint8)])
    rgba[0, 0, 3] = 0
    pixels = decode(encode(Image.fromarray(rgba)), (4, 4))
    assert pixels[0, 0].tolist() == [0, 0, 0]
    assert np.abs(pixels[1:].astype(int) - 200 * 128 / 255).max() <= 1


def test_a_transparent_palette_colour_is_black_too() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putdata([0, 1])
    assert decode(encode(image, transparency=0), (1, 2)).tolist() == [[[0, 0, 0], [0, 255, 0]]]


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    values = np.array([[0, 128, 257, 32768, 65535]], np.uint16)
    pixels = decode(encode(Image.fromarray(values)), (1, 5))
    assert pixels[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_the_first_frame_of_an_animation_counts() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime")]
    pixels = decode(encode(frames[0], "GIF", save_all=True, append_images=frames[1:]), (4, 4))
    assert pixels[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "YCbCr", "RGBA"])
def test_every_common_mode_becomes_rgb(mode: str) -> None:
    kind = "TIFF" if mode in ("CMYK", "YCbCr") else "PNG"
    white = Image.new("RGB", (3, 3), "white").convert(mode)
    assert decode(encode(white, kind), (3, 3)).min() >= 254


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_without_a_range_are_refused(mode: str) -> None:
    image = Image.fromarray(np.full((2, 2), 1e6)).convert(mode)
    with pytest.raises(ImageError, match="convert it"):
        decode(encode(image, "TIFF"), (2, 2), name="scan.tif")


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body)) + b"\0\0\0\0IDAT"


@pytest.mark.parametrize("size", [(100_000, 100_000), (10_001, 10_000)])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match="100 million"):
        decode(png_header(*size), (8, 8), name="bomb.png")


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("empty.jpg", b"", "empty"),
        ("text.jpg", b"hello, I am no image\n" * 20, "not an image"),
        ("cut.jpg", encode(Image.fromarray(RAMP).resize((200, 200)), "JPEG")[:3000], "damaged"),
        ("cut.png", encode(Image.effect_noise((64, 64), 99))[:900], "damaged"),
        ("program.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n", "not an image"),
    ],
)
def test_a_bad_file_is_one_error_that_names_it(name: str, data: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ImageError, match=reason) as caught:
        decode(path, (8, 8))
    assert str(path) in caught.value.message


@given(st.binary(max_size=200), st.integers(0, 100))
def test_damage_anywhere_is_an_image_error_or_an_image(noise: bytes, at: int) -> None:
    data = bytearray(encode(Image.fromarray(RAMP), "PNG"))
    data[at : at + len(noise)] = noise
    with suppress(ImageError):
        assert decode(bytes(data), (8, 8)).shape == (8, 8, 3)


def iptc(inner: bytes) -> bytes:
    """An IPTC envelope (IIM 4.1: record 3 says size and compression, record 8 holds the object) around a file."""
    fields = [(3, 20, struct.pack(">H", 8)), (3, 30, struct.pack(">H", 8)), (3, 60, b"\1\0"), (3, 120, b"\5")]
    body = b"".join(struct.pack(">BBBH", 0x1C, record, tag, len(value)) + value for record, tag, value in fields)
    return body + struct.pack(">BBBH", 0x1C, 8, 10, len(inner)) + inner


def test_an_envelope_runs_no_program_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {ran}\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    with suppress(Exception), Image.open(io.BytesIO(iptc(program)), formats=["IPTC"]) as image:
        image.load()
    assert ran.exists(), "the envelope is not one that Pillow opens"
    ran.unlink()
    with pytest.raises(ImageError, match="not an image"):
        decode(iptc(program), (8, 8))
    assert not ran.exists()


def test_readable_suffixes_are_those_that_decode() -> None:
    suffixes = readable_suffixes()
    assert {".jpg", ".png", ".tif", ".webp", ".jp2", ".tga", ".ico", ".bmp", ".gif", ".avif"} <= suffixes
    assert not {".eps", ".ps", ".pdf", ".iim", ".mpg", ".h5", ".wmf", ".emf", ".txt"} & suffixes


@pytest.mark.parametrize("kind", ["JPEG2000", "TGA", "ICO", "PCX", "QOI", "SGI", "DDS", "AVIF", "ICNS", "DIB", "IM"])
def test_a_format_whose_suffix_is_listed_decodes(kind: str) -> None:
    assert kind in {Image.EXTENSION.get(suffix) for suffix in readable_suffixes()}
    flat = Image.new("RGB", (16, 16), (200, 40, 80))
    assert np.abs(decode(encode(flat, kind), (16, 16)).astype(int) - (200, 40, 80)).max() <= 4


def test_a_missing_file_is_an_image_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="No such file"):
        decode(tmp_path / "gone.png", (8, 8))


def test_a_zero_byte_in_a_name_is_an_error_of_that_image() -> None:
    with pytest.raises(ImageError, match="null byte"):
        decode(Path("a\0b.png"), (8, 8))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize(("orientation", "hw"), [(1, (6, 9)), (3, (6, 9)), (5, (9, 6)), (6, (9, 6)), (8, (9, 6))])
def test_a_files_size_is_told_as_it_is_shown(tmp_path: Path, kind: str, orientation: int, hw: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    Image.new("RGB", (9, 6)).save(tmp_path / "picture", kind, exif=exif)
    assert shown_hw(tmp_path / "picture") == hw


def test_suffixes_of_heic_are_readable_where_its_package_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {".heic", ".jpg", ".png"} <= readable_suffixes()
    monkeypatch.setattr(images, "can_read_heif", lambda: False)
    before = {suffix: name for suffix, name in Image.EXTENSION.items() if name != "HEIF"}
    monkeypatch.setattr(Image, "EXTENSION", before)  # where a test has read one, pillow-heif is registered
    assert ".heic" not in readable_suffixes()


def test_a_program_gets_the_same_of_a_path_its_name_its_bytes_and_its_pixels(tmp_path: Path) -> None:
    contract = Contract(Loc.NONE, "cnn", (5, 7), ("a", "b"))
    pixels = np.random.default_rng(0).integers(0, 256, (11, 13, 3), np.uint8)
    path = tmp_path / "picture.png"
    Image.fromarray(pixels).save(path)
    wanted = decode(path, (5, 7))
    for picture in (path, str(path), path.read_bytes(), pixels):
        assert np.array_equal(pixels_of(picture, contract), wanted)
    for wrong in (pixels[..., :2], pixels[..., 0], pixels[None], pixels.astype(np.int16), pixels[:0], [pixels], 5):
        with pytest.raises(UsageError, match="expected"):
            pixels_of(wrong, contract)
    with pytest.raises(UsageError, match="a URL; expected a file"):
        pixels_of("https://host/cat.jpg", contract)


def test_pillows_own_limit_is_raised_and_never_lowered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / "picture.png")
    large = 2 * MAX_PIXELS
    for before, allowed, after in ((100, MAX_PIXELS, 100), (100, large, large), (None, MAX_PIXELS, None)):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", before)
        decode(tmp_path / "picture.png", (2, 2), limits=DecodeLimits(max_pixels=allowed))
        assert after == Image.MAX_IMAGE_PIXELS
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3 * MAX_PIXELS)
    decode(tmp_path / "picture.png", (2, 2), limits=DecodeLimits(max_pixels=2 * MAX_PIXELS))
    assert Image.MAX_IMAGE_PIXELS == 3 * MAX_PIXELS


def test_a_file_may_be_as_large_as_the_limit_and_no_larger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(Image.fromarray(RAMP), "BMP")
    (tmp_path / "picture").write_bytes(data)
    monkeypatch.setattr(images, "MAX_BYTES", len(data))
    assert np.array_equal(decode(tmp_path / "picture", (16, 24)), RAMP)
    monkeypatch.setattr(images, "MAX_BYTES", len(data) - 1)
    with pytest.raises(ImageError, match="larger than 0 MiB"):
        decode(tmp_path / "picture", (16, 24))
