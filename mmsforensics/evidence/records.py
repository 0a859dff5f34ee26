"""Where the frames of a capture lie: what the walks over the rarer file formats find."""

from __future__ import annotations

import numpy as np

RECORD = np.dtype(
    [
        ("start", "i8"),  # file offset of the first captured byte of the frame
        ("ts", "i8"),  # ns since 1970-01-01 UTC
        ("captured", "i8"),
        ("wire", "i8"),
        ("link", "i8"),  # DLT
    ],
    align=True,
)
"""A frame of a capture. Structured rows, in the order of the file."""
