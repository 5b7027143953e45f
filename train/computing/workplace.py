"""The place where a run is computed and kept."""

from dataclasses import dataclass
from pathlib import Path

import torch

from lstn.train.computing.distributed import World


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where a run is computed and kept. workers: processes that decode images; world: the processes that share it."""

    folder: Path
    device: torch.device
    workers: int
    world: World
