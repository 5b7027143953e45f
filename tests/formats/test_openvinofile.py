import json
from contextlib import suppress
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstn.contract import Contract, Loc
from lstn.errors import ArtifactError
from lstn.files import sha256_of
from lstn.formats.openvino_file import Record, bin_path, read_pair, read_xml
from lstn.formats.plan_file import Tensor
from lstn.formats.training_record import Training

CONTRACT = Contract(Loc.LSTN, "cnn", (8, 6), ("ant", 'b"<&>é\n', "\u202e"))
RECORD = Record(CONTRACT, "0" * 64, "1" * 64, "2026.4.1", "int8", Training("folder:/photos", 3, 1, 0.75))

LAYERS = """
  <layer id="0" name="pixels" type="Parameter" version="opset1">
    <output><port id="0" precision="U8" names="pixels"><dim>-1</dim><dim>8</dim><dim>6</dim><dim>3</dim></port></output>
  </layer>
  <layer id="1" name="w" type="Const" version="opset1"><output><port id="0" precision="FP32"/></output></layer>
  <layer id="2" name="c" type="Convolution" version="opset1">
    <input><port id="0" precision="FP32"><dim>-1</dim></port></input>
    <output><port id="1" precision="FP32" names="logits"><dim>-1</dim><dim>3</dim></port></output>
  </layer>
  <layer id="3" name="logits/sink" type="Result" version="opset1" output_names="logits">
    <input><port id="0" precision="FP32"><dim>-1</dim><dim>3</dim></port></input>
  </layer>
"""


def document(record: str | None, *, layers: str = LAYERS, head: str = '<?xml version="1.0"?>') -> str:
    note = "" if record is None else f"<lstn value={quoteattr(record)} />"
    return f'{head}<net name="n" version="11"><layers>{layers}</layers><edges/><rt_info>{note}</rt_info></net>'


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    path = tmp_path / "model.int8.xml"
    bin_path(path).write_bytes(b"weights")
    fields = json.loads(RECORD.to_json()) | {"bin_sha256": sha256_of(bin_path(path))}
    path.write_text(document(json.dumps(fields)))
    return path


def test_it_says_what_the_graph_takes_and_makes(pair: Path) -> None:
    record, file = read_pair(pair)
    assert (record.contract, record.precision, record.version) == (CONTRACT, "int8", "2026.4.1")
    assert file.inputs == (Tensor("pixels", "uint8", (-1, 8, 6, 3)),)
    assert file.outputs == (Tensor("logits", "float32", (-1, 3)),)
    assert file.operators == {"Convolution": 1}


def test_a_file_of_another_maker_has_no_record(pair: Path) -> None:
    pair.write_text(document(None))
    assert read_xml(pair).record is None
    with pytest.raises(ArtifactError, match="no contract, so it wasn't written by lstn"):
        read_pair(pair)


def test_weights_that_are_gone_or_others_are_refused(pair: Path) -> None:
    bin_path(pair).write_bytes(b"Weights")
    with pytest.raises(ArtifactError, match=r"describes other weights than model\.int8\.bin"):
        read_pair(pair)
    bin_path(pair).unlink()
    with pytest.raises(ArtifactError, match=r"model\.int8\.bin: missing"):
        read_pair(pair)
    bin_path(pair).mkdir()
    with pytest.raises(ArtifactError, match="Is a directory"):
        read_pair(pair)


BOMB = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(12))
DOCTYPES = [
    f'<?xml version="1.0"?><!DOCTYPE net [<!ENTITY e0 "ha">{BOMB}]>',
    '<?xml version="1.0"?><!DOCTYPE net [<!ENTITY e12 SYSTEM "file:///etc/passwd">]>',
    '<!DOCTYPE net SYSTEM "http://127.0.0.1:9/net.dtd">',
]


@pytest.mark.parametrize("head", DOCTYPES)
def test_whatever_has_a_document_type_is_refused(pair: Path, head: str) -> None:
    pair.write_text(document(RECORD.to_json(), layers=f"{LAYERS}<layer type='&e12;'/>", head=head))
    with pytest.raises(ArtifactError, match="it has a document type"):
        read_xml(pair)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not an OpenVINO model"),
        ("hello", "not an OpenVINO model"),
        ("<html></html>", "a document of 'html'"),
        ("<net><layers/></net>", "holds no layer"),
        (document(RECORD.to_json())[:-9], "cut off"),
        (document(None, layers=LAYERS + "<a>" * 100 + "</a>" * 100), "nests too deep"),
        (document(None, layers=LAYERS.replace("<dim>8", "<dim>eight")), "not an OpenVINO model"),
        (document(None, layers=LAYERS.replace("<dim>8</dim>", "<dim>8</dim>" * 40)), "dimensions"),
        (document(None, layers=LAYERS.replace('"Parameter"', '"&nothing;"')), "undefined entity"),
        (document(RECORD.to_json()).replace("</rt_info>", "<lstn value='{}'/></rt_info>"), "says twice what it is"),
        (document("[]"), "damaged metadata"),
        (document("{}"), "damaged metadata"),
        (document("[" * 100_000), "damaged metadata"),
        (document(json.dumps(json.loads(RECORD.to_json()) | {"contract": "{}"})), "contract version"),
    ],
)
def test_what_is_no_such_file_is_one_error(pair: Path, text: str, message: str) -> None:
    pair.write_text(text)
    with pytest.raises(ArtifactError, match=message) as caught:
        read_xml(pair)
    assert "\n" not in caught.value.message


def test_limits_come_before_the_work(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.write_text(document(None, layers=LAYERS + "<a/>" * 500))
    monkeypatch.setattr("lstn.formats.openvino_file._MAX_ELEMENTS", 400)
    with pytest.raises(ArtifactError, match="over 400 elements"):
        read_xml(pair)
    monkeypatch.setattr("lstn.formats.openvino_file._MAX_BYTES", 1 << 10)
    with pytest.raises(ArtifactError, match="larger than"):
        read_xml(pair)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="Is a directory"):
        read_xml(tmp_path)
    with pytest.raises(ArtifactError, match="No such file"):
        read_xml(tmp_path / "none.xml")


@given(st.data())
def test_a_damaged_file_is_read_or_is_one_error(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    text = document(RECORD.to_json()).encode()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    path = tmp_path_factory.getbasetemp() / "damaged.xml"
    path.write_bytes(text[:start] + data.draw(st.binary(max_size=20)) + text[end:])
    with suppress(ArtifactError):
        assert read_xml(path).operators
