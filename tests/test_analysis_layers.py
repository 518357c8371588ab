"""The layer table: agrees with torch's flop counter, with real forward passes and with real gradients."""

import pytest
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cnncourse import models
from cnncourse.analysis.layers import layer_table
from cnncourse.errors import CourseError


def on_meta(name, **options):
    with torch.device("meta"):  # no numbers: a ResNet-152 takes no time
        return models.create(name, init="default", **options)


@pytest.mark.parametrize("name", models.names())
def test_every_network_agrees_with_the_flop_counter_and_the_parameter_count(name):
    model = on_meta(name)
    size = model.image_size or 32
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.empty(1, model.in_channels, size, size, device="meta"))
    table = layer_table(model, size)
    assert 2 * table["multiply_adds"].sum() == counter.get_total_flops()
    assert table["parameters"].sum() == models.count_parameters(model)
    # torch counts by module, too; these names have the class of the network in front
    by_module = {key.partition(".")[2]: sum(ops.values()) for key, ops in counter.get_flop_counts().items()}
    costly = table["multiply_adds"][table["multiply_adds"] > 0]
    assert {layer: 2 * n for layer, n in costly.items()} == {layer: by_module[layer] for layer in costly.index}


def test_the_figures_of_the_reports():
    def total(name, size=None):
        return int(layer_table(on_meta(name), size)["multiply_adds"].sum())

    assert (total("conv_bn"), total("conv_bn_pool"), total("mlp_50_30_bn")) == (52_992, 44_352, 41_000)
    giga = [round(total(f"resnet{depth}", 32) / 1e9, 3) for depth in (18, 34, 50, 101, 152)]
    assert giga == [0.555, 1.159, 1.298, 2.510, 3.722]
    imagenet = on_meta("resnet18", stem="imagenet", num_classes=1000)
    table = layer_table(imagenet, 224)
    assert round(table["multiply_adds"].sum() / 1e9, 1) == 1.8  # He et al. (2016), table 1
    assert table["receptive_field"]["features.layer4.1.conv2"] == 435  # Araujo et al. (2019)


@pytest.mark.parametrize(
    ("name", "options", "num_layers"),
    [("lenet_bn", {}, 9), ("cnn_5x5", {"width": 0.25}, 8), ("resnet20", {"image_size": 32}, 42), ("mlp_30", {}, 2)],
)
def test_outputs_are_those_of_a_real_forward_pass(name, options, num_layers):
    model = models.create(name, **options).eval()
    shapes = {}
    table = layer_table(model)
    for layer in table.index:
        model.get_submodule(layer).register_forward_hook(
            lambda _layer, _inputs, output, layer=layer: shapes.update({layer: tuple(output.shape)})
        )
    with torch.no_grad():
        model(torch.zeros(2, model.in_channels, model.image_size, model.image_size))
    assert {layer: (2, *shape) for layer, shape in table["output"].items()} == shapes
    assert len(table) == num_layers


@pytest.mark.parametrize(
    ("name", "options", "image_size"),
    [
        ("resnet20", {}, 160),
        ("resnet20_projection", {"layers": (1, 1, 1)}, 96),
        ("resnet50", {"layers": (1, 1, 1, 1), "stem": "imagenet"}, 256),
        ("cnn_3x3", {"image_size": 64}, 64),
    ],
)
def test_receptive_fields_are_where_gradients_are_not_zero(name, options, image_size):
    model = models.create(name, width=1 / 16, activation="none", **options).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.1)  # all positive: no path cancels another
    for parent in list(model.modules()):
        for child, layer in parent.named_children():
            if isinstance(layer, nn.MaxPool2d):  # the maximum would look at one pixel of its window only
                setattr(parent, child, nn.AvgPool2d(layer.kernel_size, layer.stride, layer.padding))
    table = layer_table(model, image_size)
    checked = 0
    for layer, row in table.iterrows():
        if not layer.startswith("features") or row["receptive_field"] > image_size - 16 or row["output"][1] < 2:
            continue
        X = torch.rand(1, 3, image_size, image_size, dtype=torch.float64, requires_grad=True)
        kept = []
        hook = model.get_submodule(layer).register_forward_hook(lambda _l, _i, out, kept=kept: kept.append(out))
        model(X)
        hook.remove()
        maps = kept[0]
        (gradient,) = torch.autograd.grad(maps[0, :, maps.shape[2] // 2, maps.shape[3] // 2].sum(), X)
        rows = gradient[0].abs().sum((0, 2)).nonzero()
        assert int(rows.max() - rows.min()) + 1 == row["receptive_field"], layer
        checked += 1
    assert checked >= 6


def test_a_linear_layer_behind_maps_sees_all_of_them():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2 * 3 * 3, 5))
    table = layer_table(model, image_size=8, in_channels=1)
    assert table["receptive_field"].tolist() == [3, 4, 8]  # 3 maps of step 2: 4 + 2 * 2


