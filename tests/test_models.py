"""The networks of the course: sizes, shapes, options, and agreement with torchvision."""

import copy
import math
import subprocess
import sys
from importlib import import_module

import pytest
import torch
import torchvision
from torch import nn

from cnncourse import models
from cnncourse.errors import CourseError
from cnncourse.models.activations import ACTIVATIONS, activation
from cnncourse.models.convnet import ConvNet
from cnncourse.models.registry import FAMILIES
from cnncourse.models.resnet import BasicBlock, Bottleneck, convolution

PARAMETERS = {
    "mlp_30": 23_860,
    "mlp_50_30": 41_090,
    "mlp_50_30_bn": 41_250,
    "conv_bn": 11_842,
    "conv_bn_pool": 3_202,
    "lenet_bn": 44_470,
    "small_vggnet": 839_802,
    "cnn_5x5": 390_410,
    "cnn_3x3_bn": 225_482,
    "cnn_3x3": 225_034,
    "cnn_5x5_bn": 390_858,
    "simple_cnn": 82_030,
    "simple_cnn_bn": 82_078,
    "tutorial_cnn": 62_006,
    "resnet18": 11_173_962,
    "resnet34": 21_282_122,
    "resnet50": 23_520_842,
    "resnet101": 42_512_970,
    "resnet152": 58_156_618,
    "resnet20": 269_722,
    "resnet20_projection": 272_474,
    "vgg_a": 9_750_922,
    "vgg_a_bn": 9_756_426,
    "vgg_a_light": 285_162,
    "vgg16_leaky": 15_044_298,
    "vgg19_leaky": 20_353_994,
    "vgg19_leaky_bn": 20_365_002,
    "catdog_vgg": 5_884_162,
    "catdog_resnet18": 11_172_866,
    "catdog_resnet18_nobn": 11_165_058,
    "deep_cnn_mish": 4_181_002,
    "final_cnn_wide": 6_382_090,
    "final_cnn": 3_694_602,
}

# name, options, parameters: other networks that the reports trained or could have meant
VARIANTS = [
    ("mlp_30", {"batch_norm": True}, 23_920),
    ("small_vggnet", {"padding": (3, 3, 1, 1, 1, 1)}, 839_802),
    ("cnn_3x3_bn", {"blocks": ((64,), (128,), (256,))}, 634_570),
    ("deep_cnn_mish", {"blocks": ((64,), (128,), (256,), (256,))}, 2_541_834),
    ("catdog_vgg", {"hidden": (2048, 1024)}, 11_653_890),
    ("catdog_vgg", {"blocks": ((32,), (64,), (128, 128), (256, 256), (256, 256))}, 3_881_666),
    ("vgg_a", {"dropout": 0.5}, 9_750_922),
    ("vgg_a_bn", {"dropout": 0.5}, 9_756_426),
    ("simple_cnn_bn", {"activation": "swish"}, 82_078),
    ("resnet18", {"stem": "imagenet", "num_classes": 1000}, 11_689_512),
    ("resnet34", {"stem": "imagenet", "num_classes": 1000}, 21_797_672),
    ("resnet50", {"stem": "imagenet", "num_classes": 1000}, 25_557_032),
    ("resnet101", {"stem": "imagenet", "num_classes": 1000}, 44_549_160),
    ("resnet152", {"stem": "imagenet", "num_classes": 1000}, 60_192_808),
]

MNIST = {"lenet_bn", "conv_bn", "conv_bn_pool", "small_vggnet", *FAMILIES["mlp"]}
CATS_AND_DOGS = {"catdog_vgg", "catdog_resnet18", "catdog_resnet18_nobn"}
SHRUNK = 0.125  # width at which a training step of every network takes milliseconds


def create_on_meta(name, **options):
    with torch.device("meta"):
        return models.create(name, **options)


def image_shape(name):
    return (1, 28, 28) if name in MNIST else (3, 64, 64) if name in CATS_AND_DOGS else (3, 32, 32)


def images(name, number=2):
    return torch.rand(number, *image_shape(name), generator=torch.Generator().manual_seed(0))


def shrunk(name, **options):
    return models.create(name, **{"width": SHRUNK, **options})


