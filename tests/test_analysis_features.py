"""Kernels, feature maps, attributions: what a layer really holds and gives, and no trace left in the model."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from cnncourse import models
from cnncourse.analysis.features import attribution, feature_maps, find_layer, kernels, to_unit_range
from cnncourse.errors import CourseError


@pytest.fixture
def cnn():
    torch.manual_seed(0)
    return models.create("simple_cnn_bn", dropout=0.5, width=0.5)


@pytest.fixture
def X():
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def linear():
    """Logits that are weighted sums of the pixels: attributions are known."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))


def test_kernels_are_a_copy_of_the_weights_of_any_convolution(cnn):
    convs = [name for name, layer in cnn.named_modules() if isinstance(layer, nn.Conv2d)]
    assert len(convs) >= 2
    for name in convs:
        found, weight = kernels(cnn, name), find_layer(cnn, name).weight
        assert torch.equal(found, weight)
        assert not found.requires_grad
        found.zero_()
        assert weight.abs().sum() > 0


@settings(max_examples=50, deadline=None)
@given(arrays("float32", (3, 2, 2, 2), elements=st.floats(-4, 4, width=16)))
def test_the_unit_range_is_filled_and_linear(values):
    weights = torch.from_numpy(values)
    together = to_unit_range(weights, each=False)
    for before, after in [*zip(weights, to_unit_range(weights), strict=True), (weights, together)]:
        spread = before.max() - before.min()
        if spread == 0:
            assert (after == 0.5).all()
        else:
            assert (after.min(), after.max()) == (0, 1)
            torch.testing.assert_close(after * spread + before.min(), before, atol=1e-5, rtol=1e-5)


def test_feature_maps_are_what_each_layer_gives_in_evaluation_mode(cnn, X):
    cnn.train()
    layers = [name for name, layer in cnn.named_modules() if name and not list(layer.children())]
    maps = feature_maps(cnn, X, layers)
    assert list(maps) == layers
    given_to = {}
    for name in layers:
        find_layer(cnn, name).register_forward_hook(
            lambda _l, inputs, out, name=name: given_to.update({name: inputs[0]})
        )
    cnn.eval()
    with torch.no_grad():
        cnn(X)
        for name, found in maps.items():
            torch.testing.assert_close(found, find_layer(cnn, name)(given_to[name]))
    assert feature_maps(cnn, X, layers[0])[layers[0]].shape[0] == len(X)


def test_maps_from_before_an_activation_in_place_are_kept():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True))
    maps = feature_maps(model, torch.randn(2, 3, 8, 8), ["0", "1"])
    assert maps["0"].min() < 0
    assert torch.equal(maps["0"].relu(), maps["1"])


def test_saliency_of_a_weighted_sum_is_the_size_of_the_weights(linear, X):
    found = attribution(linear, X, target=3)
    expected = linear[1].weight[3].abs().view(3, 32, 32).expand(4, -1, -1, -1)
    torch.testing.assert_close(found, expected.detach())


def test_integrated_gradients_and_occlusion_of_a_weighted_sum_are_weight_times_pixel(linear, X):
    y = torch.tensor([3, 0, 9, 3])
    expected = (linear[1].weight[y].view(4, 3, 32, 32) * X).detach()
    torch.testing.assert_close(attribution(linear, X, y, "integrated_gradients"), expected)
    found = attribution(linear, X, y, "occlusion", sliding_window_shapes=(3, 16, 16), strides=(3, 16, 16))
    quarters = expected.reshape(4, 3, 2, 16, 2, 16).sum((1, 3, 5))  # each pixel shows what its square did together
    torch.testing.assert_close(found[:, 0, ::16, ::16], quarters, atol=1e-4, rtol=1e-4)


def test_integrated_gradients_add_up_to_the_difference_of_the_scores(cnn, X):
    cnn.eval()
    found = attribution(cnn, X, 5, "integrated_gradients", n_steps=200)
    with torch.no_grad():
        difference = (cnn(X) - cnn(torch.zeros_like(X)))[:, 5]
    torch.testing.assert_close(found.sum((1, 2, 3)), difference, atol=2e-3, rtol=2e-2)


