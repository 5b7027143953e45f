"""Requests that no client in its right mind sends to `lstn serve`: each is told by one number, and can be sent again.

Mostly they are good requests with something wrong: half of the fields of a JSON or a protobuf replaced, bytes cut out,
doubled or turned over, headers that contradict the body, pictures that are damaged in the middle.
"""

import io
import json
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image

METHODS = ("ModelInfer",) * 8 + ("ModelMetadata", "ModelReady", "ServerReady", "ServerMetadata", "RepositoryIndex", "")
SEGMENTS = (
    "v2",
    "models",
    "{model}",
    "versions",
    "1",
    "infer",
    "ready",
    "health",
    "live",
    "metrics",
    "config",
    "repository",
)
ODD_SEGMENTS = (
    "",
    ".",
    "..",
    "%2e%2e",
    "%00",
    "%ff",
    "%",
    "\xff",
    "x" * 9000,
    "2",
    "-1",
    "?a=b",
    "#",
    "{model}%2Finfer",
)
NUMBERS = (0, 1, 2, 3, -1, 7, 255, 256, 2**31, 2**32, 2**40, 2**62, 2**63 - 1, -(2**63))
JUNK: tuple[Any, ...] = (None, True, False, 0, -1, 0.5, 1e400, float("nan"), 2**70, "", "x", "\ud800", "\0", "x" * 300)
JUNK += ([], {}, [[]], [None], {"": {}}, "pixels", "image", "logits")
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "ICO", "TGA", "JPEG2000")


@dataclass(frozen=True)
class Case:
    """One request: bytes for the HTTP port, or a method and a message for gRPC.

    whole: HTTP, whether the head and the length of the body are right, so that there must be an answer
    """

    data: bytes
    method: str | None = None
    whole: bool = True


def case_of(number: int, *, model: str, side: int) -> Case:
    """Return the case of this number; the server's model must take images of `side` x `side` pixels."""
    chance = random.Random(number)
    if chance.random() < 0.35:
        return Case(_message(chance, model, side), chance.choice(METHODS))
    return _http(chance, model, side)


