"""Where a model computes, in which memory layout and in which precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Placement:
    """Device, memory layout and precision of a run.

    Attributes
    ----------
    device : torch.device
    channels_last : bool
        Whether images lie in memory pixel by pixel (NHWC), which many convolution kernels prefer. Shapes stay NCHW.
    bfloat16 : bool
        Whether the forward pass uses bfloat16 where torch holds it safe. Never on the CPU, where it is slower.
    """

    device: torch.device
    channels_last: bool = False
    bfloat16: bool = False

    @classmethod
    def of(
        cls,
        model: nn.Module,
        device: str | torch.device | None,
        *,
        mixed_precision: bool = False,
        channels_last: bool = False,
    ) -> Placement:
        """The placement asked for; without a device, where the model is. CourseError when there is no such device."""
        from cnncourse.session import resolve_device

        if device is None:
            device = next(model.parameters(), torch.empty(0)).device
        device = torch.device(resolve_device(str(device)))
        return cls(device, channels_last, mixed_precision and device.type == "cuda")

    def model(self, model: nn.Module) -> None:
        """Move a model, in place."""
        model.to(self.device)
        if self.channels_last:
            model.to(memory_format=torch.channels_last)

    def __call__(self, X: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Move a batch; costs nothing when it is there already."""
        X, y = X.to(self.device, non_blocking=True), y.to(self.device, non_blocking=True)
        if self.channels_last and X.ndim == 4:
            X = X.contiguous(memory_format=torch.channels_last)
        return X, y

    def precision(self) -> AbstractContextManager:
        """Context for the forward pass and the loss."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.bfloat16 else nullcontext()
