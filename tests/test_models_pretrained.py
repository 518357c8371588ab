"""Transfer: networks from torchvision, new heads, frozen layers."""

from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import nn

from cnncourse import models
from cnncourse.errors import CourseError


@pytest.fixture
def checkpoints(tmp_path, monkeypatch):
    """An empty folder of torch's downloaded weights, and no network."""

    def no_network(*args, **kwargs):
        raise URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def weights_file(name):
    return torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].url.rsplit("/", 1)[1]


def test_vgg19_with_ten_classes():
    with torch.device("meta"):
        model = models.create_pretrained("vgg19", weights=None)
    assert models.count_parameters(model) == 139_611_210
    assert model(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 10)


def test_resnet18_trains_its_last_stage_and_head():
    with torch.device("meta"):
        model = models.create_pretrained("resnet18", weights=None)
    assert models.count_parameters(model) == 11_181_642
    models.train_only(model, ["layer4", "fc"])
    assert models.count_parameters(model) == 8_398_858
    assert {key.split(".")[0] for key, p in model.named_parameters() if p.requires_grad} == {"layer4", "fc"}


def test_weights_on_this_machine_are_loaded_without_a_network(checkpoints):
    original = torchvision.models.resnet18(weights=None)
    torch.save(original.state_dict(), checkpoints / weights_file("resnet18"))
    model = models.create_pretrained("resnet18", num_classes=4)
    assert model.fc.weight.shape == (4, 512)
    model.fc = original.fc
    X = torch.rand(1, 3, 64, 64)
    assert torch.equal(model.eval()(X), original.eval()(X))


def test_missing_weights_without_network(checkpoints):
    with pytest.raises(CourseError, match=r"not on this machine and could not be downloaded \(URLError") as caught:
        models.create_pretrained("resnet18")
    assert str(checkpoints / weights_file("resnet18")) in caught.value.remedy
    assert "pre-train on some classes" in caught.value.remedy


def test_damaged_weights_are_named(checkpoints):
    (checkpoints / weights_file("resnet18")).write_bytes(b"<html>not found</html>")
    with pytest.raises(CourseError, match="cannot be read") as caught:
        models.create_pretrained("resnet18")
    assert "in place of the damaged one" in caught.value.remedy


def test_unknown_networks_and_weights():
    with pytest.raises(CourseError, match="Did you mean 'vgg19'"):
        models.create_pretrained("vgg16")
    with pytest.raises(CourseError, match="Did you mean 'IMAGENET1K_V1'"):
        models.create_pretrained("resnet18", weights="imagenet1k_v1")


def test_offline_source_task_keeps_what_was_learned_but_the_head():
    torch.manual_seed(0)
    source = models.create("resnet20", width=0.5, num_classes=6)
    before = {key: tensor.clone() for key, tensor in source.state_dict().items()}
    target = models.train_only(models.replace_head(source, 4), ["features.layer3", "classifier"])
    X, y = torch.rand(4, 3, 16, 16), torch.tensor([0, 1, 2, 3])
    optimizer = torch.optim.SGD((p for p in target.parameters() if p.requires_grad), lr=0.1)
    logits = target(X)
    assert logits.shape == (4, 4)
    nn.functional.cross_entropy(logits, y).backward()
    optimizer.step()
    changed = {key for key, parameter in target.named_parameters() if not torch.equal(parameter, before[key])} - {
        "classifier.fc.weight",
        "classifier.fc.bias",
    }
    assert changed
    assert all(key.startswith("features.layer3") for key in changed)


@pytest.mark.parametrize("name", ["mlp_30", "conv_bn", "catdog_vgg", "resnet50"])
def test_head_of_every_kind_of_network_can_be_replaced(name):
    with torch.device("meta"):
        model = models.replace_head(models.create(name), 3)
    shape = (model.in_channels, model.image_size or 32, model.image_size or 32)
    assert model(torch.empty(2, *shape, device="meta")).shape == (2, 3)


def test_frozen_parts_must_exist():
    with pytest.raises(CourseError, match=r"Unknown part .*: 'layer4'.\n.*features.layer3, .*classifier"):
        models.train_only(models.create("resnet20"), ["layer4"])
    with pytest.raises(CourseError, match="at least one class"):
        models.replace_head(models.create("mlp_30"), 0)


def test_statistics_of_frozen_layers_are_kept_and_those_of_others_follow():
    torch.manual_seed(0)
    model = models.train_only(models.create("resnet20", width=0.5), ["features.layer3", "classifier"])
    models.keep_statistics(model)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items() if "running_mean" in key}
    model.train()(torch.rand(4, 3, 16, 16))
    changed = {key for key, mean in before.items() if not torch.equal(mean, model.state_dict()[key])}
    assert changed == {key for key in before if key.startswith("features.layer3")}
    assert model.features.layer3[0].bn1.training
    assert not model.eval().features.layer3[0].bn1.training