def _http(chance: random.Random, model: str, side: int) -> Case:
    headers: list[tuple[str, str]] = [("Host", "127.0.0.1")]
    method, path, body = "POST", f"/v2/models/{model}/infer", b""
    if chance.random() < 0.25:
        method = chance.choice(("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "BREW"))
        path = _path(chance, model)
    if method == "POST" or chance.random() < 0.2:
        body, headers = _body(chance, side, headers)
    headers += _odd_headers(chance)
    whole, length = True, str(len(body))
    if body and chance.random() < 0.1:
        whole, length = (
            False,
            str(chance.choice((len(body) + 9, len(body) - 1, "-1", "1e3", "", 2**64, f"{len(body)}, 0"))),
        )
    if chance.random() < 0.1:
        whole, body = False, _chunked(chance, body)
        headers.append(("Transfer-Encoding", chance.choice(("chunked", "chunked", "gzip, chunked", "x"))))
    elif body or method == "POST":
        headers.append(("Content-Length", length))
    chance.shuffle(headers)
    head = "".join([f"{method} {path} HTTP/1.1\r\n", *(f"{name}: {value}\r\n" for name, value in headers), "\r\n"])
    data = head.encode("latin-1", "replace") + body
    if chance.random() < 0.06:
        whole, data = False, _spoilt(chance, data)
    return Case(data, whole=whole and method not in ("CONNECT", "BREW"))


def _path(chance: random.Random, model: str) -> str:
    good = (
        SEGMENTS[:3],
        (*SEGMENTS[:5], "infer"),
        ("v2", "health", "ready"),
        ("metrics",),
        (),
        ("v2", "models", "ready"),
    )
    parts = list(chance.choice(good))
    for _ in range(chance.randrange(4)):
        parts.insert(chance.randint(0, len(parts)), chance.choice(ODD_SEGMENTS if chance.random() < 0.5 else SEGMENTS))
    return "/" + "/".join(part.format(model=model) for part in parts)


def _odd_headers(chance: random.Random) -> Iterator[tuple[str, str]]:
    odd = (
        ("Content-Encoding", ("gzip", "identity", "IDENTITY", "\xff")),
        ("Origin", ("http://127.0.0.1", "null", "http://[", "\xff")),
        ("Authorization", ("Bearer x", "Bearer", "\xff", "Basic eDp4")),
        ("Inference-Header-Content-Length", ("0", "1", "-1", "x", "9" * 30, "", "\xb2", "1, 2")),
        ("Connection", ("close", "upgrade", "keep-alive")),
        ("Upgrade", ("websocket", "h2c")),
        ("Expect", ("100-continue", "x")),
        ("Accept-Encoding", ("gzip", "\xff")),
        ("X-" + "y" * 3000, ("z" * 9000,)),
    )
    for name, values in odd:
        if chance.random() < 0.03:
            yield name, chance.choice(values)


def _chunked(chance: random.Random, body: bytes) -> bytes:
    cut = chance.randint(0, len(body))
    size = chance.choice((f"{cut:x}", f"{cut:x};a=b", f"{cut + 1:x}", "f" * 20, "-1", ""))
    end = chance.choice((b"0\r\n\r\n", b"0\r\nx: y\r\n\r\n", b"", b"0"))
    return (
        size.encode()
        + b"\r\n"
        + body[:cut]
        + b"\r\n"
        + f"{len(body) - cut:x}\r\n".encode()
        + body[cut:]
        + b"\r\n"
        + end
    )


def _body(chance: random.Random, side: int, headers: list[tuple[str, str]]) -> tuple[bytes, list[tuple[str, str]]]:
    """A JSON request, with its tensor inside or behind it."""
    count = chance.choice((1, 1, 2, 5))
    if chance.random() < 0.5:
        pixels = chance.randbytes(count * side * side * 3)
        tensor: dict[str, Any] = {"name": "pixels", "datatype": "UINT8", "shape": [count, side, side, 3]}
    else:
        pixels = b"".join(struct.pack("<I", len(file)) + file for file in (_picture(chance) for _ in range(count)))
        tensor = {"name": "image", "datatype": "BYTES", "shape": [count]}
    behind = chance.random() < 0.7
    if behind:
        tensor["parameters"] = {"binary_data_size": len(pixels)}
    else:
        tensor["data"] = list(pixels[:2000]) if chance.random() < 0.9 else [[[]], 1]
    wanted = [{"name": name} for name in ("logits", "theta", "label", "probability") if chance.random() < 0.5]
    content: Any = {"inputs": [tensor], "outputs": wanted, "id": "a", "parameters": {"binary_data_output": True}}
    for _ in range(chance.choice((0, 0, 1, 1, 1, 2, 4))):
        content = _changed(chance, content)
    text = json.dumps(content).encode("utf-8", "surrogatepass")
    if chance.random() < 0.1:
        text = _spoilt(chance, text)
    if not behind:
        return text, headers
    if chance.random() < 0.1:
        pixels = _spoilt(chance, pixels)
    length = len(text) + (chance.choice((0,) * 9 + (1, -1)))
    return text + pixels, [*headers, ("Inference-Header-Content-Length", str(length))]


def _changed(chance: random.Random, value: Any) -> Any:
    """The same JSON with one of its parts replaced, added or taken out."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        name, roll = chance.choice(list(value)), chance.random()
        if roll < 0.1:
            return {key: inner for key, inner in value.items() if key != name}
        if roll < 0.2:
            return value | {chance.choice(("shape", "data", "parameters", "timeout", "x")): _junk(chance)}
        return value | {name: _changed(chance, value[name])}
    if isinstance(value, list) and value and len(value) < 100 and chance.random() < 0.8:
        at = chance.randrange(len(value))
        return [
            *value[:at],
            _changed(chance, value[at]),
            *value[at + 1 :],
            *(value[at:] if chance.random() < 0.1 else ()),
        ]
    return _junk(chance)


def _junk(chance: random.Random) -> Any:
    return chance.choice(NUMBERS) if chance.random() < 0.4 else chance.choice(JUNK)


def _picture(chance: random.Random) -> bytes:
    """A file in one of many formats, mostly damaged: cut, turned over, or with another size in its head."""
    mode = chance.choice(("RGB", "RGB", "L", "1", "P", "RGBA", "I;16", "CMYK"))
    file = io.BytesIO()
    image = Image.new(mode, (chance.choice((1, 7, 64)), chance.choice((1, 9, 40))), chance.randrange(200))
    try:
        image.save(file, chance.choice(FORMATS))
    except (OSError, ValueError, KeyError):  # not every format has every mode
        image.convert("RGB").save(file, "PNG")
    data = file.getvalue()
    return _spoilt(chance, data) if chance.random() < 0.8 else data


def _spoilt(chance: random.Random, data: bytes) -> bytes:
    """Cut bytes out, double some, turn some over, or put others in."""
    spoilt = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8))):
        start = min(
            chance.randint(0, len(spoilt)), chance.randint(0, len(spoilt)) if chance.random() < 0.5 else len(spoilt)
        )
        stop = min(len(spoilt), start + chance.choice((1, 2, 4, 40)))
        kind = chance.randrange(5)
        if kind == 0:
            del spoilt[start:stop]
        elif kind == 1:
            spoilt[start:start] = spoilt[start:stop]
        elif kind == 2:
            spoilt[start:stop] = chance.randbytes(stop - start)
        elif kind == 3:
            spoilt[start:stop] = chance.choice((b"\0", b"\xff")) * (stop - start)
        else:
            del spoilt[start if chance.random() < 0.5 else len(spoilt) :]
    return bytes(spoilt)


def _message(chance: random.Random, model: str, side: int) -> bytes:
    """A ModelInferRequest with some fields changed, in bytes that may be spoilt too."""
    count = chance.choice((1, 1, 2, 5))
    if chance.random() < 0.5:
        name, datatype, shape, files = (
            "pixels",
            "UINT8",
            [count, side, side, 3],
            [chance.randbytes(count * side * side * 3)],
        )
    else:
        name, datatype, shape, files = "image", "BYTES", [count], [_picture(chance) for _ in range(count)]
    raw = files if name == "pixels" else [b"".join(struct.pack("<I", len(file)) + file for file in files)]
    fields: list[Callable[[], bytes]] = [
        lambda: _text(1, chance.choice((model,) * 9 + ("", "x", "\0"))),
        lambda: _text(2, chance.choice(("",) * 9 + ("1", "2", "x" * 300))),
        lambda: _text(3, chance.choice(("", "a", "x" * 9000))),
        lambda: _block(4, _text(1, "timeout") + _block(2, _number(2, chance.choice(NUMBERS)))),
        lambda: _block(5, _tensor(chance, name, datatype, shape, files)),
        lambda: b"".join(
            _block(6, _text(1, wanted)) for wanted in ("logits", "label", "x")[: chance.choice((0, 2, 3))]
        ),
        lambda: b"".join(_block(7, content) for content in raw),
    ]
    kept = (1.0, 0.3, 0.3, 0.1, 1.0, 0.3, 0.7)
    order = [field for field, share in zip(fields, kept, strict=True) if chance.random() < share]
    if chance.random() < 0.2:
        order.append(chance.choice(fields))
    message = b"".join(field() for field in order)
    return _spoilt(chance, message) if chance.random() < 0.3 else message


def _tensor(chance: random.Random, name: str, datatype: str, shape: list[int], files: list[bytes]) -> bytes:
    if chance.random() < 0.2:
        shape = [chance.choice((size, *NUMBERS)) for size in shape] * chance.choice((0, 1, 1, 1, 9))
    if chance.random() < 0.1:
        name, datatype = chance.choice(
            (("image", "UINT8"), ("x", "FP32"), ("pixels", "BYTES"), ("", ""), ("pixels", "BF16"))
        )
    told = _text(1, name) + _text(2, datatype) + b"".join(_number(3, size) for size in shape)
    if chance.random() < 0.3:
        values = b"".join(_varint(byte) for byte in files[0][:500])
        typed = _block(4, values) if name == "pixels" else b"".join(_block(8, file) for file in files)
        told += _block(5, chance.choice((typed, _block(6, chance.randbytes(40)), _number(4, chance.choice(NUMBERS)))))
    return told


def _varint(number: int) -> bytes:
    number &= 2**64 - 1
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def _number(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number)


def _block(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _text(field: int, text: str) -> bytes:
    return _block(field, text.encode())
