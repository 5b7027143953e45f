"""Models that come with lstn: train one, export it, measure it, and write it with its card into lstn/zoo/.

    python -m benchmarks zoo digits
    python -m benchmarks zoo signs --data folder:PATH

The run stays in runs/zoo-NAME, and the run of that name before it is removed. What is measured is the ONNX file that is
written. PATH has GTSRB's images in folders that are called by the class numbers 00 to 42, as `lstn train --data gtsrb`
unpacks them. --epochs and --out are for trying things out.

Needs: for signs, GTSRB's images.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.support.arguments import argument_parser
from benchmarks.support.result_files import machine_of
from lstn.contract import METADATA_KEY
from lstn.data.published.sign_names import SIGN_NAMES
from lstn.files import replacing, sha256_of, write_text
from lstn.formats.onnx_file import OnnxFile, read_onnx
from lstn.formats.training_record import TRAINING_KEY
from lstn.health.run_files import CHECKPOINT
from lstn.health.run_health import METRICS
from lstn.zoo.model_card import ModelCard, card_facts, card_page
from lstn.zoo.named_models import FOLDER

RESULT = "lstn/zoo/NAME.onnx"
ANGLES = (15, 30, 45)
MOST_BYTES = 700_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ZooRecipe:
    """How a model is made.

    options:  of `lstn train`
    data:     the set as its users name it; `given`: its files are named with --data, as folder:PATH
    names:    of the classes, in the order of their folders; empty: as the set calls them
    tested_on: which images the figures are of
    """

    options: str
    data: str
    knows: str
    images: str
    licence: str
    tested_on: str
    given: bool = False
    names: tuple[str, ...] = ()


RECIPES = {
    "digits": ZooRecipe(
        options="--loc lstn --model cnn --epochs 7 --supervise 1 --loc-lr-scale 1",
        data="digits",
        knows="a light handwritten digit on black, 0 to 9, turned by up to 45°, about half as high as the picture",
        images="10,000 digits of MNIST that come with lstn, each in another pose in every epoch (--data digits)",
        licence="MNIST by Yann LeCun and Corinna Cortes, CC BY-SA 3.0",
        tested_on="1,000 digits of MNIST's test file, turned by up to 45° each (lstn evaluate zoo:digits)",
    ),
    "signs": ZooRecipe(
        options="--loc stn --model cnn --image-size 64 --epochs 50 --augment affine --equivariance 10 --loc-lr-scale 1",
        data="gtsrb",
        knows="one of 43 German traffic signs, photographed from a car, that fills most of the picture",
        images="48 images of each class of the training set of GTSRB, by Stallkamp, Schlipsing, Salmen and Igel "
        "(--data gtsrb)",
        licence="its makers publish GTSRB for research; no licence is stated",
        tested_on="8 images of each class of GTSRB's training set, of other signs than the training images",
        given=True,
        names=SIGN_NAMES,
    ),
}


def main(words: Sequence[str]) -> None:
    """Make one model and its card."""
    parser = argument_parser(__name__, __doc__)
    parser.add_argument("name", choices=RECIPES)
    parser.add_argument("--data", help="of signs: folder:PATH")
    parser.add_argument("--epochs", type=int, help="another number than the recipe's")
    parser.add_argument("--out", type=Path, default=FOLDER, help=f"another folder than that of {RESULT}")
    given = parser.parse_args(words)
    recipe = RECIPES[given.name]
    if recipe.given != (given.data is not None):
        parser.error(f"{given.name} needs --data folder:PATH" if recipe.given else f"{given.name} takes no --data")
    options = recipe.options + (f" --epochs {given.epochs}" if given.epochs else "")
    data, run = given.data or recipe.data, Path("runs") / f"zoo-{given.name}"
    shutil.rmtree(run, ignore_errors=True)
    cpu_began = _children_cpu_s()
    lstn("train", *options.split(), "--data", data, "--name", run.name)
    cpu_minutes = (_children_cpu_s() - cpu_began) / 60
    with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
        lstn("export", str(run), "--out", folder)
        made = Path(folder, "model.onnx")
        figures = measured(made, data)
        model = given.out / f"{given.name}.onnx"
        write_model(made, model, recipe)
    trained = f"lstn train {options} --data {'folder:PATH' if recipe.given else recipe.data}"
    card = card_of(given.name, recipe, model, figures, run, trained, round(cpu_minutes, 1))
    write_text(model.with_suffix(".json"), json.dumps(asdict(card), indent=1, ensure_ascii=False) + "\n")
    write_text(model.with_suffix(".md"), card_page(card))
    print("\n".join(f"{name:13} {value}" for name, value in card_facts(card).items()))


def lstn(*words: str) -> None:
    """Run one command, as a user would type it; if it fails, so does this."""
    print(f"$ lstn {' '.join(words)}", flush=True)
    # Of layers this small a second thread makes nothing faster, and on a busy machine it makes all of it wait.
    ran = subprocess.run([sys.executable, "-m", "lstn", *words], env=os.environ | {"OMP_NUM_THREADS": "1"})
    if ran.returncode:
        sys.exit(ran.returncode)


def measured(model: Path, data: str) -> dict[str, Any]:
    """Return what `lstn evaluate` finds of an ONNX file: as the images are, and turned by each of ANGLES."""
    report = model.with_suffix(".evaluation.json")
    lstn("evaluate", str(model), "--data", data, "--rotate", ",".join(map(str, ANGLES)), "--json", str(report))
    found: dict[str, Any] = json.loads(report.read_text())
    return found


def write_model(made: Path, model: Path, recipe: ZooRecipe) -> None:
    """Copy an ONNX file, with the names of the classes in its contract, and no folder of this machine in its record."""
    import onnx

    proto, metadata = onnx.load(made), _metadata(read_onnx(made), recipe)
    for entry in proto.metadata_props:
        entry.value = metadata.get(entry.key, entry.value)
    with replacing(model) as temporary:
        temporary.write_bytes(proto.SerializeToString(deterministic=True))
    if (size := model.stat().st_size) > MOST_BYTES:
        sys.exit(f"{model}: {size} bytes, more than {MOST_BYTES}")


def _metadata(file: OnnxFile, recipe: ZooRecipe) -> dict[str, str]:
    assert file.contract is not None
    assert file.training is not None
    contract = replace(file.contract, labels=recipe.names or file.contract.labels)
    return {METADATA_KEY: contract.to_json(), TRAINING_KEY: replace(file.training, data=recipe.data).to_json()}


def card_of(
    name: str, recipe: ZooRecipe, model: Path, figures: dict[str, Any], run: Path, trained: str, cpu_minutes: float
) -> ModelCard:
    """Return the card of a model that was made."""
    turned = {str(each["amount"]).removesuffix(".0"): each["top1"] for each in figures["disturbed"]}
    rows = [json.loads(line) for line in (run / METRICS).read_text().splitlines()]
    return ModelCard(
        name=name,
        knows=recipe.knows,
        images=recipe.images,
        licence=recipe.licence,
        made_by=f"python -m benchmarks zoo {name}{' --data folder:PATH' * recipe.given}",
        trained=trained,
        epochs=sum("epoch" in row for row in rows),
        cpu_minutes=cpu_minutes,
        parameters=_parameters(run / CHECKPOINT),
        bytes=model.stat().st_size,
        sha256=sha256_of(model),
        tested_on=recipe.tested_on,
        tested=figures["images"],
        accuracy={"0": figures["top1"], **turned},
        follow=figures["follow"],
        pose=figures.get("pose"),
        **machine_of(("torch", "onnxruntime")),
    )


def _parameters(checkpoint: Path) -> int:
    from lstn.nn.checkpoint import load_checkpoint

    return sum(weight.numel() for weight in load_checkpoint(checkpoint).model.parameters())


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
