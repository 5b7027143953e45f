"""Image models with spatial transformers, from training to a measured deployment.

    import lstn

    with lstn.open_engine("model.onnx") as engine:
        print(engine.classify("photo.jpg"))  # or engine.detect, engine.read, by what the model does

`import lstn` loads nothing else. A name's module, and what that needs, is imported when the name is first used: so
PyTorch is for `lstn.nn`, `export_onnx` and `fit` alone. docs/how-to/python.md shows all of it.
"""

from typing import TYPE_CHECKING

from lstn.imports import lazily

if TYPE_CHECKING:
    from lstn import nn, testing
    from lstn.contract import At, Contract, Loc, Task, ThetaForm
    from lstn.detection.suppression import Detection
    from lstn.errors import (
        ArtifactError,
        DataError,
        DeviceError,
        ImageError,
        LstnError,
        MissingExtra,
        TrainingError,
        UsageError,
        VerificationError,
    )
    from lstn.evaluation.answer import Classification, Guess
    from lstn.export.onnx.live_model import export_onnx
    from lstn.machine.version import __version__
    from lstn.runtime.engines.base import Engine
    from lstn.runtime.engines.generator_engines import Generated, GeneratorEngine
    from lstn.runtime.engines.opening import classify, open_engine, open_generator
    from lstn.runtime.engines.prediction import Prediction
    from lstn.train.fit_model import fit
    from lstn.transcription.transcripts import Transcript

__all__ = [
    "ArtifactError",
    "At",
    "Classification",
    "Contract",
    "DataError",
    "Detection",
    "DeviceError",
    "Engine",
    "Generated",
    "GeneratorEngine",
    "Guess",
    "ImageError",
    "Loc",
    "LstnError",
    "MissingExtra",
    "Prediction",
    "Task",
    "ThetaForm",
    "TrainingError",
    "Transcript",
    "UsageError",
    "VerificationError",
    "__version__",
    "classify",
    "export_onnx",
    "fit",
    "nn",
    "open_engine",
    "open_generator",
    "testing",
]

if not TYPE_CHECKING:  # a type checker takes the imports above, and knows any other name for a mistake
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "lstn.evaluation.answer": "Classification Guess",
            "lstn.contract": "At Contract Loc Task ThetaForm",
            "lstn.detection.suppression": "Detection",
            "lstn.errors": "ArtifactError DataError DeviceError ImageError LstnError MissingExtra TrainingError "
            "UsageError VerificationError",
            "lstn.export.onnx.live_model": "export_onnx",
            "lstn.nn": "",
            "lstn.runtime.engines.base": "Engine",
            "lstn.runtime.engines.generator_engines": "Generated GeneratorEngine",
            "lstn.runtime.engines.opening": "classify open_engine open_generator",
            "lstn.runtime.engines.prediction": "Prediction",
            "lstn.testing": "",
            "lstn.train.fit_model": "fit",
            "lstn.transcription.transcripts": "Transcript",
            "lstn.machine.version": "__version__",
        },
    )
