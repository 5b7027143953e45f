"""HEIC pictures, written by pillow-heif: read where it is installed, and one line where it is not."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from lstn.contract import Fit
from lstn.data.folders.listing import Skipped, images_below
from lstn.errors import ImageError
from lstn.images import DecodeLimits, Pixels, decode
from lstn.imaging.framing import Framing
from lstn.imaging.heif import can_read_heif, is_heif


def soft(height: int = 96, width: int = 160) -> Pixels:
    coarse = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def heic(pixels: Pixels, **options: object) -> bytes:
    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(buffer, quality=95, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("fit", Fit)
def test_a_heic_picture_is_decoded_like_any_other(fit: Fit) -> None:
    pixels, framing = soft(), Framing(fit, (1, 2, 3))
    expected = io.BytesIO()
    Image.fromarray(pixels).save(expected, "PNG")
    found = decode(heic(pixels), (40, 50), framing=framing).astype(int)
    assert np.abs(found - decode(expected.getvalue(), (40, 50), framing=framing)).max() <= 8  # what HEVC loses


def test_it_stands_upright() -> None:
    exif = Image.Exif()
    exif[274] = 6
    found = decode(heic(soft(), exif=exif.tobytes()), (160, 96)).astype(int)
    assert np.abs(found - np.rot90(soft(), -1)).mean() < 2  # of a picture that lies wrongly, 60


def test_its_alpha_and_gray_become_rgb() -> None:
    alpha = np.dstack([soft(), np.zeros((96, 160), np.uint8)])
    assert decode(heic(alpha), (8, 8)).max() <= 8
    gray = decode(heic(soft()[..., 0]), (96, 160)).astype(int)
    assert np.abs(gray - soft()[..., :1]).max() <= 8


@pytest.mark.parametrize("cut", [40, 300, 1000])
def test_a_damaged_one_is_one_error_that_names_it(cut: int) -> None:
    with pytest.raises(ImageError, match=r"^cut\.heic: "):
        decode(heic(soft(512, 512))[:-cut], (8, 8), name="cut.heic")


def test_a_huge_one_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(ImageError, match=r"160 x 96 pixels, more than the limit of 0\.01 million"):
        decode(heic(soft()), (8, 8), name="a.heic", limits=DecodeLimits(max_pixels=10_000))


@pytest.mark.parametrize("kind", ["AVIF", "PNG", "JPEG", "WEBP"])
def test_other_kinds_are_none(kind: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(soft()).save(buffer, kind)
    assert not is_heif(buffer.getvalue())
    assert is_heif(heic(soft()))
    assert not is_heif(b"")
    assert not is_heif(b"\xff\xff\xff\xffftyp")


def test_nothing_loads_it_before_the_first_one(tmp_path: Path) -> None:
    Image.fromarray(soft()).save(tmp_path / "a.png")
    (tmp_path / "b.heic").write_bytes(heic(soft()))
    code = (
        "import sys; from pathlib import Path; from lstn.images import decode, readable_suffixes\n"
        f"assert '.heic' in readable_suffixes(); decode(Path({str(tmp_path / 'a.png')!r}), (8, 8))\n"
        f"assert 'pillow_heif' not in sys.modules; decode(Path({str(tmp_path / 'b.heic')!r}), (8, 8))\n"
        "assert 'pillow_heif' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


WITHOUT = """
import sys
from pathlib import Path

sys.modules["pillow_heif"] = None
from lstn.data.folders.listing import Skipped, images_below
from lstn.errors import ImageError
from lstn.images import decode

folder, skipped = Path(sys.argv[1]), Skipped()
print([path.name for path in images_below(folder, skipped)])
print(skipped.describe())
try:
    decode(folder / "a.heic", (8, 8))
except ImageError as error:
    print(error.message)
"""


def test_without_the_extra_one_line_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "a.heic").write_bytes(heic(soft()))
    Image.fromarray(soft()).save(tmp_path / "b.png")
    ran = subprocess.run([sys.executable, "-c", WITHOUT, tmp_path], check=True, capture_output=True, text=True)
    names, skipped, error = ran.stdout.splitlines()
    assert names == "['b.png']"
    assert skipped.startswith("1 file is not read (1 .heic)")
    assert "for HEIC: pip install '" in skipped
    assert error.startswith(
        f"{tmp_path / 'a.heic'}: a HEIC image, but pillow-heif is not installed; run: pip install '"
    )
    assert error.endswith("[heic]'")


def test_a_folder_lists_it(tmp_path: Path) -> None:
    for name in ("a.heic", "b.HEIF", "c.hif"):
        (tmp_path / name).write_bytes(heic(soft()))
    assert [path.name for path in images_below(tmp_path, Skipped())] == ["a.heic", "b.HEIF", "c.hif"]


def box(major: bytes, brands: list[bytes], minor: bytes = bytes(4), size: int | None = None) -> bytes:
    content = b"ftyp" + major + minor + b"".join(brands)
    return (len(content) + 4 if size is None else size).to_bytes(4, "big") + content


@pytest.mark.parametrize(
    ("data", "is_one"),
    [
        (box(b"heic", []), True),
        (box(b"mif1", [b"heic"]), True),
        (box(b"mif1", [b"mif1", b"hevs"]), True),
        (box(b"mif1", [b"mif1"] * 63 + [b"heix"]), True),
        (box(b"mif1", [b"mif1"] * 64 + [b"heix"]), False),
        (box(b"mif1", [b"heic"], size=19), True),
        (box(b"mif1", [b"mif1", b"heic"], size=20), False),
        (box(b"mif1", [], minor=b"heic"), False),
        (box(b"avif", [b"avif", b"mif1"]), False),
        (box(b"mif1", [b"xxhe", b"icxx"]), False),
        (b"\0\0\0\x18ftyq" + b"heic" * 4, False),
        (b"", False),
    ],
)
def test_the_first_box_says_whether_hevc_is_in_a_file(data: bytes, is_one: bool) -> None:
    assert is_heif(data) is is_one


def test_that_it_is_installed_is_seen_without_an_import() -> None:
    code = (
        "import sys; from lstn.imaging.heif import can_read_heif; print(can_read_heif(), 'pillow_heif' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "True False\n"
    assert can_read_heif()