def randomise_(model):
    """Parameters and running statistics that no start value hides behind."""
    for tensor in [*model.parameters(), *model.buffers()]:
        if tensor.is_floating_point():
            tensor.data += 0.2 * torch.rand_like(tensor)
    return model


# ---- sizes and shapes


def test_names_are_those_of_the_design():
    assert set(models.names()) == set(PARAMETERS)
    assert len(models.names()) == len(PARAMETERS)


@pytest.mark.parametrize(("name", "parameters"), PARAMETERS.items())
def test_number_of_parameters(name, parameters):
    assert models.count_parameters(create_on_meta(name)) == parameters


@pytest.mark.parametrize(("name", "options", "parameters"), VARIANTS)
def test_number_of_parameters_of_variants(name, options, parameters):
    assert models.count_parameters(create_on_meta(name, **options)) == parameters


@pytest.mark.parametrize("name", PARAMETERS)
def test_full_size_forward_pass_gives_one_logit_per_class(name):
    logits = create_on_meta(name)(torch.empty(2, *image_shape(name), device="meta"))
    assert logits.shape == (2, 2 if name in CATS_AND_DOGS else 10)


@pytest.mark.parametrize("name", PARAMETERS)
def test_common_options_and_one_step_of_training(name):
    """Every network takes the same options, and every parameter gets a finite gradient."""
    torch.manual_seed(0)
    options = {
        "activation": "swish",
        "fc_activation": "swish",
        "batch_norm": True,
        "dropout": 0.1,
        "init": "he",
        "negative_slope": 0.1,
    }
    model = shrunk(name, num_classes=7, in_channels=2, image_size=40, **options)
    logits = model(torch.rand(2, 2, 40, 40))
    assert logits.shape == (2, 7)
    nn.functional.cross_entropy(logits, torch.tensor([0, 6])).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    kinds = {type(layer) for layer in model.modules()}
    assert nn.SiLU in kinds
    assert nn.ReLU not in kinds
    assert kinds & {nn.BatchNorm1d, nn.BatchNorm2d}
    assert nn.Dropout in kinds


@pytest.mark.parametrize("name", PARAMETERS)
def test_same_seed_same_weights(name):
    def weights(seed):
        torch.manual_seed(seed)
        return nn.utils.parameters_to_vector(shrunk(name).parameters())

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_every_network_documents_its_layers_and_its_source():
    for family, members in FAMILIES.items():
        for name in members:
            doc = getattr(import_module(f"cnncourse.models.{family}"), name).__doc__
            assert f"{PARAMETERS[name]:,} parameters" in doc
            assert any(report in doc for report in ("AI604", "IFT6135", "TDT4265", "NNDL", "ECE 661"))


def test_sizes_along_small_vggnet():
    sizes = []
    X = images("small_vggnet")
    for layer in shrunk("small_vggnet").features:
        X = layer(X)
        if isinstance(layer, (nn.Conv2d, nn.MaxPool2d)):
            sizes.append(X.shape[-1])
    assert sizes == [32, 32, 16, 16, 16, 8, 8, 8, 4]


def test_the_network_called_vgg19_has_the_16_weight_layers_of_vgg16():
    def weight_layers(name):
        return sum(isinstance(layer, (nn.Conv2d, nn.Linear)) for layer in create_on_meta(name).modules())

    assert weight_layers("vgg16_leaky") == 16
    assert weight_layers("vgg19_leaky") == 19


@pytest.mark.parametrize(("name", "depth"), [("resnet18", 18), ("resnet50", 50), ("resnet152", 152), ("resnet20", 20)])
def test_depth_of_resnets_counts_layers_with_weights_but_shortcuts(name, depth):
    layers = create_on_meta(name).named_modules()
    assert depth == sum(isinstance(layer, (nn.Conv2d, nn.Linear)) and "shortcut" not in key for key, layer in layers)


