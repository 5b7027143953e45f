"""What Triton has beyond the protocol, asked by its own clients: classes, configuration, statistics, index."""

import json
import threading
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from serving import (
    SHAPE,
    ZEROS,
    Server,
    connect,
    files_input,
    pixels_input,
    png,
    random_pixels,
    serving,
)
from tiny import SIDE, Tiny
from tiny_fixtures import LABELS
from tritonclient.grpc import model_config_pb2, service_pb2

from lstn.runtime.serving.requests.messages import message_classes
from lstn.runtime.serving.requests.request import best_classes

CLIENTS = [pytest.param(tritonclient.http, id="http"), pytest.param(tritonclient.grpc, id="grpc")]
PIXELS = {"name": "pixels", "datatype": "UINT8", "shape": SHAPE, "data": ZEROS}


def asked(client: ModuleType, classes: int, **options: Any) -> Any:
    return client.InferRequestedOutput("logits", class_count=classes, **options)


def classes_of(logits: np.ndarray, count: int) -> list[list[bytes]]:
    """As Triton writes them: the score with six digits, the index, the label."""
    ranked = [sorted(range(len(row)), key=lambda index, row=row: -row[index])[:count] for row in logits]
    return [
        [f"{row[index]:.6f}:{index}:{LABELS[index]}".encode() for index in best]
        for row, best in zip(logits, ranked, strict=True)
    ]


def split(texts: np.ndarray) -> list[list[tuple[float, int, str]]]:
    rows = [[text.decode().split(":", 2) for text in row] for row in texts]
    return [[(float(score), int(index), label) for score, index, label in row] for row in rows]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("count", [1, 3, 4, 99])
def test_the_best_classes_are_named_with_their_scores(
    server: Server, model: Tiny, client: ModuleType, count: int
) -> None:
    pixels = random_pixels(3, count)
    wanted = [asked(client, count), client.InferRequestedOutput("theta")]
    answer = connect(client, server).infer("model", [pixels_input(client, pixels)], outputs=wanted)
    told, true = answer.as_numpy("logits"), np.array(classes_of(model.logits(pixels), count))
    assert told.shape == (3, min(count, 4))
    for row, right in zip(split(told), split(true), strict=True):
        assert [each[1:] for each in row] == [each[1:] for each in right]
        np.testing.assert_allclose([each[0] for each in row], [each[0] for each in right], atol=1e-3)
    np.testing.assert_allclose(answer.as_numpy("theta"), model.theta(pixels), atol=1e-4)


def test_classes_come_as_text_in_json_too(server: Server, model: Tiny) -> None:
    pixels = random_pixels(2, 0)
    client = tritonclient.http
    given = pixels_input(client, pixels, binary_data=False)
    answer = connect(client, server).infer("model", [given], outputs=[asked(client, 2, binary_data=False)])
    (output,) = answer.get_response()["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [2, 2])
    assert [text.split(":")[2] for text in output["data"]] == [
        text.decode().split(":")[2] for row in classes_of(model.logits(pixels), 2) for text in row
    ]


def test_equal_scores_are_named_in_the_order_of_their_classes() -> None:
    labels = tuple(f"label:{index}" for index in range(200))
    scores = np.zeros((2, 200), np.float32)
    scores[1, 150] = 1
    first, second = np.reshape(best_classes(scores, 3, labels), (2, 3)).tolist()
    assert first == ["0.000000:0:label:0", "0.000000:1:label:1", "0.000000:2:label:2"]
    assert second == ["1.000000:150:label:150", "0.000000:0:label:0", "0.000000:1:label:1"]


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ({"outputs": [{"name": "theta", "parameters": {"classification": 2}}]}, "for the output logits only"),
        ({"outputs": [{"name": "logits", "parameters": {"classification": 0}}]}, "at least 1"),
        ({"outputs": [{"name": "logits", "parameters": {"classification": "2"}}]}, "at least 1"),
        ({"outputs": [{"name": "logits", "parameters": {"shared_memory_region": "x"}}]}, "shared_memory_region of an"),
        ({"inputs": [PIXELS | {"parameters": {"shared_memory_region": "x"}}]}, "parameter shared_memory_region of an"),
        ({"parameters": {"priority": 3}}, "parameter priority of a request is not supported"),
        ({"parameters": {"sequence_id": 7}}, "parameter sequence_id"),
        ({"parameters": {"top_k": 5}}, "parameter top_k"),
        ({"parameters": {"a\nb": 5}}, "a parameter of a request"),
    ],
)
def test_a_parameter_that_nothing_does_is_refused_by_its_name(server: Server, sent: dict[str, Any], told: str) -> None:
    body = json.dumps({"inputs": [PIXELS]} | sent).encode()
    status, _, answer = server.ask("POST", "/v2/models/model/infer", body)
    assert status == 400
    assert told in json.loads(answer)["error"]


