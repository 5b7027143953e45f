"""A request and an answer as the protocol means them, over HTTP and gRPC alike."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lstn.contract import LOGITS, PIXELS, THETA, Contract, Loc, Task, meant_for
from lstn.detection.suppression import SHOWN_SCORE, Detection, detections
from lstn.evaluation.answer import Logits, softmax
from lstn.runtime.engines.prediction import Prediction
from lstn.runtime.serving.requests.parameters import CLASSIFICATION
from lstn.runtime.serving.requests.refusal import Reason, Refusal
from lstn.tagging.tags import tags_of
from lstn.transcription.transcripts import transcripts
from lstn.warps.warp import Theta

IMAGE, LABEL, PROBABILITY, LABELS = "image", "label", "probability", "labels"
OBJECTS, TEXT, SYMBOLS = "objects", "text", "symbols"
VERSION = "1"
"""Of every model: the protocol has versions, and one file is one."""

ELEMENT_LENGTH = 4
"""Bytes before each element of a BYTES tensor: its length, little-endian."""

Data: TypeAlias = bytes | memoryview | list[Any]
"""Bytes in the protocol's binary form, or values as JSON or protobuf hold them, nested or flat."""


Values: TypeAlias = npt.NDArray[np.float32] | tuple[str, ...]
"""Of an output: numbers, or text, flat."""


@dataclass(frozen=True, slots=True)
class Input:
    """One input tensor as it was sent."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Data


@dataclass(frozen=True, slots=True)
class Wanted:
    """One output that was asked for. classes: the best so many classes as text in place of the numbers."""

    name: str
    classes: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One inference request.

    outputs:    those that were asked for; empty for the usual ones
    timeout_s:  how long the client waits, or None
    summary:    where the client can't name outputs: all of them, or what was found by a model that doesn't classify
    """

    inputs: tuple[Input, ...]
    outputs: tuple[Wanted, ...] = ()
    timeout_s: float | None = None
    summary: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Output:
    """One output tensor: float32, or text, flat."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: Values

    def raw(self) -> bytes:
        """Return the binary form."""
        if isinstance(self.values, np.ndarray):
            return self.values.astype("<f4", copy=False).tobytes()
        encoded = [text.encode("utf-8", "surrogatepass") for text in self.values]
        return b"".join(len(text).to_bytes(ELEMENT_LENGTH, "little") + text for text in encoded)

    def rows(self) -> list[Any]:
        """Return the values for JSON, by image: text, a number or nested lists; objects and labels, not as text."""
        if self.name in (OBJECTS, SYMBOLS, LABELS):
            return [json.loads(text) for text in self.values]
        return self.values.tolist() if isinstance(self.values, np.ndarray) else list(self.values)

    def listed(self) -> list[float] | list[str]:
        """Return the values for JSON, flat."""
        return self.values.ravel().tolist() if isinstance(self.values, np.ndarray) else list(self.values)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor in a model's metadata; -1 is any number of images."""

    name: str
    datatype: str
    shape: tuple[int, ...]


def inputs_of(contract: Contract) -> tuple[TensorSpec, TensorSpec]:
    """Return what a request may hold, exactly one of the two: pixels, or files in their place."""
    return TensorSpec(PIXELS, "UINT8", (-1, *contract.image_hw, 3)), TensorSpec(IMAGE, "BYTES", (-1,))


def outputs_asked(contract: Contract) -> tuple[TensorSpec, ...]:
    """Return what can be asked for."""
    theta = () if contract.loc is Loc.NONE else (TensorSpec(THETA, "FP32", (-1, *contract.theta_shape)),)
    return (
        TensorSpec(LOGITS, "FP32", (-1, *contract.logits_shape)),
        *theta,
        *_READ[contract.task],
    )


_READ: dict[Task, tuple[TensorSpec, ...]] = {
    Task.CLASSIFY: (TensorSpec(LABEL, "BYTES", (-1,)), TensorSpec(PROBABILITY, "FP32", (-1,))),
    Task.TAG: (TensorSpec(LABELS, "BYTES", (-1,)),),
    Task.DETECT: (TensorSpec(OBJECTS, "BYTES", (-1,)),),
    Task.READ: (
        TensorSpec(TEXT, "BYTES", (-1,)),
        TensorSpec(PROBABILITY, "FP32", (-1,)),
        TensorSpec(SYMBOLS, "BYTES", (-1,)),
    ),
    Task.ALIGN: (),  # no server answers for one
    Task.GENERATE: (),  # nor for one of these
}
"""What a person reads of an answer. Total over `Task`."""


