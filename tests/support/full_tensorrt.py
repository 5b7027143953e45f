# ruff: noqa: N802 - the names are NVIDIA's
"""Full TensorRT 10 as far as building goes: TensorRT for RTX, without what only that one has, and with what it lacks.

Networks, parser, profiles and the engine are genuine. Timing cache, hardware and version compatibility and the DLA are
made up, and as strict as NVIDIA documents them: a wrong type, a cache of elsewhere or a name that the real classes
don't have fails the test that asks for it.
"""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import tensorrt_rtx as rtx

VERSION = "10.9.0.34"


class TimingCache:
    """ITimingCache: which version on which GPU timed which layers."""

    def __init__(self, origin: str, layers: set[str]) -> None:
        self.origin, self.layers = origin, layers

    def serialize(self) -> bytes:
        return "\n".join(["timings", self.origin, *sorted(self.layers)]).encode()


class Config:
    """An IBuilderConfig of RTX that builds for one GPU, with the settings that RTX ignores kept in `said`."""

    def __init__(self, real: Any, origin: str) -> None:
        real.num_compute_capabilities = 1
        real.set_compute_capability(rtx.ComputeCapability.SM89, 0)
        self.__dict__.update(real=real, origin=origin, said={}, flags_set=set(), cache=None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def __setattr__(self, name: str, value: Any) -> None:
        kinds = {
            "hardware_compatibility_level": rtx.HardwareCompatibilityLevel,
            "default_device_type": rtx.DeviceType,
            "DLA_core": int,
        }
        assert hasattr(rtx.IBuilderConfig, name), name
        if name in kinds:
            assert isinstance(value, kinds[name]), (name, value)
            self.said[name] = value
        else:
            setattr(self.real, name, value)

    def set_flag(self, flag: Any) -> None:
        assert isinstance(flag, rtx.BuilderFlag)
        self.flags_set.add(flag.name)

    def can_run_on_DLA(self, layer: Any) -> bool:
        assert self.said["default_device_type"] == rtx.DeviceType.DLA
        return layer.type == rtx.LayerType.CONVOLUTION and layer.get_output_type(0) == rtx.DataType.HALF

    def create_timing_cache(self, serialized_timing_cache: bytes) -> TimingCache | None:
        if not serialized_timing_cache:
            return TimingCache(self.origin, set())
        title, *rest = serialized_timing_cache.decode().split("\n")
        return TimingCache(rest[0], set(rest[1:])) if title == "timings" else None

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        assert isinstance(cache, TimingCache)
        assert ignore_mismatch is False  # True would run another GPU's choices
        if cache.origin != self.origin:
            return False
        self.__dict__["cache"] = cache
        return True


class FullTensorrt(ModuleType):
    """The module. `configs` are those of the builds so far; `timed` is how many layers the last one had to time."""

    def __init__(self, *, version: str = VERSION, gpu: str = "NVIDIA H200", dla_cores: int = 0, **changes: Any) -> None:
        super().__init__("tensorrt")
        for name in dir(rtx):
            if not name.startswith("__") and name != "ComputeCapability":
                setattr(self, name, getattr(rtx, name))
        self.__version__ = version
        self.origin, self.dla_cores = f"{version} {gpu}", dla_cores
        self.configs: list[Config] = []
        self.timed = 0
        for name, value in {"Builder": self._builder, **changes}.items():
            setattr(self, name, value)

    def _builder(self, log: Any) -> "Builder":
        return Builder(self, log)


class Builder:
    """An IBuilder of RTX that takes `Config`."""

    def __init__(self, trt: FullTensorrt, log: Any) -> None:
        self.trt = trt
        self.real = rtx.Builder(log)
        self.create_network = self.real.create_network
        self.create_optimization_profile = self.real.create_optimization_profile
        self.num_DLA_cores = trt.dla_cores

    def create_builder_config(self) -> Config:
        self.trt.configs.append(Config(self.real.create_builder_config(), self.trt.origin))
        return self.trt.configs[-1]

    def build_serialized_network(self, network: Any, config: Config) -> Any:
        data = self.real.build_serialized_network(network, config.real)
        layers = {network.get_layer(index).name for index in range(network.num_layers)}
        known = config.cache.layers if config.cache else set()
        self.trt.timed = len(layers - known)
        if config.cache:
            config.cache.layers |= layers
        return data


def made_up() -> Iterator[tuple[type, str]]:
    """Yield (class of RTX, name of a method or property) of all that stands above in place of a genuine one."""
    for fake, real in ((TimingCache, rtx.ITimingCache), (Config, rtx.IBuilderConfig), (Builder, rtx.Builder)):
        yield from ((real, name) for name in vars(fake) if not name.startswith("_"))
    yield from ((rtx.Builder, "num_DLA_cores"), (rtx.IBuilderConfig, "DLA_core"))
