"""Backbones by torchvision's names, by timm's, and of the user's own: against the two libraries themselves."""

import builtins
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from command import RunLstn
from own_network import SmallNetwork
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from lstn.contract import IMAGENET_MEAN, IMAGENET_STD, Contract, Loc, Task, ThetaForm
from lstn.errors import ArtifactError, LstnError, MissingExtra, UsageError
from lstn.nn.backbones import BACKBONES, backbone_named
from lstn.nn.checkpoint import load_checkpoint, save_checkpoint
from lstn.nn.classifier import Classifier, check_size
from lstn.nn.models import build_around, build_model
from lstn.nn.pretrained import load_backbone_weights
from lstn.nn.shapes import shapes_only
from lstn.nn.sources.own_models import is_own, own_factory
from lstn.nn.sources.starts import classifiers_of, last_layer, scale_dropout, start_weights
from lstn.nn.sources.timm_models import reparametrized, timm_names
from lstn.nn.sources.torchvision_models import torchvision_names

EDGE = (
    "timm:mobilenetv4_conv_small", "timm:repvgg_a0", "timm:fastvit_t8", "timm:tf_efficientnet_lite0",
    "timm:convnext_atto", "timm:levit_128s", "timm:vit_tiny_patch16_224",
)  # fmt: skip
LABELS = ("a", "b", "c")


def made(name: str, side: int = 64, classes: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return backbone_named(name).make(classes, (side, side))


def shapes(name: str, classes: int = 3) -> dict[str, torch.Size]:
    backbone = backbone_named(name)
    with shapes_only():
        net = backbone.make(classes, (backbone.image_size, backbone.image_size))
    return {key: tensor.shape for key, tensor in net.state_dict().items()}


def parameters(net: nn.Module) -> int:
    return sum(weight.numel() for weight in net.parameters())


@pytest.mark.parametrize("name", torchvision_names())
def test_every_classifier_of_torchvisions_is_what_torchvision_publishes(name: str) -> None:
    """At 1000 classes its weights' own count, without the auxiliary classifiers that nothing trains."""
    weights = models.get_model_weights(name).DEFAULT
    backbone = backbone_named(name)
    with shapes_only():
        net = backbone.make(1000, (backbone.image_size, backbone.image_size))
        aux = {"googlenet": 0, "inception_v3": 3_326_696}.get(name, 0)
    assert parameters(net) + aux == weights.meta["num_params"]
    transforms = weights.transforms()
    assert [backbone.image_size] == transforms.crop_size
    assert (list(backbone.mean), list(backbone.std)) == (transforms.mean, transforms.std)


@pytest.mark.parametrize("name", torchvision_names())
def test_the_layers_that_answer_are_those_with_as_many_outputs_as_classes(name: str) -> None:
    backbone = backbone_named(name)
    with shapes_only():
        net = backbone.make(7, (backbone.image_size, backbone.image_size))
    found = [key for key, each in net.named_modules() if isinstance(each, nn.Linear) and each.out_features == 7]
    assert found == list(classifiers_of(net))
    assert len(found) == (0 if name.startswith("squeezenet") else 1)


def test_short_names_are_what_they_were() -> None:
    """And not torchvision's networks of these names: GoogLeNet and AlexNet are in both lists."""
    for name in ("googlenet", "alexnet"):
        assert backbone_named(name) is BACKBONES[name]
    assert set(BACKBONES) & set(torchvision_names()) == {"googlenet", "alexnet"}


@pytest.mark.parametrize("name", EDGE)
def test_one_of_timms_is_what_timm_makes(name: str) -> None:
    plain, backbone = name.removeprefix("timm:"), backbone_named(name)
    theirs = timm.create_model(plain, num_classes=5)
    config = timm.get_pretrained_cfg(plain)
    side = config.input_size[1]
    torch.manual_seed(0)
    ours = backbone.make(5, (side, side))
    assert {key: each.shape for key, each in ours.state_dict().items()} == {
        key: each.shape for key, each in theirs.state_dict().items()
    }
    assert (backbone.image_size, backbone.mean, backbone.std) == (side, config.mean, config.std)
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(1, 3, side, side)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(images), theirs.eval()(images), rtol=1e-4, atol=1e-4)