def test_listing_names_imports_nothing_heavy():
    code = (
        "import sys, cnncourse.models as m; m.names()\n"
        "try: m.create('lenet')\n"
        "except Exception as error: assert 'lenet_bn' in str(error)\n"
        "print({'torch', 'numpy', 'torchvision'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# ---- agreement with torchvision: same weights, same output


def copy_in_order(source, target):
    """Copy all tensors of `source` into `target`, whose layers come in the same order under other names."""
    theirs, ours = source.state_dict().values(), target.state_dict()
    target.load_state_dict(dict(zip(ours, theirs, strict=True)))


@pytest.mark.parametrize(
    ("name", "configuration", "batch_norm"),
    [
        ("vgg16_leaky", "D", False),
        ("vgg19_leaky", "E", False),
        ("vgg19_leaky_bn", "E", True),
        ("vgg_a", "A", False),
        ("vgg_a_bn", "A", True),
    ],
)
def test_vgg_features_agree_with_torchvision(name, configuration, batch_norm):
    vgg = torchvision.models.vgg
    theirs = vgg.make_layers(vgg.cfgs[configuration], batch_norm=batch_norm)
    if "leaky" in name:
        for i, layer in enumerate(theirs):
            if isinstance(layer, nn.ReLU):
                theirs[i] = nn.LeakyReLU(0.2)
    ours = models.create(name).features
    randomise_(theirs)
    copy_in_order(theirs, ours)
    X = images(name)
    for mode in (True, False):
        torch.testing.assert_close(ours.train(mode)(X), theirs.train(mode)(X).flatten(1))


def copy_resnet(theirs, ours):
    """Copy weights by name; torchvision calls the shortcut "downsample", and its two layers 0 and 1."""
    renamed = {
        ("classifier." if key.startswith("fc.") else "features.")
        + key.replace("downsample.0", "shortcut.conv").replace("downsample.1", "shortcut.bn"): tensor
        for key, tensor in theirs.state_dict().items()
    }
    ours.load_state_dict(renamed)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
def test_resnet_agrees_with_torchvision(name, stem):
    theirs = torchvision.models.get_model(name, weights=None, num_classes=10)
    if stem == "cifar":
        theirs.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        theirs.maxpool = nn.Identity()
    ours = models.create(name, stem=stem)
    copy_resnet(randomise_(theirs), ours)
    X = torch.rand(2, 3, 16, 16) if stem == "cifar" else torch.rand(2, 3, 48, 48)
    for mode in (True, False):
        torch.testing.assert_close(ours.train(mode)(X), theirs.train(mode)(X), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["BasicBlock", "Bottleneck"])
@pytest.mark.parametrize("stride", [1, 2])
def test_residual_block_and_its_gradient_agree_with_torchvision(kind, stride):
    theirs_kind = getattr(torchvision.models.resnet, kind)
    c_in, channels = 8, 4
    c_out = channels * theirs_kind.expansion
    downsample = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))
    theirs = randomise_(theirs_kind(c_in, channels, stride, downsample).double())

    def conv_bn(*args, **kwargs):
        return convolution(*args, batch_norm=True, bias=None, **kwargs)

    ours = {"BasicBlock": BasicBlock, "Bottleneck": Bottleneck}[kind](
        c_in, channels, stride, copy.deepcopy(downsample), conv_bn, nn.ReLU
    ).double()
    ours.load_state_dict({key.replace("downsample", "shortcut"): t for key, t in theirs.state_dict().items()})
    X = torch.randn(3, c_in, 6, 6, dtype=torch.float64)
    inputs = [X.clone().requires_grad_() for _ in range(2)]
    outputs = [block(x) for block, x in zip((ours, theirs), inputs, strict=True)]
    torch.testing.assert_close(*outputs)
    for output in outputs:
        output.square().sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)


# ---- options


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("relu", lambda x: max(x, 0)),
        ("leaky_relu", lambda x: x if x > 0 else 0.2 * x),
        ("sigmoid", lambda x: 1 / (1 + math.exp(-x))),
        ("tanh", math.tanh),
        ("softplus", lambda x: math.log(1 + math.exp(x))),
        ("swish", lambda x: x / (1 + math.exp(-x))),
        ("silu", lambda x: x / (1 + math.exp(-x))),
        ("mish", lambda x: x * math.tanh(math.log(1 + math.exp(x)))),
        ("none", lambda x: x),
    ],
)
def test_activations_are_their_formulas(name, reference):
    x = torch.linspace(-4, 4, 33, dtype=torch.float64)
    expected = torch.tensor([reference(v) for v in x.tolist()], dtype=torch.float64)
    torch.testing.assert_close(activation(name, negative_slope=0.2)(x), expected)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_builds(name):
    assert shrunk("simple_cnn", activation=name)(images("simple_cnn")).shape == (2, 10)


