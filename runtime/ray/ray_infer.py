"""Batch inference on a Ray cluster: names listed lazily on the driver's node, and a pool of engines that read, decode
and answer them piece by piece, each with the `predict` of a run on one machine.

Whoever starts it writes the rows. Ray may answer a piece twice or lose it with a node: rows are told apart by name, and
what is missing at the end of a pass goes into the next one, so that every image has one row.
"""

import json
import logging
import os
import socket
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from lstn.contract import Contract
from lstn.errors import DeviceError, LstnError, UsageError
from lstn.formats.openvino_file import bin_path
from lstn.formats.plan_file import sidecar_path
from lstn.images import DecodeLimits
from lstn.imports import require
from lstn.machine.cores import usable_cores
from lstn.machine.gpu import Device
from lstn.report.wording import counted
from lstn.runtime.inference.sources import absolute
from lstn.runtime.ray.cluster_watch import ClusterWatch, while_there
from lstn.runtime.ray.last_words import last_words
from lstn.runtime.ray.ray_worker import EngineActor, Opened, RayModel, list_pieces, try_engine
from lstn.runtime.ray.result_parts import Parts
from lstn.terminal import note_once, warn

LOCAL = "local"
"""The address that starts a cluster of one node, this machine, for one run."""

_STORE_BYTES = 200 << 20
"""Of the local cluster's object store: through it go names, rows and the model, and no pixels."""

_BATCHES = 8
"""Batches of a piece: small enough to lose, large enough that Ray's few milliseconds for each don't count."""

_PASSES = 3
"""How many passes in a row may bring nothing new."""

_ENDED = "error: the run was ended from outside, by Ray if its cluster has gone\n  run it again to go on from here"
"""What is said when Ray ends this process, as it does when the node of the driver dies."""

_MAX_DECODERS = 8
_KNOCK_S = 10.0


@dataclass(frozen=True, slots=True)
class _Share:
    """What one engine of the pool has of its node."""

    cpus: int
    gpus: int

    def options(self) -> dict[str, int]:
        return {"num_cpus": self.cpus, "num_gpus": self.gpus}


class Pool:
    """The engines of a cluster.

    max_batch: images that each computes at once
    """

    def __init__(self, ray: ModuleType, watch: ClusterWatch, model: RayModel, share: _Share, opened: Opened) -> None:
        self.contract: Contract = opened.contract
        self.max_batch: int = opened.max_batch
        self._ray = ray
        self._watch = watch
        self._model = model
        self._share = share

    def infer(
        self,
        sources: Sequence[str],
        parts: Parts,
        *,
        batch: int,
        top: int,
        least: float | None,
        workers: int | None,
        limits: DecodeLimits,
    ) -> None:
        """Answer every image of `sources` that has no row in `parts`, and add its row there; in no order.

        batch:   images a call of an engine, at most `max_batch`
        top:     guesses a row; of a detector, objects
        least:   how sure an answer has to be, as `lstn.runtime.inference.predict.least_sure` says it
        workers: threads that decode for one engine; None for as many as it has cores
        limits:  which images are read that are refused otherwise

        Raises:
            UsageError, DataError: `sources` can't be listed.
            LstnError: an engine failed, or the cluster did, again and again.
        """
        actor = {"model": self._model, "batch": batch, "top": top, "least": least, "limits": limits}
        actor["workers"] = workers or min(_MAX_DECODERS, self._share.cpus)
        idle, reason = 0, "the rows didn't come"
        while idle < _PASSES:
            before = len(parts.done)
            try:
                if self._pass(sources, parts, actor, size=_BATCHES * batch):
                    return
            except self._ray.exceptions.RayError as error:
                reason = _first_line(error)
                warn(f"part of the cluster failed, continuing with the rest: {reason}")
            idle = 0 if len(parts.done) > before else idle + 1
        raise LstnError(f"the cluster failed {idle} times in a row: {reason}", hint="run it again to go on from here")

    def _pass(self, sources: Sequence[str], parts: Parts, actor: dict[str, Any], *, size: int) -> bool:
        """Send what has no row through the pipeline; return whether every row came."""
        listed, added = -1, 0
        for text in self._answers(sources, parts, actor, size):
            answer = json.loads(text)
            if "failure" in answer:
                kind = UsageError if answer["usage"] else LstnError
                raise kind(answer["failure"], hint=answer["hint"])
            listed = answer.get("listed", listed)
            if left_out := answer.get("skipped"):
                note_once(left_out)
            added += parts.add(answer.get("rows", []))
        return listed == added

    def _answers(self, sources: Sequence[str], parts: Parts, actor: dict[str, Any], size: int) -> Iterator[str]:
        return while_there(self._watch, lambda: self._computed(sources, parts, actor, size))

    def _computed(self, sources: Sequence[str], parts: Parts, actor: dict[str, Any], size: int) -> Iterator[str]:
        ray = self._ray
        data = require("ray.data", extra="ray")
        here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
        names = {"sources": [absolute(word) for word in sources], "done": ray.put(b"".join(parts.done)), "size": size}
        # A piece is one cell, and with this a block of its own, which goes on while the listing does.
        data.DataContext.get_current().target_max_block_size = 1
        listed = data.from_items([{"piece": ""}], override_num_blocks=1).map_batches(
            list_pieces, fn_kwargs=names, batch_size=None, num_cpus=0, label_selector=here
        )
        with warnings.catch_warnings():  # Ray 2.60 tells that 2.64 will have another way, and has none yet
            warnings.simplefilter("ignore")
            answers = listed.map_batches(
                EngineActor,
                fn_constructor_kwargs=actor,
                batch_size=None,
                compute=data.ActorPoolStrategy(size=_count(ray, self._share), max_tasks_in_flight_per_actor=2),
                # Else Ray, to send a dead engine's task again, would wait for a node like the dead one.
                ray_remote_args_fn=lambda: {"max_task_retries": 0},
                **self._share.options(),
            )
        for batch in answers.iter_batches(batch_size=None, batch_format="numpy"):
            yield from batch["answer"]


