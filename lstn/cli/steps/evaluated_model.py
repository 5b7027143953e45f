"""The model that `lstn evaluate` opens, of any kind, with the images that it is tried on."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lstn.contract import Contract, Task
from lstn.data.splits import DataSet
from lstn.health.run_files import checkpoint_of
from lstn.machine.gpu import engine_device
from lstn.waiting import say_loading

if TYPE_CHECKING:
    from lstn.alignment.sentence_encoder import EncodeWords
    from lstn.evaluation.measuring import Answering
    from lstn.formats.training_record import Training

_BATCH = 64


@dataclass(frozen=True, slots=True)
class EvaluatedModel:
    """A model, and images for it.

    named:    the data set, as `--data` names it
    training: what the model was trained on; None where its file doesn't say
    most:     images that it answers at once
    encode:   of a model that aligns, what it makes of sentences
    """

    contract: Contract
    named: str
    data: DataSet
    training: "Training | None"
    answering: "Answering"
    most: int
    encode: "EncodeWords | None" = None


@contextmanager
def evaluated_model(file: Path, data: str | None, seed: int | None, device: str) -> Iterator[EvaluatedModel]:
    """Open a run, a checkpoint, or a file of any engine, and its data set.

    Raises:
        LstnError: one of them can't be opened.
    """
    from lstn.data.task_sets import open_for_model
    from lstn.data.trained_on import data_and_seed

    if file.is_dir() or file.suffix == ".safetensors":
        say_loading(f"evaluating {file}")
        from lstn.nn.checkpoint_answers import open_checkpoint
        from lstn.nn.device import choose_device

        opened = open_checkpoint(checkpoint_of(file), choose_device(device))
        named, drawn = data_and_seed(file, opened.training, data, seed)
        images = open_for_model(opened.contract, named, seed=drawn)
        yield EvaluatedModel(opened.contract, named, images, opened.training, opened.answering, _BATCH, opened.encode)
        return
    from lstn.alignment.sentence_encoder import sentence_encoder
    from lstn.formats.inspection import training_of
    from lstn.runtime.engines.engine_answers import answering
    from lstn.runtime.engines.opening import open_engine

    training = training_of(file)
    named, drawn = data_and_seed(file, training, data, seed)
    with open_engine(file, device=engine_device(device), spin=False) as engine, ExitStack() as held:
        images, most = open_for_model(engine.contract, named, seed=drawn), min(engine.max_batch, _BATCH)
        encode = held.enter_context(sentence_encoder(file)) if engine.contract.task is Task.ALIGN else None
        yield EvaluatedModel(engine.contract, named, images, training, answering(engine), most, encode)