def test_network_without_activation_is_affine():
    model = models.create("mlp_50_30", activation="none").double()
    X = torch.rand(3, 1, 28, 28, dtype=torch.float64)
    zero = torch.zeros_like(X)
    torch.testing.assert_close(model(2 * X) - model(zero), 2 * (model(X) - model(zero)))


@pytest.mark.parametrize("name", ["simple_cnn_bn", "resnet20", "mlp_50_30"])
def test_initialisations(name):
    def weights(init):
        torch.manual_seed(0)
        layers = [m for m in models.create(name, init=init).modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
        if init != "default":
            assert all(layer.bias is None or not layer.bias.any() for layer in layers)
        return layers[1].weight.detach()

    def fans(weight):
        window = weight[0, 0].numel()
        return weight.shape[1] * window, weight.shape[0] * window

    fan_in, fan_out = fans(weights("default"))
    assert not weights("zero").any()
    assert weights("normal").std() == pytest.approx(1, rel=0.05)
    assert weights("he").std() == pytest.approx(math.sqrt(2 / fan_in), rel=0.05)
    bound = math.sqrt(6 / (fan_in + fan_out))
    assert 0.95 * bound < weights("glorot").abs().max() <= bound
    assert 0.95 / math.sqrt(fan_in) < weights("default").abs().max() <= 1 / math.sqrt(fan_in)


def test_networks_of_ift6135_start_from_glorot():
    torch.manual_seed(0)
    default = models.create("catdog_vgg", width=SHRUNK)
    torch.manual_seed(0)
    glorot = models.create("catdog_vgg", width=SHRUNK, init="glorot")
    assert torch.equal(default.classifier.fc1.weight, glorot.classifier.fc1.weight)
    assert not default.classifier.fc1.bias.any()


def norms(model):
    return [key for key, layer in model.named_modules() if isinstance(layer, nn.BatchNorm2d)]


def test_batch_norm_after_the_first_convolution_of_a_block():
    assert norms(shrunk("final_cnn")) == ["features.bn1_1", "features.bn2_1", "features.bn3_1"]
    keys = norms(shrunk("resnet20_projection", width=0.5, batch_norm="first"))
    assert len(keys) == 1 + 9
    assert all(key.endswith("bn1") for key in keys)
    assert norms(shrunk("resnet50", batch_norm=False)) == []


def test_batch_norm_before_or_after_the_activation():
    before = list(dict(shrunk("vgg_a_bn").features.named_children()))
    after = list(dict(shrunk("vgg_a_bn", bn_after_activation=True).features.named_children()))
    assert before[:3] == ["conv1", "bn1", "act1"]
    assert after[:3] == ["conv1", "act1", "bn1"]
    assert list(dict(shrunk("cnn_3x3_bn").features.named_children()))[:5] == [
        "conv1",
        "act1",
        "bn1",
        "pool1",
        "dropout1",
    ]


def test_places_of_dropout():
    assert shrunk("cnn_3x3_bn").features.dropout1.p == 0.1
    assert list(dict(shrunk("vgg_a", dropout=0.5).classifier.named_children())) == [
        "dropout1",
        "fc1",
        "act1",
        "dropout2",
        "fc2",
        "act2",
        "fc3",
    ]
    assert list(dict(shrunk("tutorial_cnn", dropout=0.5, width=1).classifier.named_children())) == [
        "fc1",
        "act1",
        "dropout1",
        "fc2",
        "act2",
        "dropout2",
        "fc3",
    ]


def test_fully_connected_activation_of_its_own():
    model = shrunk("vgg16_leaky")
    assert {type(layer) for key, layer in model.features.named_children() if key.startswith("act")} == {nn.LeakyReLU}
    assert model.features.act1_1.negative_slope == 0.2
    assert type(model.classifier.act1) is nn.ReLU


def test_activated_logits_are_not_negative():
    torch.manual_seed(0)
    right = models.create("simple_cnn")
    torch.manual_seed(0)
    slip = models.create("simple_cnn", activate_logits=True)
    X = images("simple_cnn", 16)
    assert (right(X) < 0).any()
    assert torch.equal(slip(X), right(X).relu())


def test_softmax_output_holds_probabilities_and_bounds_the_loss_from_below():
    torch.manual_seed(0)
    right = shrunk("resnet20", width=0.5)
    torch.manual_seed(0)
    slip = shrunk("resnet20", width=0.5, softmax_output=True)
    X = images("resnet20", 16)
    torch.testing.assert_close(slip(X), right(X).softmax(1))
    torch.testing.assert_close(slip(X).sum(1), torch.ones(16))
    certain = nn.functional.one_hot(torch.tensor([3]), 10).float()
    floor = nn.functional.cross_entropy(certain, torch.tensor([3])).item()
    assert floor == pytest.approx(math.log(1 + 9 / math.e))
    assert nn.functional.cross_entropy(slip(X), torch.zeros(16, dtype=torch.long)) > floor


def test_zero_init_residual_makes_blocks_of_their_shortcuts():
    for options in ({}, {"batch_norm": False}, {"block": "bottleneck"}):
        model = shrunk("resnet20", width=0.5, activation="none", zero_init_residual=True, **options)
        X = torch.rand(2, *([8 * (4 if "block" in options else 1), 8, 8]))
        block = model.features.layer1[1]
        torch.testing.assert_close(block(X), X)
        assert not torch.equal(shrunk("resnet20", width=0.5, activation="none", **options).features.layer1[1](X), X)


def test_padded_shortcut_keeps_every_second_pixel_and_adds_zeros():
    model = shrunk("resnet20", width=0.5, zero_init_residual=True)
    X = torch.rand(2, 8, 8, 8)
    out = model.features.layer2[0](X)
    assert out.shape == (2, 16, 4, 4)
    assert torch.equal(out[:, :8], X[:, :, ::2, ::2])
    assert not out[:, 8:].any()


def test_plain_network_has_no_shortcuts():
    plain = models.create("resnet20", residual=False, layers=(9, 9, 9))
    weights = [layer for layer in plain.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    assert len(weights) == 56
    block = models.create("resnet20", residual=False, zero_init_residual=True).features.layer1[0]
    assert not block(torch.rand(2, 16, 8, 8)).any()


# ---- torch.func, torch.compile, copies


@pytest.mark.parametrize("name", ["lenet_bn", "simple_cnn", "mlp_50_30_bn", "resnet20"])
def test_stacked_models_equal_one_after_another(name):
    from torch.func import functional_call, grad, stack_module_state, vmap

    torch.manual_seed(0)
    members = [models.create(name, width=0.5).double() for _ in range(3)]
    X, y = images(name, 4).double(), torch.tensor([0, 1, 2, 3])
    params, buffers = stack_module_state(members)
    skeleton = copy.deepcopy(members[0]).to("meta")

    def loss(params, buffers):
        logits = functional_call(skeleton, (params, buffers), (X,))
        return nn.functional.cross_entropy(logits, y)

    gradients = vmap(grad(loss))(params, buffers)
    for k, member in enumerate(members):
        nn.functional.cross_entropy(member(X), y).backward()
        for key, parameter in member.named_parameters():
            torch.testing.assert_close(gradients[key][k], parameter.grad)
        for key, buffer in member.named_buffers():  # running statistics went along, for each member its own
            torch.testing.assert_close(buffers[key][k], buffer)


def test_vmap_names_the_wrong_channels():
    from torch.func import functional_call, stack_module_state, vmap

    members = [models.create("simple_cnn") for _ in range(2)]
    state = stack_module_state(members)
    X = torch.rand(2, 1, 32, 32)
    with pytest.raises(CourseError, match="1 channel"):
        vmap(lambda *member: functional_call(members[0], member, (X,)))(*state)


def test_compiles_in_one_graph():
    model = models.create("simple_cnn").eval()
    X = images("simple_cnn")
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(X), model(X))


def test_models_can_be_saved_and_loaded_whole(tmp_path):
    model = shrunk("vgg16_leaky").eval()
    torch.save(model, tmp_path / "model.pt")
    X = images("vgg16_leaky")
    assert torch.equal(torch.load(tmp_path / "model.pt", weights_only=False)(X), model(X))


# ---- bad input


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet19", {}, "Unknown model: 'resnet19'.\nDid you mean 'resnet"),
        ("LeNet_BN", {}, "Did you mean 'lenet_bn'"),
        (None, {}, "Unknown model: None.\nChoose from: mlp_30, "),
        ("lenet_bn", {"dropuot": 0.5}, "option of lenet_bn: 'dropuot'.\nDid you mean 'dropout'"),
        ("mlp_30", {"kernel_size": 3}, "Choose from: hidden, num_classes, in_channels, image_size, width, activation"),
        ("simple_cnn", {"activation": "rellu"}, "simple_cnn: Unknown activation: 'rellu'.\nDid you mean 'relu'"),
        ("resnet18", {"fc_activation": "gelu"}, "Unknown activation: 'gelu'"),
        ("simple_cnn", {"init": "xavier"}, "Choose from: default, zero, normal, glorot, he."),
        ("resnet18", {"shortcut": "pad"}, "Unknown shortcut: 'pad'"),
        ("resnet18", {"layers": (2, 2)}, "there are 4 stages of channels"),
        ("resnet18", {"layers": 18}, "layers is 18"),
        ("lenet_bn", {"width": 0.01}, "width=0.01 leaves nothing of a layer with 6 channels"),
        ("lenet_bn", {"width": 0}, "width must be a positive number, not 0"),
        ("lenet_bn", {"width": math.nan}, "width must be a positive number, not nan"),
        ("lenet_bn", {"dropout": 1.5}, "dropout is a probability"),
        ("cnn_3x3", {"conv_dropout": -0.1}, "conv_dropout is a probability"),
        ("lenet_bn", {"batch_norm": "last"}, "batch_norm must be True, False or 'first'"),
        ("lenet_bn", {"num_classes": 0}, "num_classes must be an integer of at least 1, not 0"),
        ("lenet_bn", {"in_channels": 1.5}, "in_channels must be an integer"),
        ("lenet_bn", {"image_size": 15}, "images of 15x15 pixels after .*\nUse images of at least 16x16"),
        ("vgg16_leaky", {"image_size": 28}, "Use images of at least 32x32"),
        ("lenet_bn", {"image_size": None}, "needs to know the image size"),
        ("mlp_30", {"batch_norm": "first"}, "no convolutions"),
        ("mlp_30", {"hidden": 30}, "hidden must list sizes, not 30"),
        ("mlp_30", {"hidden": (0,)}, "hidden holds 0"),
        ("lenet_bn", {"blocks": (6, 16)}, "blocks must list the convolutions of each block"),
        ("lenet_bn", {"kernel_size": (5, 5, 5)}, "kernel_size has 3 values for 2 convolutions"),
    ],
)
def test_bad_options_are_named_with_a_remedy(name, options, message):
    with pytest.raises(CourseError, match=message) as caught:
        models.create(name, **options)
    assert caught.value.remedy