@contextmanager
def open_pool(address: str, engine: Path, *, device: Device, threads: int | None) -> Iterator[Pool]:
    """Join the cluster at `address`, or start one here for "local", and try the engine on one of its nodes.

    The engine's file goes to the nodes by itself; lstn and what the engine needs must be installed there.

    threads: of each engine on a CPU, and so its share of a node's cores; None for 1

    Raises:
        MissingExtra: no Ray.
        UsageError: no cluster at `address`, or none of its nodes has `threads` cores.
        ArtifactError, DeviceError, LstnError: the nodes can't open the engine.
    """
    ray = require("ray", extra="ray")
    require("ray.data", extra="ray")
    files = {path.name: path.read_bytes() for path in _files(engine)}
    with last_words(_ENDED), _joined(ray, address), closing(ClusterWatch(ray)) as watch:
        share = _share_of(ray, engine, device, threads)
        model = RayModel(engine.name, ray.put(files), device, None if share.gpus else share.cpus)
        (opened,) = while_there(watch, lambda: iter([_tried(ray, model, share)]))
        yield Pool(ray, watch, model, share, opened)


def _files(engine: Path) -> Iterator[Path]:
    yield engine
    yield from (path for path in (sidecar_path(engine), bin_path(engine)) if path != engine and path.is_file())


@contextmanager
def _joined(ray: ModuleType, address: str) -> Iterator[None]:
    if "://" in address:
        hint = "run this on a node of the cluster, with --ray HOST:PORT or --ray auto"
        raise UsageError(f"--ray {address}: Ray Data doesn't run through a client", hint=hint)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a run tells nobody that it ran
    options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": "critical"}
    if address == LOCAL:
        options |= {"num_cpus": usable_cores(), "include_dashboard": False, "object_store_memory": _STORE_BYTES}
    with _quiet():
        try:
            _knock(address)
            ray.init(**options)
        except Exception as error:  # Ray's own is a plain Exception where a node doesn't start in time
            if address == LOCAL:
                hint = "free some memory or cores, and run it again; or leave out --ray"
                raise LstnError(f"--ray {address}: Ray doesn't start here: {_first_line(error)}", hint=hint) from error
            hint = "start one with: ray start --head; or use --ray local"
            raise UsageError(f"--ray {address}: no cluster to join: {_first_line(error)}", hint=hint) from error
        try:
            yield
        finally:
            ray.shutdown()


def _knock(address: str) -> None:
    """Ray itself tries for two minutes, and logs each time.

    Raises:
        OSError: nothing listens at HOST:PORT.
    """
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_S).close()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep from the screen what Ray says besides its exceptions; its log files keep it.

    Its core writes to descriptor 2, and its Python to standard output, pages of it when a node dies. Python's standard
    error moves aside for that time.
    """
    context = require("ray.data", extra="ray").DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    kept, python = os.dup(2), sys.stderr
    silence = os.open(os.devnull, os.O_WRONLY)
    try:
        with os.fdopen(os.dup(kept), "w", buffering=1) as aside, Path(os.devnull).open("w") as nowhere:
            if python is sys.__stderr__:
                sys.stderr = aside
            os.dup2(silence, 2)
            with redirect_stdout(nowhere):
                yield
    finally:
        sys.stderr = python
        os.dup2(kept, 2)
        os.close(kept)
        os.close(silence)


def _share_of(ray: ModuleType, engine: Path, device: Device, threads: int | None) -> _Share:
    """One GPU and its part of the node's cores for each engine that uses one; else as many cores as it has threads."""
    nodes = _nodes(ray)
    with_gpu = [node for node in nodes if node.get("GPU", 0) >= 1]
    wanted = engine.suffix.lower() == ".plan" or device is Device.CUDA
    if wanted and not with_gpu:
        raise DeviceError(f"{engine}: no node of the cluster has a GPU", hint="on the CPU: --device cpu and an .onnx")
    if with_gpu and (wanted or (device is Device.AUTO and engine.suffix.lower() == ".onnx")):
        return _Share(max(1, int(min(node.get("CPU", 0) // node["GPU"] for node in with_gpu))), 1)
    share = _Share(threads or 1, 0)
    if not _count(ray, share):
        most = max((int(node.get("CPU", 0)) for node in nodes), default=0)
        raise UsageError(f"--threads {share.cpus}: the cluster's nodes have {counted(most, 'core')} at most")
    return share


def _nodes(ray: ModuleType) -> list[dict[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _count(ray: ModuleType, share: _Share) -> int:
    """Return how many engines the cluster has room for."""
    if share.gpus:
        return sum(int(node.get("GPU", 0)) for node in _nodes(ray)) or 1
    return sum(int(node.get("CPU", 0)) // share.cpus for node in _nodes(ray))


def _tried(ray: ModuleType, model: RayModel, share: _Share) -> Opened:
    task = ray.remote(try_engine).options(max_retries=1, **share.options())
    try:
        opened = ray.get(task.remote(model))
    except ray.exceptions.RayError as error:
        hint = "install this version of lstn, with the same extras, on every node"
        raise LstnError(f"the cluster's nodes can't run lstn: {_first_line(error, last=True)}", hint=hint) from error
    if isinstance(opened, LstnError):
        raise opened
    assert isinstance(opened, Opened)
    return opened


def _first_line(error: BaseException, *, last: bool = False) -> str:
    """Ray's messages are pages; a remote traceback says at its end what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1 if last else 0][:300]
