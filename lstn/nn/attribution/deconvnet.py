"""Deconvnet: what in a picture excites one place of a feature map (Zeiler and Fergus 2013, section 2.1).

The map's value goes back down through the network: through the transposed filters of each convolution; through each
max-pooling to the place where its maximum was (the switches); and rectified at each ReLU, whatever that let through on
the way up. The first two are what gradients do. Only the third isn't, so this is the gradient with another ReLU, in its
place wherever the network calls one: as a module or as a function, of its own or shared, in place or not.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lstn.errors import UsageError

_RELU = (F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_)
_MAX_POOL = (F.max_pool2d, torch.max_pool2d)

_OTHERS: Mapping[Callable[..., Any], str] = {
    F.silu: "SiLU",
    F.gelu: "GELU",
    F.mish: "Mish",
    F.hardswish: "Hardswish",
    F.hardsigmoid: "Hardsigmoid",
    **dict.fromkeys((F.relu6, F.hardtanh, F.hardtanh_), "ReLU6"),
    **dict.fromkeys((F.leaky_relu, F.leaky_relu_), "LeakyReLU"),
    **dict.fromkeys((F.prelu, torch.prelu), "PReLU"),
    **dict.fromkeys((F.elu, F.elu_, F.celu, F.selu, torch.celu, torch.selu), "ELU"),
    **dict.fromkeys((F.softplus, F.softsign), "Softplus"),
    **dict.fromkeys((torch.sigmoid, F.sigmoid, Tensor.sigmoid, torch.sigmoid_, Tensor.sigmoid_), "Sigmoid"),
    **dict.fromkeys((torch.tanh, F.tanh, Tensor.tanh, torch.tanh_, Tensor.tanh_), "Tanh"),
    **dict.fromkeys((F.softmax, torch.softmax, Tensor.softmax), "Softmax"),
}
"""Activations that a deconvnet has no rule for, by the functions that compute them."""


class _Rectified(torch.autograd.Function):
    """ReLU, and on the way back ReLU of what comes, instead of what passed on the way up."""

    @staticmethod
    def forward(_: Any, maps: Tensor) -> Tensor:
        return maps.clamp(min=0)

    @staticmethod
    def backward(_: Any, *signals: Tensor) -> Tensor:
        return signals[0].clamp(min=0)


class _Deconvnet(TorchFunctionMode):
    """Within it every ReLU is `_Rectified`, and an activation without a rule is refused."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if function in _RELU:
            return _Rectified.apply(args[0])
        if function in _OTHERS:
            raise _NoRule(_OTHERS[function])
        return function(*args, **(kwargs or {}))


class _Linear(TorchFunctionMode):
    """Within it nothing is cut off or chosen, so that a gradient reaches all that a place depends on."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        given = dict(kwargs or {})
        if function in _RELU:
            return args[0].clone()
        if function in _MAX_POOL:
            return F.avg_pool2d(args[0], *args[1:4], **{k: v for k, v in given.items() if k in _SHARED})
        return function(*args, **given)


_SHARED = ("kernel_size", "stride", "padding", "ceil_mode")
"""What max-pooling and mean pooling are both told."""


class _NoRule(Exception):  # noqa: N818 - a layer's activation, on its way to an error of lstn's
    pass


class _Reached(Exception):  # noqa: N818 - not an error: the layer has answered, and the rest needn't be computed
    def __init__(self, maps: Tensor) -> None:
        super().__init__()
        self.maps = maps


def maps_of(net: Callable[[Tensor], Tensor], layer: nn.Module, crops: Tensor) -> Tensor:
    """Return a layer's feature maps of crops: (N, C, H, W) float32 -> (N, D, h, w) float32; what follows isn't run."""

    def stop(_layer: nn.Module, _given: object, made: Tensor) -> None:
        raise _Reached(made)

    hook = layer.register_forward_hook(stop)
    try:
        net(crops)
    except _Reached as reached:
        return reached.maps
    finally:
        hook.remove()
    raise AssertionError("the layer isn't part of the network")


def reconstruct(
    net: Callable[[Tensor], Tensor], layer: nn.Module, crops: Tensor, places: Sequence[tuple[int, int, int]], name: str
) -> Tensor:
    """Return what in each crop excites one place of one of a layer's maps: (N, C, H, W) float32 -> the same.

    net:    what the layer is part of, such as a backbone
    places: of each crop: the map, and the row and column in it
    name:   of the network, for errors

    Raises:
        UsageError: between the crop and the layer is an activation that is not ReLU.
    """
    crops = crops.detach().requires_grad_()
    try:
        with torch.enable_grad(), _Deconvnet():
            maps = maps_of(net, layer, crops)
    except _NoRule as other:
        raise UsageError(
            f"--features: {name} computes {other}, and a deconvnet is defined for ReLU alone",
            hint="leave --features out: occlusion, grad-cam and gradients work with every backbone",
        ) from None
    start = torch.zeros_like(maps)
    for number, (channel, row, column) in enumerate(places):
        start[number, channel, row, column] = maps.detach()[number, channel, row, column]
    (found,) = torch.autograd.grad(maps, crops, start)
    return found


def receptive_field(
    net: Callable[[Tensor], Tensor], layer: nn.Module, crop: Tensor, place: tuple[int, int]
) -> tuple[slice, slice]:
    """Return the rows and the columns of a crop (1, C, H, W) that one place of a layer's maps can depend on."""
    crop = torch.rand_like(crop).requires_grad_()
    with torch.enable_grad(), _Linear():
        maps = maps_of(net, layer, crop)
        (found,) = torch.autograd.grad(maps[0, :, place[0], place[1]].sum(), crop)
    touched = found[0].abs().sum(0)
    return _extent(touched.sum(1)), _extent(touched.sum(0))


def _extent(line: Tensor) -> slice:
    where = line.nonzero().ravel().tolist()
    return slice(where[0], where[-1] + 1) if where else slice(0, len(line))