def test_smallest_image_that_fits_is_named_right():
    assert models.create("lenet_bn", image_size=16)(torch.rand(2, 1, 16, 16)).shape == (2, 10)


@pytest.mark.parametrize("name", ["mlp_50_30", "simple_cnn", "resnet20"])
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 5, 32, 32), "The images have 5 channel.*\n.*in_channels=5"),
        ((2, 32, 32, 3), "channels come last"),
        ((3, 32, 32), "a batch of shape"),
    ],
)
def test_bad_images_are_named_with_a_remedy(name, shape, message):
    model = models.create(name, in_channels=3, image_size=32)
    with pytest.raises(CourseError, match=message) as caught:
        model(torch.rand(shape))
    assert caught.value.remedy


def test_images_of_another_size():
    with pytest.raises(CourseError, match="measure 28x28; this network was built for 32x32"):
        models.create("simple_cnn")(torch.rand(2, 3, 28, 28))
    with pytest.raises(CourseError, match="have 700 pixels; this network was built for 784"):
        models.create("mlp_30")(torch.rand(2, 700))
    assert models.create("resnet20", width=0.5)(torch.rand(2, 3, 20, 20)).shape == (2, 10)
    assert models.create("mlp_30")(torch.rand(2, 784)).shape == (2, 10)


def test_images_of_bytes():
    with pytest.raises(CourseError, match=r"hold torch.uint8; .*\n.*/ 255"):
        models.create("simple_cnn")(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))


def test_convnet_can_be_used_without_a_name():
    model = ConvNet(blocks=((4,), (8, 8)), hidden=(16,), padding=1, in_channels=1, image_size=12, num_classes=3)
    assert model(torch.rand(5, 1, 12, 12)).shape == (5, 3)
