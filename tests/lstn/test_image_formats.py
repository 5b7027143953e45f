"""Pixels against decoders that share no code with Pillow: imagecodecs, tifffile, and arithmetic by hand."""

import io
import struct

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image
from raw_png import DEPTHS, random_png

from lstn.errors import ImageError
from lstn.images import decode
from lstn.imaging.image_mode import UnsurePixels, rgb

HW = (8, 8)


def on_black(values: np.ndarray, *, alpha: bool) -> np.ndarray:
    """Any channels of any unsigned type -> RGB 0..255, alpha composited on black, unrounded."""
    shares = values.reshape(*values.shape[:2], -1) / np.iinfo(values.dtype).max
    if alpha:
        shares = shares[..., :-1] * shares[..., -1:]
    return 255 * np.broadcast_to(shares, (*values.shape[:2], 3))


@pytest.mark.parametrize(
    ("colour", "depth", "key"),
    [
        (colour, depth, key)
        for colour, depths in DEPTHS.items()
        for depth in depths
        for key in ((False, True) if colour < 4 else (False,))
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_every_kind_of_png_is_libpngs(colour: int, depth: int, key: bool, seed: int) -> None:
    data = random_png(colour, depth, hw=HW, key=key, seed=seed)
    wanted = on_black(imagecodecs.png_decode(data), alpha=key or colour >= 4)
    # Pillow cuts 16-bit colours, and 16-bit alpha, to their high byte.
    assert np.abs(decode(data, HW) - wanted).max() <= (2 if depth == 16 else 0.5)


def tiff(values: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    byteorder = options.pop("byteorder", "<")
    with tifffile.TiffWriter(buffer, byteorder=byteorder) as writer:
        writer.write(values, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize(("dtype", "byteorder"), [("uint8", "<"), ("uint8", ">"), ("uint16", "<")])
def test_gray_tiffs_of_either_sense_are_tifffiles(
    dtype: str, byteorder: str, photometric: str, compression: str | None
) -> None:
    values = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, HW).astype(dtype)
    data = tiff(values, photometric=photometric, compression=compression, byteorder=byteorder)
    wanted = on_black(tifffile.imread(io.BytesIO(data)), alpha=False)
    assert np.abs(decode(data, HW) - (255 - wanted if photometric == "miniswhite" else wanted)).max() <= 0.5


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("alpha", [False, True])
def test_colour_tiffs_are_right_or_refused(dtype: str, planar: str, compression: str | None, alpha: bool) -> None:
    values = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (*HW, 3 + alpha)).astype(dtype)
    stored = np.ascontiguousarray(np.moveaxis(values, 2, 0)) if planar == "separate" else values
    extra = {"extrasamples": ["unassalpha"]} if alpha else {}
    data = tiff(stored, photometric="rgb", planarconfig=planar, compression=compression, **extra)
    if (dtype, planar, compression) == ("uint16", "separate", None):
        with pytest.raises(ImageError, match="plane by plane; convert it"):
            decode(data, HW)
        return
    # Pillow cuts 16-bit colours, and 16-bit alpha, to their high byte.
    assert np.abs(decode(data, HW) - on_black(values, alpha=alpha)).max() <= (2 if dtype == "uint16" else 0.5)


def test_twelve_bits_of_gray_use_the_whole_range() -> None:
    values = np.array([[0, 2048, 4095, 17] * 2] * 8, np.uint16)
    packed = b"".join(int("".join(f"{value:012b}" for value in row), 2).to_bytes(12, "big") for row in values)
    tags = ((256, 8), (257, 8), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 8), (279, len(packed)))
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    data = b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed + struct.pack("<H", len(tags)) + entries + bytes(4)
    assert np.array_equal(tifffile.imread(io.BytesIO(data)), values)
    assert np.abs(decode(data, HW)[..., 0] - values * (255 / 4095)).max() <= 0.5


@pytest.mark.parametrize(
    ("dtype", "reason"),
    [("int8", "signed"), ("int16", "signed"), ("int32", "signed"), ("uint32", "32-bit"), ("float32", "floating-point")],
)
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_numbers_that_nothing_gives_a_meaning_are_refused(dtype: str, reason: str, compression: str | None) -> None:
    data = tiff(np.full(HW, 100, dtype), photometric="minisblack", compression=compression)
    with pytest.raises(ImageError, match=f"scan.tif: {reason} pixels; convert it to 8 bits"):
        decode(data, HW, name="scan.tif")


def test_a_tiff_that_pillow_does_not_know_is_still_called_a_tiff() -> None:
    data = tiff(np.zeros(HW, np.uint16), photometric="miniswhite", byteorder=">")
    with pytest.raises(ImageError, match="a TIFF of a rare kind"):
        decode(data, HW)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_jpeg_2000_is_right_or_refused(channels: int, bits: int) -> None:
    dtype = np.uint8 if bits == 8 else np.uint16
    values = np.random.default_rng(0).integers(0, 2**bits, (*HW, channels)).astype(dtype)
    values[0] = 2**bits - 1  # Pillow 13 makes black of the brightest colour
    data = imagecodecs.jpeg2k_encode(
        values.squeeze(), level=0, reversible=True, codecformat="jp2", bitspersample=None if bits == 8 else bits
    )
    if bits > 8 and channels > 1:
        with pytest.raises(ImageError, match="JPEG 2000 colours of more than 8 bits"):
            decode(data, HW)
        return
    shares = values / (2**bits - 1)
    wanted = shares[..., :-1] * shares[..., -1:] if channels in (2, 4) else shares
    assert np.abs(decode(data, HW) - 255 * wanted).max() <= 1


@pytest.mark.parametrize("codec", ["webp", "qoi"])
@pytest.mark.parametrize("channels", [3, 4])
def test_lossless_colours_are_unchanged(codec: str, channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 256, (*HW, channels)).astype(np.uint8)
    data = imagecodecs.webp_encode(values, lossless=True) if codec == "webp" else imagecodecs.qoi_encode(values)
    assert np.abs(decode(data, HW) - on_black(values, alpha=channels == 4)).max() <= 0.5


@pytest.mark.parametrize("maximum", [1, 15, 100, 255, 1023, 65535])
@pytest.mark.parametrize("kind", [b"P5", b"P6"])
def test_netpbms_maximum_is_white(kind: bytes, maximum: int) -> None:
    values = np.random.default_rng(0).integers(0, maximum + 1, (*HW, 1 if kind == b"P5" else 3))
    stored = values.astype(np.uint8 if maximum < 256 else ">u2").tobytes()
    pixels = decode(kind + b" 8 8 %d\n" % maximum + stored, HW)
    assert np.abs(pixels - 255 * values / maximum).max() <= 0.5


@pytest.mark.parametrize(("mode", "options"), [("RGB", {}), ("RGB", {"keep_rgb": True}), ("L", {}), ("CMYK", {})])
@pytest.mark.parametrize("progressive", [False, True])
def test_every_kind_of_jpeg_is_libjpegs(mode: str, options: dict[str, bool], progressive: bool) -> None:
    blocks = np.random.default_rng(0).integers(0, 256, (3, 4, 3)).astype(np.uint8).repeat(16, 0).repeat(16, 1)
    buffer = io.BytesIO()
    Image.fromarray(blocks).convert(mode).save(buffer, "JPEG", quality=95, progressive=progressive, **options)
    theirs = imagecodecs.jpeg_decode(buffer.getvalue())
    if mode == "CMYK":  # Adobe stores it inverted
        theirs = theirs[..., :3] / 255 * theirs[..., 3:]
    wanted = np.broadcast_to(theirs.reshape(48, 64, -1), (48, 64, 3))
    assert np.abs(decode(buffer.getvalue(), (48, 64)) - wanted).max() <= 1


@pytest.mark.parametrize("channel", [0, 1, 2])
@pytest.mark.parametrize("container", [b"", b"box "])
def test_the_deepest_channel_of_a_jpeg_2000_counts(channel: int, container: bytes) -> None:
    """In the SIZ marker each channel has three bytes, of which the first is its depth less one (ITU T.800, A.5.1)."""
    codestream = imagecodecs.jpeg2k_encode(np.zeros((8, 8, 3), np.uint8), codecformat="j2k", level=0)
    with Image.open(io.BytesIO(codestream)) as image:
        image.load()
        rgb(image, container + codestream)
        deeper = bytearray(codestream)
        deeper[42 + 3 * channel] = 8
        with pytest.raises(UnsurePixels, match="more than 8 bits"):
            rgb(image, container + bytes(deeper))