def test_a_layer_that_is_called_twice_has_two_rows_and_is_counted_once():
    conv = nn.Conv2d(2, 2, 3, padding="same")
    table = layer_table(nn.Sequential(conv, conv), image_size=4, in_channels=2)
    assert table["parameters"].tolist() == [38, 0]
    assert table["multiply_adds"].tolist() == [576, 576]
    assert table["padding"].tolist() == [1, 1]
    assert table["receptive_field"].tolist() == [3, 5]


def test_the_network_is_left_alone():
    model = models.create("simple_cnn_bn", dropout=0.5).train()
    model.classifier.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    random = torch.get_rng_state()
    layer_table(model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(module._forward_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "layer", "field"),
    [
        ("alexnet", "features.12", 195),  # Araujo et al. (2019)
        ("squeezenet1_0", "features.3.squeeze", 11),  # joins maps
        ("shufflenet_v2_x0_5", "stage2.0.branch1.0", 15),  # splits them: 7 + (3 - 1) * 4
        ("efficientnet_b0", "features.1.0.block.1.avgpool", 7 + 111 * 2),  # weighs them with one number for each
    ],
)
def test_torchvision_networks_are_counted_too(name, layer, field):
    with torch.device("meta"):
        model = getattr(torchvision.models, name)(weights=None).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, 3, 224, 224, device="meta"))
    table = layer_table(model, 224)
    assert 2 * table["multiply_adds"].sum() == counter.get_total_flops()
    assert table["parameters"].sum() == models.count_parameters(model)
    assert table["receptive_field"][layer] == field
    assert table["receptive_field"].max() < 5000


def test_a_linear_layer_on_every_place_costs_each_of_them():
    model = nn.Sequential(nn.Conv2d(3, 4, 2, stride=2), nn.Flatten(2), nn.Linear(16, 5))
    assert layer_table(model, 8)["multiply_adds"].tolist() == [4 * 12 * 16, 4 * 16 * 5]


def test_errors_say_what_to_pass():
    with pytest.raises(CourseError, match="image_size=32"):
        layer_table(on_meta("resnet20"))
    with pytest.raises(CourseError, match="28x28; this network was built for 32x32"):
        layer_table(on_meta("simple_cnn"), 28)
    with pytest.raises(CourseError, match=r"cannot take images of shape \(3, 8, 8\)"):
        layer_table(nn.Sequential(nn.Conv2d(1, 2, 3)), 8)
    with pytest.raises(CourseError, match="not square"):
        layer_table(nn.Sequential(nn.Conv2d(3, 2, (1, 3))), 8)
    with pytest.raises(CourseError, match=r"layer 0 \(ConvTranspose2d\) costs is not known"):
        layer_table(nn.Sequential(nn.ConvTranspose2d(3, 2, 3)), 8)
    with pytest.raises(CourseError, match="image_size must be an integer of at least 1, not 0"):
        layer_table(on_meta("simple_cnn"), 0)
