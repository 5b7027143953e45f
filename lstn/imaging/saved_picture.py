"""Pictures that lstn draws: PNG files that say so, so that no other file is ever taken for one."""

from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lstn.files import replacing


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a picture as a PNG file that names lstn as its software.

    Raises:
        LstnError: it can't be written.
    """
    drawn_by = PngInfo()
    drawn_by.add_text("Software", "lstn")
    with replacing(path) as temporary:
        picture.save(temporary, format="PNG", pnginfo=drawn_by)