def test_a_tag_chooses_among_the_weights_of_a_network() -> None:
    assert backbone_named("timm:mobilenetv4_conv_small.e3600_r256_in1k").image_size == 256
    assert backbone_named("timm:mobilenetv4_conv_small.e2400_r224_in1k").image_size == 224
    assert shapes("timm:mobilenetv4_conv_small.e3600_r256_in1k") == shapes("timm:mobilenetv4_conv_small")


@pytest.mark.parametrize(
    "name", ["timm:resnet18.no_such_tag", "timm:hf-hub:someone/model", "timm:local-dir:/tmp", "timm:", "timm:../x"]
)
def test_only_names_of_timms_list_are_made(name: str) -> None:
    """timm itself would read a folder or ask a hub for some of these."""
    with pytest.raises(UsageError, match="there is no model called"):
        backbone_named(name)


@pytest.mark.parametrize(
    ("typed", "close"),
    [
        ("mobilenet_v3_smal", "mobilenet_v3_small"),
        ("mobilenet-v3-small", "mobilenet_v3_small"),
        ("timm:mobilenetv4_conv_smal", "timm:mobilenetv4_conv_small"),
        ("mobilenetv4_conv_small", "timm:mobilenetv4_conv_small"),
        ("resnet-81", "resnet-18"),
        ("FastViT_t8", "timm:fastvit_t8"),
    ],
)
def test_a_mistyped_name_is_answered_with_the_nearest_of_all_lists(typed: str, close: str) -> None:
    with pytest.raises(UsageError) as caught:
        backbone_named(typed)
    assert caught.value.message.endswith(f"did you mean {close}?")


def test_without_timm_its_names_are_neither_made_nor_suggested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lstn.nn.sources.timm_models.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "timm", None)
    assert timm_names() == ()
    with pytest.raises(MissingExtra, match="timm is") as caught:
        backbone_named("timm:resnet18")
    assert "timm]" in caught.value.hint
    with pytest.raises(UsageError) as asked:
        backbone_named("mobilenetv4_conv_small")
    assert "timm:mobile" not in asked.value.message
    assert backbone_named("mobilenet_v3_small").image_size == 224, "and others need no timm"


