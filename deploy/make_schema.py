"""Write inferenceservice.schema.json, what KServe takes for an InferenceService, from its own Python package.

    pip download --no-deps kserve==0.21.0 kubernetes==36.0.3
    python deploy/make_schema.py kserve-*.whl kubernetes-*.whl

The models in both packages are generated from the Go types that the cluster checks with; they are read here, not run.
Fields stand as JSON Schema, and nothing but them is allowed. Left out are the predictors of other servers and what the
cluster writes itself.
"""

import ast
import json
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

ROOT = "V1beta1InferenceService"
OUT = Path(__file__).with_name("inferenceservice.schema.json")
LEFT_OUT = {
    "V1beta1InferenceService": {"status"},
    "V1beta1InferenceServiceSpec": {"explainer", "transformer"},
    "V1beta1PredictorSpec": {
        *("huggingface", "lightgbm", "model", "onnx", "paddle", "pmml", "pytorch", "sklearn", "tensorflow", "triton"),
        *("xgboost", "workerSpec"),
    },
}
SIMPLE: dict[str, dict[str, Any]] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "bool": {"type": "boolean"},
    "float": {"type": "number"},
    "datetime": {"type": "string"},
    "object": {"type": ["string", "integer", "object"]},  # a port by name or number, and free-form parts
    "ResourceQuantity": {"type": ["string", "number"]},
    "V1beta1MetricQuantity": {"type": ["string", "number"]},
}

Field = tuple[str, str, bool]
"""Name, type, and whether it must be there."""


def main() -> None:
    """Read the packages, follow the types from the root, and write the schema."""
    models: dict[str, list[Field]] = {}
    for wheel in map(Path, sys.argv[1:]):
        with zipfile.ZipFile(wheel) as packed:
            for name in packed.namelist():
                if re.fullmatch(r"(kserve|kubernetes/client)/models/\w+\.py", name):
                    models |= model_of(packed.read(name).decode())
    definitions: dict[str, Any] = {}
    left = [ROOT]
    while left:
        name = left.pop()
        if name not in definitions:
            definitions[name] = definition_of(name, models[name])
            left += re.findall(r'"#/\$defs/(.*?)"', json.dumps(definitions[name]))
    made_from = " and ".join(re.sub(r"-py.*", "", Path(wheel).name) for wheel in sys.argv[1:])
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": f"From the Python packages {made_from} (Apache-2.0), by make_schema.py.",
        "$ref": f"#/$defs/{ROOT}",
        "$defs": dict(sorted(definitions.items())),
    }
    OUT.write_text(json.dumps(schema, indent=1) + "\n")


def model_of(source: str) -> dict[str, list[Field]]:
    """Return the class of a module and its fields, if it is a model."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            found = {
                statement.targets[0].id: ast.literal_eval(statement.value)
                for statement in node.body
                if isinstance(statement, ast.Assign)
                and isinstance(statement.targets[0], ast.Name)
                and statement.targets[0].id in ("openapi_types", "attribute_map")
            }
            if found:
                wanted = set(re.findall(r"Invalid value for `(\w+)`, must not be `None`", source))
                types, names = found["openapi_types"], found["attribute_map"]
                return {node.name: [(names[key], types[key], key in wanted) for key in types]}
    return {}


def definition_of(name: str, fields: list[Field]) -> dict[str, Any]:
    """Return a type as JSON Schema."""
    kept = [field for field in fields if field[0] not in LEFT_OUT.get(name, ())]
    definition: dict[str, Any] = {"type": "object", "additionalProperties": False}
    definition["properties"] = {field: schema_of(kind) for field, kind, _ in sorted(kept)}
    if required := sorted(field for field, _, must in kept if must):
        definition["required"] = required
    return definition


def schema_of(kind: str) -> dict[str, Any]:
    """`list[V1Container]`, `dict(str, str)` or `V1Probe` -> its schema."""
    if match := re.fullmatch(r"list\[(.*)\]", kind):
        return {"type": "array", "items": schema_of(match[1])}
    if match := re.fullmatch(r"dict[(\[]str, (.*)[)\]]", kind):
        return {"type": "object", "additionalProperties": schema_of(match[1])}
    # What one package calls K8sIoApiAppsV1DeploymentStrategy is the other's V1DeploymentStrategy.
    return SIMPLE.get(kind) or {"$ref": "#/$defs/" + re.sub(r"^K8sIoApi[A-Z][a-z]+(?=V\d)", "", kind)}


if __name__ == "__main__":
    main()
