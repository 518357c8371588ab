"""Many NumpyMLPs trained at once: the same arithmetic on torch, one batched matrix product per layer for all of them.

A sweep over seeds and learning rates trains many copies of one small network. One after the other, in float64, they
take about four times as long as stacked in float32. The stack starts from the very weights of the NumPy networks and
visits the same mini-batches, so that in float64 it repeats them to rounding error; tests hold it to that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from cnncourse.errors import CourseError
from cnncourse.models.numpy_mlp import LOSS_FLOOR, NumpyMLP, Rng, minibatches

if TYPE_CHECKING:
    import torch


class History(NamedTuple):
    """What :meth:`StackedMLP.fit` measured after each epoch; both arrays have shape (num_members, num_epochs)."""

    loss: np.ndarray
    accuracy: np.ndarray

    def take(self, members: slice | Sequence[int]) -> History:
        """The rows of some members."""
        return History(self.loss[members], self.accuracy[members])


class StackedMLP:
    """Networks of one shape, trained side by side.

    Parameters
    ----------
    members : sequence of NumpyMLP
        Give the starting weights; they are copied and stay as they are.
    device : str or torch.device
    dtype : torch.dtype, optional
        float32 by default.
    """

    def __init__(
        self,
        members: Sequence[NumpyMLP],
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
    ):
        import torch

        if len({member.dims for member in members}) != 1:
            raise CourseError(
                "Only networks of one shape can be stacked, and at least one is needed; got "
                f"{sorted({member.dims for member in members})}.",
                "Make one stack for each shape.",
            )
        self.dims = members[0].dims
        self.dtype = dtype or torch.float32
        self.device = torch.device(device)

        def stack(arrays: list[np.ndarray]) -> torch.Tensor:
            # Cast before stacking: float64 copies of all members at once would take twice the memory.
            return torch.stack([torch.as_tensor(a).to(self.dtype) for a in arrays]).to(self.device)

        depth = range(len(self.dims) - 1)
        self.weights = [stack([member.weights[k] for member in members]) for k in depth]  # (M, fan_in, fan_out)
        self.biases = [stack([member.biases[k][None] for member in members]) for k in depth]  # (M, 1, fan_out)

    def __len__(self) -> int:
        return len(self.weights[0])

    def member(self, k: int) -> NumpyMLP:
        """A NumPy copy of member `k`, in float64."""
        network = NumpyMLP(self.dims, "zero")
        network.weights = [W[k].double().cpu().numpy() for W in self.weights]
        network.biases = [b[k, 0].double().cpu().numpy() for b in self.biases]
        return network

    def finite(self) -> np.ndarray:
        """For each member, whether all its parameters are finite numbers; bool, shape (M,)."""
        import torch

        flags = [torch.isfinite(array).flatten(1).all(dim=1) for array in (*self.weights, *self.biases)]
        return torch.stack(flags).all(dim=0).cpu().numpy()

    def forward(self, X: torch.Tensor) -> list[torch.Tensor]:
        """Activations of all layers, the class probabilities last; each of shape (M, m, width).

        Parameters
        ----------
        X : tensor of shape (M, m, dims[0]), or (m, dims[0]) for images that all members share
            Images as rows of pixels.
        """
        import torch

        activations = [X]
        for W, b in zip(self.weights, self.biases, strict=True):
            pre = torch.baddbmm(b, activations[-1].expand(len(self), -1, -1), W)
            activations.append(pre.relu_() if W is not self.weights[-1] else torch.softmax(pre, dim=2))
        return activations

    def step(self, X: torch.Tensor, y: torch.Tensor, rates: torch.Tensor) -> None:
        """One update of every member.

        Parameters
        ----------
        X : tensor of shape (M, m, dims[0])
            Each member's own images.
        y : int64 tensor of shape (M, m)
            Right classes.
        rates : tensor of shape (M, m, 1)
            Learning rate of the member divided by the number of images in its batch; 0 leaves an image out.
        """
        activations = self.forward(X)
        # As in NumpyMLP.backward, except that the rate is multiplied in here, where the array is smallest. All the
        # deltas below inherit it, and each update becomes a single W += h^T delta.
        delta = activations[-1]
        labels = y.unsqueeze(2)
        delta.scatter_(2, labels, delta.gather(2, labels) - 1)
        delta.mul_(-rates)
        for k in reversed(range(len(self.weights))):
            W, h = self.weights[k], activations[k]
            below = delta @ W.transpose(1, 2) * (h > 0) if k > 0 else None
            W.baddbmm_(h.transpose(1, 2), delta)
            self.biases[k].add_(delta.sum(dim=1, keepdim=True))
            delta = below

    def evaluate(
        self, X: torch.Tensor, y: torch.Tensor, batch_size: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean loss in nats (floor 1e-8, NaN counted as 0, as :meth:`NumpyMLP.evaluate`) and accuracy in percent.

        Parameters
        ----------
        X : tensor of shape (m, dims[0])
            Images as rows of pixels, the same for all members.
        y : int64 tensor of shape (m,)
            Right classes.
        batch_size : int, optional
            Images that are in memory at a time, for each member; by default fewer the more members there are.

        Returns
        -------
        loss, accuracy : float64 arrays of shape (M,)
        """
        import torch

        batch_size = batch_size or max(100, 20_000 // len(self))
        loss = torch.zeros(len(self), dtype=torch.float64)  # on the CPU: MPS has no float64
        right = torch.zeros(len(self), dtype=torch.int64)
        for start in range(0, len(y), batch_size):
            probs = self.forward(X[start : start + batch_size])[-1]
            labels = y[start : start + batch_size].expand(len(self), -1)
            p = probs.gather(2, labels.unsqueeze(2)).squeeze(2)
            loss += (p + LOSS_FLOOR).log().neg().nan_to_num(nan=0.0).sum(dim=1).cpu()
            right += (probs.argmax(dim=2) == labels).sum(dim=1).cpu()
        return (loss / len(y)).numpy(), (100 * right.double() / len(y)).numpy()

    def fit(
        self,
        X: np.ndarray | torch.Tensor,
        y: np.ndarray | torch.Tensor,
        *,
        lr: float | Sequence[float],
        batch_size: int,
        num_epochs: int,
        rngs: Sequence[int | Rng],
        evaluate_on: Mapping[str, tuple[np.ndarray | torch.Tensor, np.ndarray | torch.Tensor]],
        shuffle: Literal["batches", "images"] = "batches",
        progress: str | None = None,
    ) -> dict[str, History]:
        """Train all members, each at its own rate and in its own order of batches.

        Parameters
        ----------
        X : array or tensor of shape (num_images, dims[0])
            Images as rows of pixels.
        y : integer array or tensor of shape (num_images,)
            Right classes.
        lr : float, or one float for each member
            Learning rate.
        batch_size, num_epochs : int
            The same for all members.
        rngs : one int, Generator or RandomState for each member
            Draws the order of the batches, see :func:`~cnncourse.models.numpy_mlp.minibatches`; an int seeds a fresh
            ``RandomState``.
        evaluate_on : mapping of name to (images, labels)
            Parts on which loss and accuracy are measured after each epoch.
        shuffle : {"batches", "images"}
            What is shuffled each epoch, see :func:`~cnncourse.models.numpy_mlp.minibatches`.
        progress : str, optional
            Show a progress bar with this label on stderr.

        Returns
        -------
        dict of History, one for each key of `evaluate_on`
        """
        import torch
        from tqdm import tqdm

        if len(rngs) != len(self):
            raise CourseError(f"{len(self)} members need as many sources of batch order, got {len(rngs)}.")
        rngs = [np.random.RandomState(r) if isinstance(r, int | np.integer) else r for r in rngs]
        X, y = self._images(X), self._labels(y)
        parts = {name: (self._images(a), self._labels(b)) for name, (a, b) in evaluate_on.items()}
        lr = torch.as_tensor(lr, dtype=self.dtype, device=self.device).expand(len(self))
        losses: dict[str, list[np.ndarray]] = {name: [] for name in parts}
        accuracies: dict[str, list[np.ndarray]] = {name: [] for name in parts}
        num_steps = -(-len(y) // batch_size)
        with torch.no_grad(), tqdm(total=num_epochs * num_steps, desc=progress, disable=progress is None) as bar:
            for _ in range(num_epochs):
                order, share = self._epoch(len(y), batch_size, rngs, shuffle)
                for step in range(num_steps):
                    batch = order[:, step]
                    self.step(X[batch], y[batch], share[:, step] * lr[:, None, None])
                    bar.update()
                for name, part in parts.items():
                    loss, accuracy = self.evaluate(*part)
                    losses[name].append(loss)
                    accuracies[name].append(accuracy)
        return {name: History(np.stack(losses[name], 1), np.stack(accuracies[name], 1)) for name in parts}

    def _epoch(self, num_images: int, batch_size: int, rngs: Sequence[Rng], shuffle: str):
        """Indices (M, steps, batch_size) and shares in the mean (M, steps, batch_size, 1) of one epoch's batches.

        The short batch comes at another step for each member, so it is filled up with image 0 at share 0.
        """
        import torch

        num_steps = -(-num_images // batch_size)
        order = np.zeros((len(self), num_steps, batch_size), np.int64)
        share = np.zeros((len(self), num_steps, batch_size, 1))
        for k, rng in enumerate(rngs):
            for step, batch in enumerate(minibatches(num_images, batch_size, rng, shuffle)):
                order[k, step, : len(batch)] = batch
                share[k, step, : len(batch)] = 1 / len(batch)
        return torch.as_tensor(order).to(self.device), torch.as_tensor(share).to(self.device, self.dtype)

    def _images(self, X: np.ndarray | torch.Tensor) -> torch.Tensor:
        import torch

        return torch.as_tensor(X).to(self.device, self.dtype)

    def _labels(self, y: np.ndarray | torch.Tensor) -> torch.Tensor:
        import torch

        return torch.as_tensor(y).to(self.device, torch.int64)
