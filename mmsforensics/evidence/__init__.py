"""Evidence files: read-only bytes in order, hashes and record boundaries.

The room knows how captures are written to disk and nothing of what the packets in them hold.
"""

from mmsforensics.evidence.files import Evidence, is_capture, open_evidence
from mmsforensics.evidence.hashing import hash_file
from mmsforensics.evidence.problem import Problem

__all__ = ["Evidence", "Problem", "hash_file", "is_capture", "open_evidence"]