def test_parameters_that_ask_for_nothing_are_taken_as_nulls_are(server: Server) -> None:
    nothing = {"priority": 0, "sequence_id": 0, "sequence_start": False, "sequence_end": False, "timeout": 0}
    body = json.dumps({"id": None, "inputs": [PIXELS | {"parameters": None}], "outputs": None, "parameters": nothing})
    assert server.ask("POST", "/v2/models/model/infer", body.encode())[0] == 200
    body = json.dumps({"inputs": [PIXELS], "parameters": None})
    assert server.ask("POST", "/v2/models/model/infer", body.encode())[0] == 200


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    "options", [{"priority": 1}, {"sequence_id": 3, "sequence_start": True}, {"parameters": {"mine": "x"}}]
)
def test_clients_are_told_what_is_not_supported(server: Server, client: ModuleType, options: dict[str, Any]) -> None:
    given = pixels_input(client, random_pixels(1, 0))
    with pytest.raises(tritonclient.grpc.InferenceServerException, match=r"parameter \w+ of a request is not supp"):
        connect(client, server).infer("model", [given], **options)


def test_a_shared_output_is_refused_over_grpc_too(server: Server) -> None:
    wanted = tritonclient.grpc.InferRequestedOutput("logits")
    wanted.set_shared_memory("region", 64)
    given = pixels_input(tritonclient.grpc, random_pixels(1, 0))
    with pytest.raises(tritonclient.grpc.InferenceServerException, match="parameter shared_memory"):
        connect(tritonclient.grpc, server).infer("model", [given], outputs=[wanted])


def in_json(client: ModuleType, **more: Any) -> dict[str, Any]:
    return {"as_json": True, **more} if client is tritonclient.grpc else {}


@pytest.mark.parametrize("client", CLIENTS)
def test_the_configuration_is_tritons(server: Server, client: ModuleType) -> None:
    told = connect(client, server).get_model_config("model", **in_json(client))
    told = told.get("config", told)
    assert (told["name"], told["platform"], told["backend"]) == ("model", "onnxruntime_onnx", "onnxruntime")
    assert told["max_batch_size"] == 32
    (given,) = told["input"]
    assert (given["name"], given["data_type"], given["format"]) == ("pixels", "TYPE_UINT8", "FORMAT_NHWC")
    assert [int(size) for size in given["dims"]] == [SIDE, SIDE, 3]
    outputs = {
        each["name"]: (each["data_type"], [int(size) for size in each.get("dims", [])]) for each in told["output"]
    }
    assert outputs["logits"] == ("TYPE_FP32", [4])
    assert outputs["theta"] == ("TYPE_FP32", [2, 3])
    assert outputs["label"] == ("TYPE_STRING", [])


@pytest.mark.parametrize("client", CLIENTS)
def test_the_index_names_every_model_and_its_state(server: Server, client: ModuleType) -> None:
    told = connect(client, server).get_model_repository_index(**in_json(client))
    models = told if isinstance(told, list) else told["models"]
    assert [(each["name"], each["version"], each["state"]) for each in models] == [("model", "1", "READY")]
    assert json.loads(server.ask("POST", "/v2/repository/index", b'{"ready": true}')[2])[0]["name"] == "model"
    assert server.ask("POST", "/v2/repository/index", b'{"ready": 1}')[0] == 400


@pytest.mark.parametrize("client", CLIENTS)
def test_metadata_names_the_inputs_that_tools_must_send(server: Server, client: ModuleType) -> None:
    told = connect(client, server).get_model_metadata("model", **in_json(client))
    assert [each["name"] for each in told["inputs"]] == ["pixels"]
    if client is tritonclient.http:
        assert told["inputs"][0]["parameters"]["alternative"] == {"name": "image", "datatype": "BYTES", "shape": [-1]}
    extensions = connect(client, server).get_server_metadata(**in_json(client))["extensions"]
    assert {"statistics", "model_configuration", "classification"} <= set(extensions)


def statistics(server: Server, client: ModuleType, name: str = "") -> dict[str, Any]:
    told = connect(client, server).get_inference_statistics(name, **in_json(client))
    (of_model,) = told["model_stats"]
    return numbers(of_model)


