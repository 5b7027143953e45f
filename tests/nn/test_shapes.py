import pytest
import torch

from lstn.nn.backbones import BACKBONES
from lstn.nn.shapes import shapes_only


@pytest.mark.parametrize("name", ["cnn", "effnet-b0", "densenet-121", "googlenet"])
def test_a_network_of_shapes_is_that_of_torchs_meta_device(name: str) -> None:
    with torch.device("meta"):
        wanted = BACKBONES[name].factory(7).state_dict()
    with shapes_only():
        found = BACKBONES[name].factory(7).state_dict()
    assert all(tensor.is_meta for tensor in found.values())
    assert [(key, each.shape, each.dtype) for key, each in found.items()] == [
        (key, each.shape, each.dtype) for key, each in wanted.items()
    ]


def test_afterwards_weights_are_filled_as_before() -> None:
    with shapes_only():
        torch.nn.Linear(3, 3)
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 64)
    assert not layer.weight.is_meta
    assert float(layer.weight.detach().std()) == pytest.approx(1 / 8 / 3**0.5, rel=0.1)  # uniform within 1 / sqrt(64)
