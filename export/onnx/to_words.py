"""The encoder of sentences of a model that aligns -> model.words, verified against PyTorch before it gets its name."""

from pathlib import Path

import numpy as np
import onnx
import torch

from lstn.alignment.sentence_encoder import VECTORS, WORDS, encoder_path
from lstn.contract import METADATA_KEY, STEPS, Contract
from lstn.errors import LstnError, VerificationError
from lstn.export.onnx.to_onnx import IR_VERSION, OPSET, silenced, strip_notes
from lstn.files import replacing, sha256_of
from lstn.formats.onnx_file import PARTNER_KEY
from lstn.formats.onnx_session import OnnxSession
from lstn.formats.outputs import SENTENCES, OutputFile, check_outputs
from lstn.nn.word_vectors import WordVectors

_TOLERANCE = 1e-4
"""The largest difference of a vector's number, as a share of the largest number."""


def write_words(words: WordVectors, model: Path, contract: Contract) -> float:
    """Write the encoder of sentences next to `model`, the ONNX file of the same network; return the largest difference
    from PyTorch, as a share of the largest number.

    Raises:
        VerificationError: the file computes something else.
        LstnError: it can't be exported or written.
    """
    check_outputs([OutputFile(encoder_path(model), SENTENCES)], inputs=[])
    sentence = torch.zeros(3, dtype=torch.int64)
    try:
        with silenced():
            program = torch.onnx.export(
                words.eval(),
                (sentence,),
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=[WORDS],
                output_names=[VECTORS],
                dynamic_shapes=({0: torch.export.Dim("length", max=STEPS[1])},),
            )
    except Exception as error:  # as in lstn.export.onnx.to_onnx
        cause = str(error.__cause__ or error).strip().partition("\n")[0]
        raise LstnError(f"PyTorch {torch.__version__} can't export the words to ONNX: {cause:.300}") from error
    assert program is not None  # it is None without dynamo
    proto: onnx.ModelProto = program.model_proto
    strip_notes(proto.graph)
    del proto.graph.value_info[:]  # the exporter writes the length that it traced into them, and into the output
    proto.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "length"
    del proto.metadata_props[:]
    proto.metadata_props.add(key=METADATA_KEY, value=contract.to_json())
    proto.metadata_props.add(key=PARTNER_KEY, value=sha256_of(model))
    proto.ir_version = IR_VERSION
    with replacing(encoder_path(model)) as temporary:
        temporary.write_bytes(proto.SerializeToString(deterministic=True))
        return _verified(temporary, words, len(contract.labels))


def _verified(path: Path, words: WordVectors, vocabulary: int) -> float:
    random = np.random.default_rng(0)
    session, apart = OnnxSession(path), 0.0
    for length in (1, 2, 7, STEPS[1]):
        sentence = random.integers(0, vocabulary, length)
        with torch.inference_mode():
            wanted = words(torch.from_numpy(sentence)).numpy()
        (found,) = session.run({WORDS: sentence}, [VECTORS])
        apart = max(apart, float(np.abs(found - wanted).max() / np.abs(wanted).max()))
    session.close()
    if not apart <= _TOLERANCE:
        raise VerificationError(f"the exported words differ from PyTorch by {apart:.1e} of the largest number")
    return apart
