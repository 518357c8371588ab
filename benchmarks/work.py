"""Images to work on, and the ways of tutorials to get them."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision import transforms

from cnncourse.data import Split

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


def random_images(number: int, channels: int, size: int) -> Split:
    """Noise, which costs as much as CIFAR-10 or MNIST: uint8 of shape (number, channels, size, size)."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (number, channels, size, size), dtype=torch.uint8, generator=generator)
    return Split(images, torch.randint(0, 10, (number,), generator=generator))


class PILImages(Dataset):
    """What torchvision.datasets.CIFAR10 and MNIST do for each image: make a PIL image of it, and transform that."""

    def __init__(self, split: Split, transform):
        self.arrays = split.images.permute(0, 2, 3, 1).numpy()
        self.labels = split.labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, k: int):
        return self.transform(Image.fromarray(np.squeeze(self.arrays[k]))), self.labels[k]


def tutorial_transform(channels: int, size: int, augment: bool):
    """Crop with padding and flip (to `augment`), tensor, normalisation."""
    steps = [transforms.RandomCrop(size, padding=4), transforms.RandomHorizontalFlip()] if augment else []
    normalise = transforms.Normalize(MEAN[:channels], STD[:channels])
    return transforms.Compose([*steps, transforms.ToTensor(), normalise])
