"""Previews of recovered media: key frames on one sheet, the waveform, a short clip for a web page.

Media from evidence are hostile. They are decoded in a confined process of their own
(:mod:`mmsforensics.preview.child`); its death costs the preview of that medium and nothing else.
"""

from mmsforensics.preview.decoding import Decoded, PreviewError, decode
from mmsforensics.preview.making import Preview, preview

__all__ = ["Decoded", "Preview", "PreviewError", "decode", "preview"]
