"""`lstn serve`."""

import re
from pathlib import Path
from typing import Annotated

import typer

from lstn.cli.parsing.engine_choice import chosen_engine, from_zoo
from lstn.errors import UsageError
from lstn.health.run_files import run_folder

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def serve(
    engine: Annotated[
        list[Path] | None,
        typer.Option(
            callback=from_zoo,
            metavar="FILE|KIND|RUN",
            help="model.onnx, model.plan or model.xml; onnx, openvino, trt or trt-rtx for the one of that kind here; "
            "a run, which is exported first; or a model that comes with lstn, such as zoo:digits. May be repeated.",
            show_default="the one engine here, else the newest run",
        ),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="N",
            help="What clients call it; once for each --engine.",
            show_default="its file's or run's",
        ),
    ] = None,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    http_port: Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="For HTTP; 0 for any.")] = 8080,
    grpc_port: Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="For gRPC; 0 for any.")] = 8081,
    max_batch: Annotated[
        int | None,
        typer.Option(metavar="B", min=1, help="Images a call of the engine.", show_default="32, or what it takes"),
    ] = None,
    max_wait_ms: Annotated[
        float, typer.Option(metavar="W", min=0, max=60_000, help="How long a request waits for others to batch with.")
    ] = 5.0,
    max_queue: Annotated[
        int, typer.Option(metavar="Q", min=1, max=100_000, help="Images that wait; when as many do, more are refused.")
    ] = 256,
    drain_s: Annotated[
        float, typer.Option(metavar="S", min=0, max=86_400, help="How long stopping may take, to answer what waits.")
    ] = 30.0,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Answer only those who send the token in this file.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Let other machines in without a token, with --host 0.0.0.0.")
    ] = False,
    tls_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Certificate chain, PEM, for HTTPS and gRPC over TLS.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its private key, PEM, unencrypted.")] = None,
) -> None:
    """Answer requests over HTTP and gRPC.

    It answers in batches, by the Open Inference Protocol v2 (Triton, KServe and their clients). SIGTERM stops
    the server when everything accepted is answered. SIGHUP opens the models again whose files have changed.
    """
    from lstn.runtime.serving.models.generation import Batching
    from lstn.runtime.serving.requests.access import check_host, read_certificate, read_guard
    from lstn.runtime.serving.server import ServerSettings
    from lstn.runtime.serving.server import serve as run

    guard = read_guard(token_file)
    check_host(host, guarded=token_file is not None, insecure=insecure)
    settings = ServerSettings(
        host="127.0.0.1" if host == "localhost" else host,
        http_port=http_port,
        grpc_port=grpc_port,
        batching=Batching(max_batch, max_wait_ms / 1000, max_queue),
        guard=guard,
        certificate=read_certificate(tls_cert, tls_key),
        drain_s=drain_s,
    )
    run(_named(engine, name or []), settings)


def _named(given: list[Path] | None, names: list[str]) -> dict[str, Path]:
    engines = given or [chosen_engine(None)]
    if names and len(names) != len(engines):
        raise UsageError(f"{len(names)} --name for {len(engines)} --engine", hint="give one for each, or none")
    named: dict[str, Path] = {}
    for path, name in zip(engines, names or [_own_name(path) for path in engines], strict=True):
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} can't name a model; expected up to 64 letters, digits, '.', '_' and '-'",
                hint="give another with --name",
            )
        if name in named:
            raise UsageError(
                f"two models are called {name}", hint="distinguish them with --name, once for each --engine"
            )
        named[name] = path
    return {name: chosen_engine(path) for name, path in named.items()}


def _own_name(engine: Path) -> str:
    """Return a file's name without its suffix; of a run, the folder's."""
    run = run_folder(engine)
    return run.resolve().name if run.is_dir() else run.stem
