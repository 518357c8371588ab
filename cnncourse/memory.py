"""Running out of memory, said kindly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cnncourse.errors import CourseError


class NotEnoughMemory(CourseError):
    """Memory ran out, on any device."""


@contextmanager
def out_of_memory_explained(doing: str, remedy: str) -> Iterator[None]:
    """Turn torch's out-of-memory errors, on any device, into a CourseError (:class:`NotEnoughMemory`).

    Parameters
    ----------
    doing : str
        What needs the memory, as the end of "There is not enough memory ...".
    remedy : str
        What to do about it.
    """
    import torch

    try:
        yield
    except RuntimeError as error:  # torch.OutOfMemoryError is one; the allocator of the CPU has no class of its own
        if not isinstance(error, torch.OutOfMemoryError) and "DefaultCPUAllocator" not in str(error):
            raise
        raise NotEnoughMemory(
            f"There is not enough memory {doing}: {_sentence(str(error))}.",
            f"{remedy} Memory of earlier runs is freed when nothing refers to them: restart the kernel to be sure.",
        ) from error


def _sentence(message: str) -> str:
    """The telling part of torch's message: no source position in front, no advice behind."""
    return message.partition("DefaultCPUAllocator: ")[2] or message.partition(". ")[0].rstrip(".")
