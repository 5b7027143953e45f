"""Start a server, ask it what it sees in an image, and stop it.

python examples/serve_and_ask.py model.onnx photo.jpg
"""

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory

from own_images import sign_folder, small_model

from lstn.images import decode


def ask(port: int, model: str, image: Path) -> None:
    """Send an image's pixels, by the protocol of Triton's and KServe's clients, and print the answer."""
    address = f"http://127.0.0.1:{port}/v2/models/{model}"
    with urllib.request.urlopen(address, timeout=20) as answer:
        inputs = {each["name"]: each["shape"] for each in json.load(answer)["inputs"]}
    _, height, width, _ = inputs["pixels"]
    pixels = decode(image, (height, width))[None]
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": pixels.shape, "data": pixels.ravel().tolist()}
    wanted = [{"name": "label"}, {"name": "probability"}]
    body = json.dumps({"inputs": [tensor], "outputs": wanted}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{address}/infer", body), timeout=20) as answer:
        found = {each["name"]: each["data"][0] for each in json.load(answer)["outputs"]}
    print(f"{image.name}: {found['label']} {100 * found['probability']:.1f} %")


def serve_and_ask(engine: Path, image: Path) -> None:
    """Serve on free ports, and ask once."""
    command = [sys.executable, "-m", "lstn", "serve", "--engine", str(engine), "--http-port", "0", "--grpc-port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            for line in server.stderr:  # it says where it listens once it is ready
                if found := re.search(r":(\d+) and gRPC", line):
                    ask(int(found[1]), engine.stem, image)
                    break
        finally:
            server.terminate()


if __name__ == "__main__":
    if len(sys.argv) == 3:
        serve_and_ask(Path(sys.argv[1]), Path(sys.argv[2]))
    else:
        with TemporaryDirectory() as temporary:
            photos = sign_folder(Path(temporary) / "signs", each=40)
            serve_and_ask(small_model(photos, Path(temporary)), next((photos / "parking").iterdir()))
