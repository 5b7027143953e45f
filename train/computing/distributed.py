"""Several processes, each with a share of every batch: `torchrun --nproc-per-node N -m -- lstn train …`."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Sampler

from lstn.errors import LstnError, TrainingError, UsageError
from lstn.nn.device import choose_device

_FROM_TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_SIZES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where launchers say how many processes they started."""

_CURE = "start with: torchrun --nproc-per-node N -m -- lstn train …"
"""Without the `--`, torchrun takes `--loc` for an abbreviation of its own options."""


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class World:
    """The processes of one run. `rank` 0 writes the files and speaks."""

    rank: int = 0
    size: int = 1

    def sum(self, values: torch.Tensor) -> list[float]:
        """Add `values` (K,) up over all processes, as float64."""
        total = values.detach().double()
        if self.size > 1:
            dist.all_reduce(total)
        return [float(value) for value in total.tolist()]

    @contextmanager
    def together(self) -> Iterator[None]:
        """Run the block in every process, and go on only if it went well in all.

        The first process that failed raises its error; the others end, in silence and with exit code 0, so that
        torchrun doesn't stop the one that speaks.
        """
        failure: LstnError | None = None
        try:
            yield
        except LstnError as error:
            failure = error
        if self.size > 1:
            failed: list[bool] = [False] * self.size
            dist.all_gather_object(failed, failure is not None)
            if any(failed) and failed.index(True) != self.rank:
                raise SystemExit(0)
        if failure is not None:
            raise failure

    def first(self, text: str) -> str:
        """Return what the first process says; a name that the clock goes into differs between processes."""
        said: list[str] = [text]
        if self.size > 1:
            dist.broadcast_object_list(said)
        return said[0]

    def others(self, value: T) -> list[T]:
        """Return what the other processes give here."""
        values: list[T] = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value)
        return [each for rank, each in enumerate(values) if rank != self.rank]

    def told(self, error: LstnError) -> BaseException:
        """Return what to raise for an error that every process has found: the first says it, the others just end."""
        return error if self.rank == 0 else SystemExit(0)

    def same(self, what: str, value: str) -> None:
        """Check that `value` is the same in every process.

        Raises:
            TrainingError: it isn't.
        """
        if self.size == 1:
            return
        values: list[str] = [""] * self.size
        dist.all_gather_object(values, value)
        for rank, other in enumerate(values):
            if other != values[0]:
                raise TrainingError(
                    f"{what} of process {rank} is not that of process 0",
                    hint="every machine needs the same images under the same path, and the same lstn",
                )

    def wrapped(self, network: nn.Module, device: torch.device, *, freezes: bool = False) -> nn.Module:
        """Return `network`, whose gradients are from now on the mean over the processes.

        freezes: some of its weights may have none in some epochs
        """
        if self.size == 1:
            return network
        ids = [device] if device.type == "cuda" else None
        return DistributedDataParallel(network, device_ids=ids, find_unused_parameters=freezes)

    def gradients(self, network: nn.Module, *, complete: bool) -> AbstractContextManager[None]:
        """Return what a batch goes forwards and backwards in.

        complete: the last batch of a step, after which gradients are the mean over the processes
        """
        if complete or not isinstance(network, DistributedDataParallel):
            return nullcontext()
        waiting: AbstractContextManager[None] = network.no_sync()
        return waiting

    def agree(self, model: nn.Module) -> None:
        """Give `model` the first process's buffers: BatchNorm's running statistics, which each process has of its own.

        Weights agree anyway. Only so is what all evaluate together the model that the first one keeps.
        """
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, 0)

    def shared(self, batch: int) -> bool:
        """Return whether a batch is large enough that each process gets at least two of its images.

        A smaller one, the last of an epoch, is computed whole by every process: no image is left out, and BatchNorm
        never sees a single one.
        """
        return batch >= 2 * self.size


ALONE = World()


