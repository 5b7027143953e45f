"""The manifests in deploy/: KServe takes them as they are, and they start the server as its own command line has it."""

import copy
import http.client
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer.main
import yaml
from tiny import proto_of
from tiny_fixtures import LABELS, tiny_at

from lstn.cli.app import app
from lstn.contract import Loc

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
SCHEMA = json.loads((DEPLOY / "inferenceservice.schema.json").read_text())
MANIFESTS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(DEPLOY.glob("*.yaml"))}
FREE = {"annotations", "limits", "requests"}
"""Maps whose keys are anyone's."""

TOKEN = "correct-horse-battery"


@pytest.fixture(params=MANIFESTS)
def service(request: pytest.FixtureRequest) -> Any:
    return copy.deepcopy(MANIFESTS[request.param])


def is_taken(service: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(SCHEMA).is_valid(service))


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every field and every element."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        yield (*path, key)
        yield from places(inner, (*path, key))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def container_of(service: Any) -> Any:
    [container] = service["spec"]["predictor"]["containers"]
    return container


def options_of(service: Any) -> dict[str, Any]:
    """The arguments as `lstn serve` reads them; those it wouldn't take are an error."""
    name, *arguments = container_of(service)["args"]
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    assert name == "serve"
    return dict(command.make_context(name, arguments).params)


def test_there_is_one_for_each_kind() -> None:
    modes = {
        name: service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"]
        for name, service in MANIFESTS.items()
    }
    assert modes == {"kserve": "Knative", "kserve-gpu": "Standard"}


def test_kserve_takes_it(service: Any) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(service)
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    assert container_of(service)["name"] == "kserve-container"  # by this name KServe finds what gets the model


def test_no_field_may_be_misspelt(service: Any) -> None:
    fields = [path for path in places(service) if isinstance(path[-1], str) and path[-2:-1] not in [(x,) for x in FREE]]
    assert len(fields) > 50
    for path in fields:
        changed = copy.deepcopy(service)
        inside = at(changed, path[:-1])
        inside[f"{path[-1]}x"] = inside.pop(path[-1])
        assert not is_taken(changed), path


def test_no_value_may_be_of_another_type(service: Any) -> None:
    for path in places(service):
        changed = copy.deepcopy(service)
        at(changed, path[:-1])[path[-1]] = [[]]
        assert not is_taken(changed), path


def test_the_ports_are_those_that_the_server_listens_on(service: Any) -> None:
    options, container = options_of(service), container_of(service)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports.pop("http1") == options["http_port"]
    assert container["ports"][0]["name"] == "http1"  # the first is what KServe sends HTTP to
    if service["metadata"]["name"] == "lstn-gpu":
        assert ports.pop("grpc") == options["grpc_port"]
    assert ports == {}  # Knative takes no second one
    probes = [container[name] for name in container if name.endswith("Probe")]
    assert {probe["httpGet"]["port"] for probe in probes} == {options["http_port"]}


def test_the_token_is_the_secrets_file(service: Any) -> None:
    container, token = container_of(service), options_of(service)["token_file"]
    [mount] = container["volumeMounts"]
    [volume] = service["spec"]["predictor"]["volumes"]
    assert (mount["name"], mount["mountPath"]) == (volume["name"], str(token.parent))
    named = re.findall(r"kubectl create secret generic (\S+) --from-file=(\S+)", (DEPLOY / "kserve.yaml").read_text())
    assert named == [(volume["secret"]["secretName"], token.name)]
    assert container["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["runAsUser"] == 1000  # the image's user has a name, which says nothing here


def test_there_is_time_to_answer_what_was_accepted(service: Any) -> None:
    predictor, drain_s = service["spec"]["predictor"], options_of(service)["drain_s"]
    if service["metadata"]["name"] == "lstn":
        assert "terminationGracePeriodSeconds" not in predictor  # Knative refuses it, and takes `timeout`
        assert predictor["timeout"] >= drain_s + 10
    else:
        paused_s = int(container_of(service)["lifecycle"]["preStop"]["exec"]["command"][1])
        assert predictor["terminationGracePeriodSeconds"] >= paused_s + drain_s + 5


def test_the_image_is_one_of_ours_and_can_serve(service: Any) -> None:
    image, _, tag = container_of(service)["image"].partition(":")
    assert image == "REGISTRY/lstn"
    stage = (ROOT / "Dockerfile").read_text().partition(f" AS {tag or 'cpu'}\n")[2].partition("\nFROM")[0]
    [extras] = re.findall(r"\*\.whl\)\[([^\]]+)\]", stage)
    assert {"serve", "gpu" if tag else "runtime"} <= set(extras.split(","))
    assert ("nvidia.com/gpu" in container_of(service)["resources"]["limits"]) == bool(tag)


def test_the_model_comes_from_where_kserve_looks(service: Any) -> None:
    environment = {variable["name"]: variable["value"] for variable in container_of(service)["env"]}
    assert environment["STORAGE_URI"].startswith(("s3://", "pvc://"))
    assert [path.parent for path in options_of(service)["engine"]] == [Path("/mnt/models")]


def test_the_server_starts_so_and_its_probes_need_no_token(service: Any, tmp_path: Path) -> None:
    """With its own arguments but for where files are, and for ports that may be taken here."""
    (tmp_path / "token").write_text(TOKEN)
    model = tiny_at(tmp_path / "tiny.onnx", loc=Loc.LSTN, labels=LABELS, seed=0)
    model.path.write_bytes(proto_of(model).SerializeToString())
    container = container_of(service)
    arguments = [
        re.sub(r"-port=\d+", "-port=0", argument)
        .replace("/etc/lstn", str(tmp_path))
        .replace("/mnt/models/model.onnx", str(model.path))
        .replace("/mnt/models/model.plan", str(model.path))
        for argument in container["args"]
    ]
    with subprocess.Popen([sys.executable, "-m", "lstn", *arguments], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            ready = re.search(r"ready: lstn at http://0\.0\.0\.0:(\d+)", line)
            assert ready, line
            for name in (name for name in container if name.endswith("Probe")):
                assert status_of(int(ready[1]), container[name]["httpGet"]["path"]) == 200
            assert status_of(int(ready[1]), "/v2/models/lstn") == 401
            assert status_of(int(ready[1]), "/v2/models/lstn", Authorization=f"Bearer {TOKEN}") == 200
            process.terminate()
            assert process.wait(30) == 0
        finally:
            process.kill()


def status_of(port: int, path: str, **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


SHOWN = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/how-to/serving.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("part", [yaml.safe_load(text) for text in SHOWN])
def test_what_is_shown_in_the_docs_fits_in(part: Any) -> None:
    service = copy.deepcopy(MANIFESTS["kserve-gpu"])
    for section, fields in part.items():
        at(service, ("metadata", "annotations") if section == "annotations" else ("spec", section)).update(fields)
    assert is_taken(service)
    assert service != MANIFESTS["kserve-gpu"]
    assert set(re.findall(r"lstn_\w+", json.dumps(part))) <= {"lstn_waiting_images"}
