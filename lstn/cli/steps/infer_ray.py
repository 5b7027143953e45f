"""`lstn infer --ray`."""

import time

from lstn.cli.parsing.engine_choice import chosen_engine
from lstn.cli.parsing.infer_format import Format
from lstn.cli.parsing.infer_request import InferRequest
from lstn.errors import LstnError, UsageError
from lstn.report.wording import counted
from lstn.terminal import note


def infer_on_ray(address: str, words: list[str], asked: InferRequest) -> None:
    """Answer the images that `words` stand for on a Ray cluster; see `infer` for the options.

    Raises:
        LstnError: an image has no answer, or what `open_parts`, `open_pool` and `Pool.infer` raise.
    """
    from lstn.runtime.engines.opening import open_engine
    from lstn.runtime.inference.predict import batch_size, least_sure
    from lstn.runtime.inference.sources import check_sources
    from lstn.runtime.ray.ray_infer import open_pool
    from lstn.runtime.ray.result_parts import open_parts, run_of

    if asked.warps is not None:
        raise UsageError("--warps: not with --ray", hint="run those images on one machine")
    if asked.every is not None:
        raise UsageError("--every: not with --ray", hint="run a video on one machine")
    out, engine = asked.folder("--ray"), chosen_engine(asked.engine)
    # Parts are lines in either case.
    wanted = Format.JSON if asked.format_ in (None, Format.JSONL) else asked.format_
    if wanted not in (Format.JSON, Format.PARQUET):
        raise UsageError(f"--format {wanted.value}: not with --ray", hint="choose jsonl or parquet")
    if out is None:
        raise UsageError("--ray needs --out", hint="name a folder for the parts of the results")
    open_engine(engine, device=asked.device)  # not entered: only whether there is such a file
    check_sources(words)
    run = run_of(engine, top=asked.top, score=asked.score, reject_below=asked.reject_below, format_=wanted.value)
    with open_parts(out, run) as parts:
        before = len(parts.done)
        note("starting Ray on this machine" if address == "local" else f"joining the cluster at {address}")
        with open_pool(address, engine, device=asked.device, threads=asked.threads) as pool:
            started = time.perf_counter()
            size = batch_size(asked.batch, pool.contract, pool.max_batch, engine)
            pool.infer(
                words,
                parts,
                batch=size,
                top=run.top,
                least=least_sure(pool.contract, asked.score, asked.reject_below),
                workers=asked.workers,
                limits=asked.limits,
            )
        took = time.perf_counter() - started
    count = len(parts.done) - before
    skipped = f", {before} done before" if before else ""
    note(f"{counted(count, 'image')} in {took:.1f} s, {count / took:.0f} images/s{skipped} -> {out}")
    if parts.failed:
        hint = "the error in their rows says why"
        raise LstnError(f"no answer for {parts.failed} of {counted(len(parts.done), 'image')}", hint=hint)