class Shares(Sampler[list[int]]):
    """The numbers of the images in this process's share of every batch; all shares together are the batches of one.

    shuffled: by this generator, or in order for None. In order, shares differ by at most one image; shuffled, there is
              one for every batch, and a last batch of a single image is left out, to which BatchNorm can't be fitted.
    draw:     draws the shuffled order of `count` images; unless given, each of them comes up once
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        shuffled: torch.Generator | None,
        world: World,
        draw: Callable[[torch.Generator], list[int]] | None = None,
    ) -> None:
        super().__init__()
        self._count, self._batch_size, self._shuffled, self._world = count, batch_size, shuffled, world
        self._draw = draw or (lambda generator: torch.randperm(count, generator=generator).tolist())

    def sizes(self) -> list[int]:
        """Return how many images each batch has over all processes."""
        sizes = [self._batch_size] * (self._count // self._batch_size)
        rest = self._count % self._batch_size
        return sizes + ([rest] if rest > 1 or (rest and (not sizes or self._shuffled is None)) else [])

    def __len__(self) -> int:
        """Return the number of batches."""
        if self._shuffled is None:
            return -(-len(range(self._world.rank, self._count, self._world.size)) // self._batch_size)
        return len(self.sizes())

    def __iter__(self) -> Iterator[list[int]]:
        """Yield a list for every batch."""
        rank, size, step = self._world.rank, self._world.size, self._batch_size
        if self._shuffled is None:
            own = range(rank, self._count, size)
            yield from (list(own[start : start + step]) for start in range(0, len(own), step))
            return
        order = self._draw(self._shuffled)
        for index, total in enumerate(self.sizes()):
            batch = order[index * step : index * step + total]
            yield batch[rank::size] if self._world.shared(total) else batch


@contextmanager
def joined_world(device_name: str, environment: Mapping[str, str] = os.environ) -> Iterator[tuple[World, torch.device]]:
    """Join the processes that torchrun started, if it did, and give back who we are and where to compute.

    Raises:
        UsageError: this process is one of several, but they are not connected; or the device can't be shared.
        DeviceError: a GPU that isn't there.
        TrainingError: fewer processes came than were asked for, or one of them ended.
    """
    asked = max((int(value) for name in _SIZES if (value := environment.get(name, "")).isdecimal()), default=1)
    started = all(name in environment for name in _FROM_TORCHRUN)
    if asked > 1 and not (started and int(environment["WORLD_SIZE"]) == asked):
        raise UsageError(f"{asked} processes were asked for, but this one would train alone", hint=_CURE)
    if asked == 1:
        yield ALONE, choose_device(device_name)
        return
    device = _own_device(device_name, int(environment["LOCAL_RANK"]))
    with _translated():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        world = World(dist.get_rank(), dist.get_world_size())
        (came,) = world.sum(torch.ones(1, device=device))
        if not came == world.size == asked:
            raise TrainingError(f"{asked} processes were asked for, and {came:.0f} came", hint=_CURE)
        yield world, device
        dist.destroy_process_group()  # after an error there is nobody left to take leave of


def _own_device(name: str, local_rank: int) -> torch.device:
    if ":" in name:
        raise UsageError(
            f"--device {name} is one device, and there are several processes",
            hint="--device cuda gives each process a GPU of its own",
        )
    device = choose_device(name)
    if device.type != "cuda":
        return device
    device = choose_device(f"cuda:{local_rank}")
    torch.cuda.set_device(device)
    return device


@contextmanager
def _translated() -> Iterator[None]:
    """Another process's end shows as a broken connection here, in types that differ between backends.

    torchrun then ends this process too, and the processes that load its images may be the first to hear of it.
    """
    try:
        yield
    except RuntimeError as error:
        known = isinstance(error, dist.DistError) or any(word in str(error) for word in ("gloo", "DataLoader worker"))
        if not known:
            raise
        raise TrainingError(
            "another process of this run ended, or can't be reached",
            hint="its own message says why; every finished epoch is kept, go on with --resume",
        ) from error