def wanted_outputs(request: Request, contract: Contract) -> tuple[TensorSpec, ...]:
    """Return what was asked for; logits and theta if nothing was. Logits as classes are BYTES.

    Raises:
        Refusal: the model has no such output, it is named twice, or it has no classes.
    """
    there = {spec.name: spec for spec in outputs_asked(contract)}
    if request.summary:
        return tuple(there.values()) if contract.task is Task.CLASSIFY else _READ[contract.task]
    if not request.outputs:
        return tuple(there[name] for name in (LOGITS, THETA) if name in there)
    names = {wanted.name for wanted in request.outputs}
    if len(names) != len(request.outputs) or not names <= set(there):
        raise Refusal(Reason.INVALID, f"outputs must be some of {', '.join(there)}, each once")
    if any(wanted.classes is not None and wanted.name != LOGITS for wanted in request.outputs):
        raise Refusal(Reason.INVALID, f"{CLASSIFICATION} is for the output {LOGITS} only")
    if contract.task is not Task.CLASSIFY and any(wanted.classes is not None for wanted in request.outputs):
        told = meant_for(Task.CLASSIFY, contract.task, CLASSIFICATION)
        raise Refusal(Reason.INVALID, f"{told}: ask for {_READ[contract.task][0].name}")
    most = len(contract.labels)
    return tuple(
        there[wanted.name] if wanted.classes is None else TensorSpec(LOGITS, "BYTES", (-1, min(wanted.classes, most)))
        for wanted in request.outputs
    )


def only_input(request: Request, contract: Contract) -> Input:
    """Return the one input of a request, its name, datatype and shape checked.

    Raises:
        Refusal: there are none or several, or it isn't one of `inputs_of`.
    """
    specs = {spec.name: spec for spec in inputs_of(contract)}
    if len(request.inputs) != 1 or request.inputs[0].name not in specs:
        raise Refusal(Reason.INVALID, f"expected one input, {' or '.join(specs)}")
    given = request.inputs[0]
    spec = specs[given.name]
    if given.datatype != spec.datatype or len(given.shape) != len(spec.shape) or given.shape[1:] != spec.shape[1:]:
        sizes = ", ".join("n" if size == -1 else str(size) for size in spec.shape)
        raise Refusal(Reason.INVALID, f"input {spec.name} must be {spec.datatype} [{sizes}]")
    if given.shape[0] < 1:
        raise Refusal(Reason.INVALID, f"input {spec.name} holds no image")
    return given


def check_finite_answer(prediction: Prediction) -> None:
    """Check that the model answered with numbers.

    Raises:
        Refusal: it didn't.
    """
    if not np.isfinite(prediction.logits).all() or (
        prediction.theta is not None and not np.isfinite(prediction.theta).all()
    ):
        raise Refusal(Reason.FAILED, "the model's answer is not a number")


Found: TypeAlias = dict[str, str | float]
"""What was found in one image, by the name of the output."""


def found_in(logits: Logits, theta: Theta | None, contract: Contract) -> Found:
    """Return what a model that doesn't classify found in one image; objects and symbols as JSON, lists of what
    `Detection.fields` says, labels as a list of them with their probabilities.

    logits: (K, C + 1); theta: (K, 2, 3), or None without a transformer; finite. Of a model that tags (C,) and its theta
    """
    if contract.task is Task.TAG:
        (tags,) = tags_of(logits[None], contract)
        return {LABELS: json.dumps([{"label": each.label, "probability": each.probability} for each in tags])}
    if contract.task is Task.READ:
        (best,) = transcripts(logits, theta, contract.labels, separator=contract.separator)
        return {TEXT: best.text, PROBABILITY: best.probability, SYMBOLS: _listed(best.symbols)}
    assert theta is not None  # a detector's contract has a localizer
    return {OBJECTS: _listed(detections(logits, theta, contract.labels, least=SHOWN_SCORE))}


def _listed(found: Sequence[Detection]) -> str:
    return json.dumps([each.fields() for each in found])


def is_found(spec: TensorSpec, contract: Contract) -> bool:
    """Whether an output is one that `found_in` answers."""
    return contract.task is not Task.CLASSIFY and spec in _READ[contract.task]


def answer_from(
    prediction: Prediction, wanted: tuple[TensorSpec, ...], labels: tuple[str, ...], found: Sequence[Found] = ()
) -> list[Output]:
    """Return the outputs that were asked for. found: `found_in` of each image, if that is wanted."""
    count = len(prediction.logits)
    return [
        Output(
            spec.name,
            spec.datatype,
            (count, *spec.shape[1:]),
            _found(spec, found) if found and spec.name in found[0] else _values(spec, prediction, labels),
        )
        for spec in wanted
    ]


def _found(spec: TensorSpec, found: Sequence[Found]) -> Values:
    if spec.datatype == "FP32":
        return np.array([each[spec.name] for each in found], np.float32)
    return tuple(str(each[spec.name]) for each in found)


def _values(spec: TensorSpec, prediction: Prediction, labels: tuple[str, ...]) -> Values:
    logits = prediction.logits
    if spec.name == LABEL:
        return tuple(labels[index] for index in logits.argmax(axis=1))
    if spec.name == PROBABILITY:
        return np.asarray(softmax(logits).max(axis=1), np.float32)
    if spec.name == THETA and prediction.theta is not None:
        return prediction.theta
    return logits if spec.datatype == "FP32" else best_classes(logits, spec.shape[1], labels)


def best_classes(logits: npt.NDArray[np.float32], count: int, labels: tuple[str, ...]) -> tuple[str, ...]:
    """(N, K) logits -> N x `count` texts "score:index:label" as Triton writes them, flat, the best class first."""
    best = np.argsort(-logits, axis=1, kind="stable")[:, :count]
    return tuple(
        f"{row[index]:.6f}:{index}:{labels[index]}"
        for row, indices in zip(logits, best, strict=True)
        for index in indices
    )
