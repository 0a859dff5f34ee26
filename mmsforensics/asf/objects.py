"""All declared objects by their GUID."""

from __future__ import annotations

from mmsforensics.asf.extension_objects import EXTENSION_OBJECTS
from mmsforensics.asf.guids import guid_of
from mmsforensics.asf.header_objects import HEADER_OBJECTS
from mmsforensics.asf.layout import Layout
from mmsforensics.asf.top_level_objects import TOP_LEVEL_OBJECTS

LAYOUTS: dict[bytes, tuple[str, Layout]] = {
    guid_of(name): (section, layout)
    for name, section, layout in HEADER_OBJECTS + EXTENSION_OBJECTS + TOP_LEVEL_OBJECTS
}
"""Section of the specification and layout by GUID; a section is empty where no specification declares one."""
