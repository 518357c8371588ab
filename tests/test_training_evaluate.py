"""evaluate(): the numbers of scikit-learn, in evaluation mode, leaving the model as it was. And the losses by name."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss
from torch import nn

from cnncourse.data import Split
from cnncourse.data.batches import Batches
from cnncourse.errors import CourseError
from cnncourse.training import LOSSES, evaluate, evaluation_mode


def make_model(K: int = 4) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(48, K))


def split(N: int, K: int = 4) -> Split:
    generator = torch.Generator().manual_seed(N)
    images = torch.randint(0, 256, (N, 1, 6, 6), dtype=torch.uint8, generator=generator)
    return Split(images, torch.randint(0, K, (N,), generator=generator))


@settings(max_examples=20, deadline=None)
@given(N=st.integers(1, 40), batch=st.integers(1, 40))
def test_the_numbers_are_scikit_learns_whatever_the_batch_size(N, batch):
    part, model = split(N), make_model()
    result = evaluate(model, Batches(part, min(batch, N)))
    with torch.no_grad():
        logits = model.eval()(part.images / 255)
    y, predicted = part.labels.numpy(), logits.argmax(1).numpy()
    assert torch.equal(result.labels, part.labels)
    torch.testing.assert_close(result.logits, logits, rtol=1e-4, atol=1e-5)
    assert result.predictions.tolist() == predicted.tolist()
    assert result.accuracy == pytest.approx(accuracy_score(y, predicted))
    assert result.loss == pytest.approx(log_loss(y, logits.double().softmax(1).numpy(), labels=range(4)), rel=1e-4)
    assert result.confusion.tolist() == confusion_matrix(y, predicted, labels=range(4)).tolist()


def test_the_results_are_plain_tensors_on_the_cpu():
    result = evaluate(make_model(), Batches(split(7), 3))
    assert (result.logits.dtype, result.logits.shape, result.logits.requires_grad) == (torch.float32, (7, 4), False)
    assert (result.predictions.dtype, result.predictions.shape) == (torch.int64, (7,))
    assert (result.confusion.dtype, result.confusion.shape) == (torch.int64, (4, 4))
    assert repr(result) == "Evaluation(7 images, 4 classes)"


def test_each_module_gets_back_the_mode_it_had():
    model = make_model().train()
    model[1].eval()  # a frozen batch norm
    modes = [module.training for module in model.modules()]
    evaluate(model, Batches(split(7), 3))
    assert [module.training for module in model.modules()] == modes
    with evaluation_mode(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == modes


def test_an_error_does_not_leave_the_model_in_evaluation_mode():
    model = make_model().train()
    with pytest.raises(CourseError):
        evaluate(model, Batches(split(7), 3), loss=nn.MSELoss())
    assert model.training


def test_evaluation_changes_neither_the_model_nor_the_random_numbers():
    model = make_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    first = evaluate(model, Batches(split(20), 6))
    again = evaluate(model, Batches(split(20), 6))
    assert torch.equal(first.logits, again.logits)  # no dropout
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_model_without_anything_to_train_is_evaluated_too():
    model = make_model().requires_grad_(False)
    assert evaluate(model, Batches(split(5), 5)).logits.shape == (5, 4)
    assert evaluate(nn.Flatten(), [(torch.eye(4)[:, :, None], torch.arange(4))]).accuracy == 1


@pytest.mark.parametrize(
    ("batches", "options", "message"),
    [
        ([], {}, "no batch to work on"),
        (Batches(split(5, K=9), 5), {}, "the model's 4 outputs stand for the classes 0 to 3"),
        (Batches(split(5), 5, num_classes=10), {}, "The model has 4 outputs, but the data have 10 classes"),
        ([(torch.zeros(2, 3, 6, 6), torch.zeros(2, dtype=torch.int64))], {}, "cannot take images of shape"),
        (Batches(split(5), 5), {"loss": "accuracy"}, "Unknown loss 'accuracy'"),
        (Batches(split(5), 5), {"loss": nn.MSELoss()}, "MSELoss does not fit"),
        (Batches(split(5), 5), {"device": "cuda:77"}, "no device"),
    ],
)
def test_bad_input_is_named(batches, options, message):
    with pytest.raises(CourseError, match=message):
        evaluate(make_model(), batches, **options)


def test_running_out_of_memory_is_explained():
    class Greedy(nn.Module):
        def forward(self, X):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with pytest.raises(CourseError, match=r"not enough memory to evaluate the model: CUDA out of memory"):
        evaluate(Greedy(), Batches(split(5), 5))


@settings(max_examples=20, deadline=None)
@given(N=st.integers(1, 6), K=st.integers(2, 5), seed=st.integers(0, 1000))
def test_losses_are_means_over_images_and_outputs_of_their_formulas(N, K, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(N, K, generator=generator, dtype=torch.float64)
    y = torch.randint(0, K, (N,), generator=generator)
    target = F.one_hot(y, K).double()
    gap = (logits - target).abs()
    p = logits.sigmoid()
    expected = {
        "cross_entropy": -logits.softmax(1)[torch.arange(N), y].log().mean(),
        "mse": (gap**2).mean(),
        "smooth_l1": torch.where(gap < 1, gap**2 / 2, gap - 0.5).mean(),
        "bce_with_logits": -(target * p.log() + (1 - target) * (1 - p).log()).mean(),
    }
    assert expected.keys() == LOSSES.keys()
    for name, value in expected.items():
        torch.testing.assert_close(LOSSES[name](logits, y), value)