def numbers(told: Any) -> Any:
    """Over gRPC, whole numbers come as text, and zeros not at all."""
    if isinstance(told, dict):
        return {name: numbers(value) for name, value in told.items()}
    if isinstance(told, list):
        return [numbers(value) for value in told]
    return int(told) if isinstance(told, str) and told.isdigit() else told


@pytest.mark.parametrize("client", CLIENTS)
def test_statistics_count_requests_images_and_batches(model: Tiny, client: ModuleType) -> None:
    with serving("--engine", model.path, "--max-batch", 4, "--max-wait-ms", 0) as running:
        before = json.loads(running.ask("GET", "/v2/models/model/stats")[2])["model_stats"][0]
        assert (before["inference_count"], before["execution_count"], before["last_inference"]) == (0, 0, 0)
        connected = connect(client, running)
        for count in (1, 4, 10):  # the last one is 4 + 4 + 2
            connected.infer("model", [pixels_input(client, random_pixels(count, count))])
        connected.infer("model", [files_input(client, [png(random_pixels(1, 0)[0])])])
        with pytest.raises(tritonclient.grpc.InferenceServerException):
            connected.infer("model", [files_input(client, [b"junk"])])
        for name in ("", "model"):
            told = statistics(running, client, name)
            assert (told["inference_count"], told["execution_count"]) == (16, 6)
            counts = {name: each.get("count", 0) for name, each in told["inference_stats"].items()}
            assert counts.pop("fail") == 1
            assert set(counts.values()) == {4}
            ns = {name: each.get("ns", 0) for name, each in told["inference_stats"].items()}
            parts = ns["queue"] + ns["compute_input"] + ns["compute_infer"] + ns["compute_output"]
            assert 0 < parts <= ns["success"] < 60e9
            sizes = {each["batch_size"]: each["compute_infer"]["count"] for each in told["batch_stats"]}
            assert sizes == {1: 2, 2: 1, 4: 3}


def test_each_phase_is_counted_as_often_as_the_others_at_any_moment(server: Server) -> None:
    """Else perf_analyzer gives up."""
    done = threading.Event()

    def client() -> None:
        connected = connect(tritonclient.grpc, server)
        while not done.is_set():
            connected.infer("model", [pixels_input(tritonclient.grpc, random_pixels(2, 0))])

    threads = [threading.Thread(target=client) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(100):
            told = json.loads(server.ask("GET", "/v2/models/stats")[2])["model_stats"][0]["inference_stats"]
            assert len({each["count"] for name, each in told.items() if name != "fail"}) == 1
    finally:
        done.set()
        for thread in threads:
            thread.join()


def test_a_model_that_is_called_stats_has_its_own_page(model: Tiny) -> None:
    with serving("--engine", model.path, "--name", "stats") as running:
        assert json.loads(running.ask("GET", "/v2/models/stats")[2])["platform"] == "onnxruntime_onnx"
        assert "model_stats" in json.loads(running.ask("GET", "/v2/models/stats/stats")[2])


def test_an_unknown_model_has_no_configuration_and_no_statistics(server: Server) -> None:
    for client in (tritonclient.http, tritonclient.grpc):
        connected = connect(client, server)
        for ask in (connected.get_model_config, connected.get_inference_statistics):
            with pytest.raises(tritonclient.grpc.InferenceServerException, match="no such model"):
                ask("none")


def test_our_messages_are_tritons() -> None:
    """Every field that we describe has there the same number, type and repetition."""
    files = (service_pb2.DESCRIPTOR, model_config_pb2.DESCRIPTOR)
    twins = {name: kind for file in files for name, kind in file.message_types_by_name.items()}
    checked = sum(same_fields(kind.DESCRIPTOR, twins[name]) for name, kind in message_classes().items())
    assert checked > 80


def repeated(field: Any) -> bool:
    """Newer protobufs have no label, older ones no `is_repeated`."""
    return bool(getattr(field, "is_repeated", None) or getattr(field, "label", 0) == field.LABEL_REPEATED)


def same_fields(ours: Any, theirs: Any) -> int:
    for field in ours.fields:
        twin = theirs.fields_by_name[field.name]
        assert (field.number, field.type, repeated(field)) == (twin.number, twin.type, repeated(twin)), field.full_name
        for value in field.enum_type.values if field.enum_type else ():
            assert value.number == twin.enum_type.values_by_name[value.name].number
    nested = sum(same_fields(inner, theirs.nested_types_by_name[inner.name]) for inner in ours.nested_types)
    return len(ours.fields) + nested
