"""The manifest `case.json`: what the case rests on and what it holds, with hashes, and no time of the run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import mmsforensics
from mmsforensics.analytics import SCHEMA_VERSION
from mmsforensics.case.folder import CUSTODY, MANIFEST
from mmsforensics.case.store import WrittenTable
from mmsforensics.evidence import hash_file


def write_manifest(
    root: Path,
    captures: Sequence[Mapping[str, object]],
    containers: Sequence[Mapping[str, object]],
    tables: Sequence[WrittenTable],
    media: Mapping[str, str],
    parameters: Mapping[str, object],
) -> None:
    """Write the manifest.

    `containers` are archives that evidence lay in; `media` gives the hashes of files that were hashed as they
    were written; `parameters` are those of the analysis.
    """
    content = {t.path: t for t in tables}
    outputs = []
    for path in sorted(p for p in root.rglob("*") if p.is_file() and p.name not in (MANIFEST, CUSTODY)):
        name = path.relative_to(root).as_posix()
        sha256 = media.get(name) or hash_file(path)
        output: dict[str, object] = {
            "path": name,
            "size": path.stat().st_size,
            "sha256": sha256,
        }
        if name in content:
            output["rows"] = content[name].rows
            output["content_sha256"] = content[name].content_sha256
        outputs.append(output)
    manifest = {
        "tool": "mmsforensics",
        "version": mmsforensics.__version__,
        "schema_version": SCHEMA_VERSION,
        "parameters": dict(parameters),
        "evidence": list(captures),
        "containers": list(containers),
        "outputs": outputs,
    }
    (root / MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="utf-8")
