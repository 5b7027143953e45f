"""Images out of the tensors of a request."""

import base64
import binascii
import io
import math

import numpy as np
from PIL import Image

from lstn.contract import Contract
from lstn.errors import ImageError
from lstn.images import Pixels, decode
from lstn.imaging.framing import framing_of
from lstn.imaging.heif import is_heif, let_pillow_read_heif
from lstn.report.wording import counted
from lstn.runtime.serving.requests.limits import MAX_DECODED_PIXELS
from lstn.runtime.serving.requests.refusal import Reason, Refusal
from lstn.runtime.serving.requests.request import ELEMENT_LENGTH, Input


def pixels_from(given: Input) -> Pixels:
    """Return the images of a `pixels` input, (n, H, W, 3) uint8, without a copy if they came as bytes.

    Raises:
        Refusal: another number of values than the shape says, or values that aren't from 0 to 255.
    """
    count = math.prod(given.shape)
    if isinstance(given.data, list):
        try:
            values = np.array(given.data)
        except (ValueError, OverflowError, RecursionError):  # ragged, or too deep
            values = np.empty(0)
        if values.dtype.kind not in "iu" or values.size != count or values.min() < 0 or values.max() > 255:
            raise Refusal(Reason.INVALID, f"input pixels must hold {count} whole numbers from 0 to 255")
        return values.astype(np.uint8).reshape(given.shape)
    if len(given.data) != count:
        raise Refusal(Reason.INVALID, f"input pixels has {counted(len(given.data), 'byte')}, its shape says {count}")
    return np.frombuffer(given.data, np.uint8).reshape(given.shape)


def files_from(given: Input) -> list[bytes]:
    """Return the encoded files of an `image` input, which JSON holds as base64.

    Raises:
        Refusal: another number of them than the shape says, or text that is not base64.
    """
    files: list[bytes] = []
    if isinstance(given.data, list):
        files = [_file_of(value, number) for number, value in enumerate(given.data)]
    else:
        data, offset = memoryview(given.data), 0
        while offset < len(data) and len(files) <= given.shape[0]:
            start = offset + ELEMENT_LENGTH
            offset = start + int.from_bytes(data[offset:start], "little")
            if start > len(data) or offset > len(data):
                raise Refusal(Reason.INVALID, "input image ends within an element")
            files.append(bytes(data[start:offset]))
    if len(files) != given.shape[0]:
        raise Refusal(
            Reason.INVALID, f"input image doesn't hold what its shape says, {counted(given.shape[0], 'file')}"
        )
    return files


def _file_of(value: object, number: int) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        if isinstance(value, str):
            return base64.b64decode("".join(value.split()), validate=True)  # `base64 FILE` breaks its lines
    except (binascii.Error, ValueError):
        pass
    raise Refusal(Reason.INVALID, f"image {number}: JSON holds a file as base64 text; this is not")


def decode_file(data: bytes, contract: Contract, number: int) -> Pixels:
    """Decode one encoded file to the input (H, W, 3) of a model; `number` names it in errors, from 0.

    Raises:
        Refusal: it is no image, or a damaged one.
    """
    try:
        return decode(data, contract.image_hw, name=f"image {number}", framing=framing_of(contract))
    except ImageError as error:
        # In brackets stand Pillow's own words, which may hold anything.
        raise Refusal(Reason.INVALID, error.message.partition(" (")[0]) from error


def check_sizes(files: list[bytes]) -> None:
    """Refuse more pixels than a request may hold, by the files' headers, before one is decoded.

    Raises:
        Refusal: they hold more.
    """
    total = 0
    for data in files:
        try:
            if is_heif(data):
                let_pillow_read_heif()
            with Image.open(io.BytesIO(data)) as image:
                total += image.width * image.height
        except Image.DecompressionBombError:
            total = MAX_DECODED_PIXELS + 1
        except Exception:  # `decode` says what is wrong with it
            continue
        if total > MAX_DECODED_PIXELS:
            raise Refusal(
                Reason.TOO_LARGE, f"the images have more than {MAX_DECODED_PIXELS // 10**6} million pixels together"
            )