def test_timm_is_imported_for_its_own_names_alone() -> None:
    code = (
        "import sys; from lstn.nn.backbones import backbone_named; from lstn.nn.sources.starts import start_weights\n"
        "net = backbone_named('mobilenet_v3_small').factory(3); start_weights(net, 0); print('timm' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


@pytest.mark.parametrize("name", [*EDGE, "mobilenet_v3_small", "regnet_x_400mf", "convnext_tiny", "vit_b_32", "swin_t"])
def test_every_class_is_equally_likely_at_first(name: str) -> None:
    net = made(name)
    start_weights(net, 0)
    loss = nn.functional.cross_entropy(net.train()(torch.randn(2, 3, 64, 64)), torch.tensor([0, 2]))
    assert float(loss.detach()) == pytest.approx(math.log(3), abs=1e-6)


def test_squeezenet_can_learn_from_its_start() -> None:
    """Its last layer is a convolution with a ReLU behind: at zero no gradient would come through."""
    net = made("squeezenet1_1")
    start_weights(net, 0)
    net.eval()(torch.randn(2, 3, 64, 64)).sum().backward()
    last = net.get_submodule("classifier.1")
    assert all(weight.grad is not None and bool(weight.grad.any()) for weight in last.parameters())


def test_timms_networks_without_normalisation_keep_their_own_start() -> None:
    net = made("timm:vgg11", side=64)
    before = {key: each.clone() for key, each in net.state_dict().items()}
    start_weights(net, 0)
    assert [key for key, each in net.state_dict().items() if not torch.equal(each, before[key])] == ["head.fc.weight"]


def test_a_share_of_timms_dropout_and_stochastic_depth_is_used() -> None:
    net = timm.create_model("convnext_atto", drop_rate=0.4, drop_path_rate=0.2)
    rates = [each.drop_prob for each in net.modules() if isinstance(each, timm.layers.DropPath)]
    scale_dropout(net, 0.5)
    scaled = [each.drop_prob for each in net.modules() if isinstance(each, timm.layers.DropPath)]
    assert max(scaled) == pytest.approx(0.1)
    assert scaled == pytest.approx([rate / 2 for rate in rates])
    assert [each.p for each in net.modules() if isinstance(each, nn.Dropout) and each.p] == [pytest.approx(0.2)]
    ghost = timm.create_model("ghostnet_100")  # which drops in its own code
    before = ghost.drop_rate
    assert before > 0
    scale_dropout(ghost, 0.25)
    assert ghost.drop_rate == pytest.approx(before / 4)


@pytest.mark.parametrize("name", ["squeezenet1_1", "timm:levit_128s"])
def test_several_crops_need_one_linear_layer_at_the_end(name: str) -> None:
    with pytest.raises(UsageError, match="doesn't end in one linear layer"):
        last_layer(made(name))
    for task in (Task.CLASSIFY, Task.DETECT, Task.READ):
        theta = ThetaForm.CROP if task is Task.DETECT else ThetaForm.AFFINE
        contract = Contract(Loc.GLANCE, name, (64, 64), LABELS, warps=3, task=task, theta=theta)
        with pytest.raises(UsageError, match="doesn't end in one linear layer"):
            build_model(contract)


@pytest.mark.parametrize(
    ("name", "image_hw", "says"),
    [
        ("vit_b_32", (64, 96), "takes square images, and not 64 x 96"),
        ("vit_b_32", (50, 50), r"can't be made for images of 50 x 50 pixels"),
        ("maxvit_t", (64, 64), r"can't be made for images of 64 x 64 pixels"),
        ("convnext_tiny", (16, 16), "too small for convnext_tiny, which needs 32 x 32"),
        ("timm:inception_v4", (32, 32), r"InceptionV4 fails on images \(2, 3, 32, 32\) float32: ."),
    ],
)
def test_a_size_that_a_network_cannot_take_is_one_line(name: str, image_hw: tuple[int, int], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        check_size(Contract(Loc.NONE, name, image_hw, LABELS))


@pytest.mark.parametrize("name", ["vit_b_32", "timm:vit_tiny_patch16_224", "timm:swin_tiny_patch4_window7_224"])
def test_a_transformer_is_made_for_the_size_of_its_crops(name: str) -> None:
    model = Classifier(Contract(Loc.GLANCE, name, (96, 96), LABELS, view_hw=(32, 32), crop_hw=(64, 64))).eval()
    assert model(torch.zeros(1, 96, 96, 3, dtype=torch.uint8))[0].shape == (1, 3)


@pytest.mark.parametrize("name", ["timm:repvgg_a0", "timm:fastvit_t8", "timm:mobileone_s0", "timm:levit_128s"])
def test_branches_become_one_convolution_that_answers_the_same(name: str) -> None:
    net = made(name)
    for each in net.modules():  # BatchNorm that has seen images, so that folding it matters
        if isinstance(each, nn.BatchNorm2d):
            nn.init.uniform_(each.weight, 0.5, 1.5)
            nn.init.normal_(each.bias, std=0.1)
            nn.init.normal_(each.running_mean, std=0.1)
            nn.init.uniform_(each.running_var, 0.5, 1.5)
    fused, images = reparametrized(net.eval()), torch.randn(2, 3, 64, 64).double()
    assert fused is not net
    assert len(list(fused.modules())) < len(list(net.modules()))
    with torch.no_grad():  # in float64, what is left of a difference is the rounding of the fused weights
        torch.testing.assert_close(fused.double()(images), net.double()(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["cnn", "resnet-18", "mobilenet_v3_small", "timm:convnext_atto"])
def test_a_network_without_such_branches_stays_itself(name: str) -> None:
    with shapes_only():
        net = made(name)
    assert reparametrized(net) is net


def test_timms_weights_offline_are_one_line_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", lambda *_: (_ for _ in ()).throw(OSError("no network")))
    net = made("timm:mobilenetv4_conv_small")
    before = {key: each.clone() for key, each in net.state_dict().items()}
    with pytest.raises(LstnError, match=r"timm can't load the weights of timm:mobilenetv4_conv_small: .") as caught:
        load_backbone_weights(net, "timm:mobilenetv4_conv_small", "imagenet", (64, 64))
    assert "--weights FILE" in caught.value.hint
    assert "\n" not in caught.value.message
    assert all(torch.equal(each, before[key]) for key, each in net.state_dict().items())


def test_timms_own_loader_fills_all_but_another_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    """timm reads a file instead of the network where its configuration says so."""
    published = timm.create_model("test_efficientnet")
    create = timm.create_model

    def from_file(name: str, pretrained: bool = False, **options: object) -> nn.Module:
        overlay = {"state_dict": published.state_dict()} if pretrained else None
        return create(name, pretrained=pretrained, pretrained_cfg_overlay=overlay, **options)

    monkeypatch.setattr("timm.create_model", from_file)
    net = made("timm:test_efficientnet", classes=3)
    fresh = load_backbone_weights(net, "timm:test_efficientnet", "imagenet", (64, 64))
    assert fresh == ("classifier.weight", "classifier.bias")
    for key, tensor in net.state_dict().items():
        assert key in fresh or torch.equal(tensor, published.state_dict()[key]), key


def test_a_vision_transformers_weights_fit_another_size(tmp_path: Path) -> None:
    theirs = made("vit_b_32", side=96, classes=4)
    save_file(theirs.state_dict(), tmp_path / "vit.safetensors")
    ours = made("vit_b_32", side=64)
    fresh = load_backbone_weights(ours, "vit_b_32", str(tmp_path / "vit.safetensors"), (64, 64))
    assert fresh == ("heads.head.weight", "heads.head.bias")
    assert ours.state_dict()["encoder.pos_embedding"].shape == (1, 5, 768)
    assert torch.equal(ours.state_dict()["conv_proj.weight"], theirs.state_dict()["conv_proj.weight"])


@pytest.mark.parametrize(
    ("typed", "own"),
    [
        ("my_nets:small", True),
        ("a.b.c:make", True),
        ("timm:resnet18", False),
        ("resnet-18", False),
        ("my nets:small", False),
        ("a:b:c", False),
        ("a/b:c", False),
        (":small", False),
        ("a:", False),
    ],
)
def test_what_names_a_network_of_ones_own(typed: str, own: bool) -> None:
    assert is_own(typed) is own


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's own in the current folder, which no other test imports."""
    name = f"own_nets_{os.getpid()}_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(
        "from own_network import SmallNetwork\n"
        "def small(classes): return SmallNetwork(classes)\n"
        "def broken(classes): raise KeyError('weights')\n"
        "def wrong(classes): return classes\n"
        "def more(classes): return SmallNetwork(classes + 1)\n"
        "number = 3\n"
    )
    (tmp_path / f"{name}_fails.py").write_text("import no_such_package\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return name


def test_a_factory_in_the_current_folder_is_found_and_hides_no_other_module(nets: str) -> None:
    Path("json.py").write_text("raise ImportError")
    for _ in range(2):
        assert isinstance(own_factory(f"{nets}:small")(3), SmallNetwork)
    assert sys.path[-1] == str(Path.cwd())
    assert sys.path.count(str(Path.cwd())) == 1


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("{}_absent:small", "there is no module {}_absent$"),
        ("{}_fails:small", "there is no module no_such_package, which {}_fails imports"),
        ("{}:number", "{} has no callable number"),
        ("{}:absent", "{} has no callable absent"),
        ("{}:broken", "failed: KeyError: 'weights'"),
        ("{}:wrong", "made a int, and not a torch.nn.Module"),
    ],
)
def test_what_is_wrong_with_a_factory_is_one_line(what: str, says: str, nets: str) -> None:
    with pytest.raises(UsageError, match=says.format(nets)):
        own_factory(what.format(nets))(3)


def test_a_network_of_ones_own_has_to_answer_with_its_labels(nets: str) -> None:
    contract = Contract(Loc.STN, f"module:{nets}:more", (32, 32), LABELS)
    with pytest.raises(UsageError, match=r"answers torch.float32 \(2, 4\) to 2 images; expected logits \(2, 3\)"):
        build_around(contract, own_factory(f"{nets}:more"))
    several = Contract(Loc.GLANCE, f"module:{nets}:small", (32, 32), LABELS, warps=2)
    with pytest.raises(UsageError, match="doesn't know the last layer of a network of your own"):
        build_around(several, own_factory(f"{nets}:small"))


def test_a_checkpoint_says_where_its_network_is_made_and_is_opened_by_typing_it(nets: str, tmp_path: Path) -> None:
    model = build_around(Contract(Loc.STN, f"module:{nets}:small", (32, 32), LABELS), own_factory(f"{nets}:small"))
    save_checkpoint(model.eval(), tmp_path / "own.safetensors")
    with pytest.raises(ArtifactError, match=f"its backbone is '{nets}:small', a module of your own") as caught:
        load_checkpoint(tmp_path / "own.safetensors")
    assert "--model MODULE:FACTORY" in caught.value.hint
    loaded = load_checkpoint(tmp_path / "own.safetensors", f"{nets}:small")
    pixels = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    for one, other in zip(loaded.model(pixels), model(pixels), strict=True):
        assert torch.equal(one, other)


HOSTILE = (
    "module:{}:run",
    "{}:run",
    "module:{}",
    "timm:{}:run",
    "module:os:system",
    "os:system",
    "module:builtins:exec",
)


@pytest.mark.parametrize("backbone", HOSTILE)
def test_a_name_in_a_file_imports_nothing(
    backbone: str, tmp_path: Path, run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by Python nor by any command that reads a checkpoint."""
    (tmp_path / "trap.py").write_text("import pathlib\npathlib.Path('sprung').touch()\ndef run(classes): ...\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    asked: list[str] = []
    real: Callable[..., object] = builtins.__import__

    def watched(name: str, *rest: object, **more: object) -> object:
        asked.append(name)
        return real(name, *rest, **more)

    net = SmallNetwork(len(LABELS))
    model = Classifier(Contract(Loc.STN, "module:SmallNetwork", (32, 32), LABELS), net)
    model.contract = Contract(Loc.STN, backbone.format("trap"), (32, 32), LABELS)
    save_checkpoint(model, tmp_path / "hostile.safetensors")
    monkeypatch.setattr(builtins, "__import__", watched)
    with pytest.raises(ArtifactError):
        load_checkpoint(tmp_path / "hostile.safetensors")
    for words in (("export",), ("inspect",), ("attack",), ("calibrate", "--precision", "fp16")):
        run_lstn(words[0], "hostile.safetensors", *words[1:])
    assert "trap" not in asked
    assert "trap" not in sys.modules
    assert not Path("sprung").exists()


def test_imagenets_normalisation_is_what_a_network_of_ones_own_gets() -> None:
    own = backbone_named("module:my_nets:small")
    assert (own.mean, own.std) == (IMAGENET_MEAN, IMAGENET_STD)
