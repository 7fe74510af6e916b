"""How much memory the machine has, so that a model is kept where there is room and loaded again where there is none."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup/memory.max")
"""Where Linux says what a container may use; "max" where nothing limits it."""


def total(device: str) -> int | None:
    """Bytes of the device's memory, used or not; None where the system does not tell.

    What is free now changes from one minute to the next, and with it would change what a run does.
    """
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not on Windows
        return None
    try:
        limit = _CGROUP.read_text().strip()
    except OSError:
        return physical
    return min(physical, int(limit)) if limit.isdigit() else physical
