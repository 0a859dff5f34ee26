"""``python -m mmsforensics``."""

from mmsforensics.cli import main

main()
