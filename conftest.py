"""Wires nbval for `pytest --nbval notebooks/`; without --nbval nothing here acts."""

from __future__ import annotations

import os
import tempfile
import uuid

import pytest


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("nbval", default=False):
        return
    import nbval.kernel
    import nbval.plugin

    nbval.kernel.KernelManager = _kernel_manager(nbval.kernel.KernelManager)
    nbval.plugin.IPyNbCell.compare_outputs = _portable_comparison(nbval.plugin.IPyNbCell.compare_outputs)
    if not config.option.nbval_kernel_name:
        config.option.nbval_current_env = True  # a python3 kernel of the user's own may be another Python
    if getattr(config.option, "dist", "no") == "load":
        config.option.dist = "loadscope"  # the cells of a notebook share a kernel, so they need one worker


def _kernel_manager(base: type) -> type:
    """Kernels on Unix sockets of their own: on TCP two workers sometimes pick the same port."""
    if os.name == "nt":
        return base

    class SocketKernelManager(base):
        def __init__(self, **options):
            super().__init__(**options)
            self.transport = "ipc"
            # Short, because the path of a socket is limited to about 100 characters.
            self.ip = os.path.join(tempfile.gettempdir(), f"nbval-{uuid.uuid4().hex[:12]}")

    return SocketKernelManager


def _portable_comparison(compare_outputs):
    """Compare what `refresh` keeps: what it drops from the committed outputs is dropped from the new ones, too."""
    from cnncourse.pipeline.outputs import portable

    def compare(self, test, ref, skip_compare=None):
        return compare_outputs(self, portable(test), portable(ref), skip_compare)

    return compare