def test_grad_cam_is_the_class_activation_map_of_pooled_features(X):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10))
    maps = feature_maps(model, X, "1")["1"]
    expected = torch.einsum("c,nchw->nhw", model[4].weight[7].detach(), maps) / maps[0, 0].numel()  # Zhou et al. (2016)
    found = attribution(model, X, 7, "grad_cam", layer="1")
    torch.testing.assert_close(found[:, 0], expected)
    torch.testing.assert_close(attribution(model, X, 7, "grad_cam", "1", relu_attributions=True)[:, 0], expected.relu())
    torch.testing.assert_close(attribution(model, X, 7, "gradient_x_activation", "1").sum(1), expected)


@pytest.mark.parametrize(
    "look",
    [
        lambda model, X: feature_maps(model, X, "features.conv1"),
        lambda model, X: attribution(model, X, 1),
        lambda model, X: attribution(model, X, 1, "grad_cam", "features.conv1"),
    ],
)
def test_the_model_and_the_images_are_left_alone(look, cnn, X):
    cnn.train()
    cnn.classifier.eval()
    modes = {name: module.training for name, module in cnn.named_modules()}
    before = {name: tensor.clone() for name, tensor in cnn.state_dict().items()}
    images, random = X.clone(), torch.get_rng_state()
    look(cnn, X)
    assert {name: module.training for name, module in cnn.named_modules()} == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in cnn.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in cnn.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in cnn.modules())
    assert torch.equal(X, images)
    assert not X.requires_grad
    assert torch.equal(torch.get_rng_state(), random)


class WithSpareLayer(nn.Sequential):
    def forward(self, X):
        return self[0](X)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, X: kernels(m, "features.conv9"), r"Unknown layer: 'features\.conv9'[\s\S]*features\.conv1"),
        (lambda m, X: kernels(m, "conv1"), r"Unknown layer: 'conv1'[\s\S]*features\.conv1"),
        (lambda m, X: kernels(m, "classifier.fc1"), r"is a Linear: it has no kernels[\s\S]*features\.conv1"),
        (lambda m, X: kernels(models.create("mlp_30"), "classifier.fc1"), "This network has no convolution"),
        (lambda m, X: feature_maps(m, X, ["features.conv1", "head"]), "Unknown layer: 'head'"),
        (lambda m, X: feature_maps(m, X[:0], "features.conv1"), "There are no images"),
        (lambda m, X: feature_maps(m, X[:, :1], "features.conv1"), r"\(4, 1, 32, 32\)|channel"),
        (lambda m, X: feature_maps(nn.Conv2d(3, 2, 3), X[:, :1], ""), r"images of shape \(4, 1, 32, 32\)"),
        (lambda m, X: feature_maps(WithSpareLayer(nn.Conv2d(3, 2, 3), nn.ReLU()), X, "1"), "1 takes no part"),
        (lambda m, X: attribution(m, X, 1, "salience"), "Unknown method: 'salience'[\\s\\S]*saliency"),
        (lambda m, X: attribution(m, X, 1, "grad_cam"), "for the maps of a layer"),
        (lambda m, X: attribution(m, X, 1, "saliency", "features.conv1"), "is a method for pixels"),
        (lambda m, X: attribution(m, X, 1, "grad_cam", "features.conv7"), "Unknown layer"),
        (lambda m, X: attribution(m, X[:0], 1), "There are no images"),
        (lambda m, X: attribution(m, X, 10), "class from 0 to 9"),
        (lambda m, X: attribution(m, X, -1), "class from 0 to 9"),
        (lambda m, X: attribution(m, X, torch.tensor([1, 2])), "each of the 4"),
        (lambda m, X: attribution(m, X, 1.0), "class from 0 to 9"),
        (lambda m, X: attribution(m, X, 1, "occlusion"), "occlusion .* not possible: .*sliding_window_shapes"),
        (lambda m, X: attribution(m, X, 1, color="red"), "saliency .* not possible: .*color"),
    ],
)
def test_what_does_not_fit_is_named(call, message, cnn, X):
    with pytest.raises(CourseError, match=message):
        call(cnn, X)
