"""A case as its users open it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mmsforensics.analytics import SCHEMA_VERSION, TABLES
from mmsforensics.case.errors import CaseError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.dataset as ds

MANIFEST = "case.json"
CUSTODY = "custody.jsonl"


def is_case(path: Path) -> bool:
    """Whether a folder is a case."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and manifest.get("tool") == "mmsforensics"


class Case:
    """An open case folder.

    Each table is a property that gives a pandas DataFrame with Arrow types: ``case.sessions``,
    ``case.events``, ``case.media``, …; `arrow` gives a lazy dataset for the large ones.
    """

    def __init__(self, path: Path, manifest: Mapping[str, object]) -> None:
        self.path = path
        self.manifest = manifest

    def __repr__(self) -> str:
        return f"Case({str(self.path)!r})"

    def __getattr__(self, name: str) -> pd.DataFrame:
        if name in TABLES:
            return self.frame(name)
        raise AttributeError(f"a case has no table {name!r}; it has {', '.join(TABLES)}")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *TABLES]

    def arrow(self, name: str) -> ds.Dataset:
        """A table as a lazy Arrow dataset.

        Raises
        ------
        KeyError
            There is no such table.
        CaseError
            Its file is missing or damaged.
        """
        import pyarrow as pa
        import pyarrow.dataset as ds

        try:
            return ds.dataset(self._parts(name), format="parquet")
        except pa.ArrowInvalid as error:
            raise self._damaged(name, error) from error

    def table(self, name: str) -> pa.Table:
        """A table in memory.

        Raises
        ------
        KeyError
            There is no such table.
        CaseError
            Its file is missing or damaged.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        # Not by way of a dataset, which loads pandas: a fifth of a second of each command.
        try:
            return pa.concat_tables([pq.ParquetFile(part).read() for part in self._parts(name)])
        except (pa.ArrowInvalid, OSError) as error:
            raise self._damaged(name, error) from error

    def _parts(self, name: str) -> list[Path]:
        if name not in TABLES:
            raise KeyError(f"no table {name!r}; there are {', '.join(TABLES)}")
        folder = self.path / "tables" / name
        parts = sorted(folder.glob("*.parquet"))
        if not parts:
            raise CaseError(f"{folder}: no file of the table is there; see: mmsforensics verify {self.path}")
        return parts

    def _damaged(self, name: str, error: Exception) -> CaseError:
        folder = self.path / "tables" / name
        return CaseError(f"{folder}: can't be read; see: mmsforensics verify {self.path} ({error})")

    def frame(self, name: str) -> pd.DataFrame:
        """A table as a DataFrame with Arrow types; times are ``timestamp[ns, tz=UTC]``.

        Raises
        ------
        KeyError
            There is no such table.
        CaseError
            Its file is missing or damaged.
        """
        import pandas as pd

        return self.table(name).to_pandas(types_mapper=pd.ArrowDtype)

    def media_path(self, media_id: str) -> Path:
        """The file of a recovered medium.

        Raises
        ------
        KeyError
            There is no such medium.
        """
        found = {row["media_id"]: row["path"] for row in self.table("media").to_pylist()}
        return self.path / str(found[media_id])

    @property
    def problems(self) -> list[str]:
        """What is wrong with the evidence, in words."""
        evidence = self.manifest.get("evidence")
        assert isinstance(evidence, list)
        return [problem for capture in evidence for problem in capture["problems"]]


def check_name(path: Path) -> None:
    """Refuse a case folder by whose name its tables can't be opened: Arrow takes UTF-8 alone.

    Raises
    ------
    CaseError
        Its path is no UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise CaseError(f"{path}: the path of a case must be UTF-8; choose another") from None


def open_case(path: str | os.PathLike[str]) -> Case:
    """Open a case folder.

    Raises
    ------
    CaseError
        It is not one, its path is no UTF-8, its manifest is damaged, or it was written by a later version
        with another schema.
    """
    root = Path(path)
    if not is_case(root):
        raise CaseError(f"{root}: no case folder ({MANIFEST} is missing or not ours)")
    check_name(root)
    manifest = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
    schema = manifest.get("schema_version")
    if not isinstance(schema, int) or not isinstance(manifest.get("evidence"), list):
        raise CaseError(f"{root / MANIFEST}: is damaged: it does not say of what evidence and schema it is")
    if schema > SCHEMA_VERSION:
        raise CaseError(
            f"{root}: has schema {schema}, made by version {manifest.get('version')}; "
            f"this version reads schemas up to {SCHEMA_VERSION}"
        )
    return Case(root, manifest)


__all__ = ["CUSTODY", "MANIFEST", "Case", "check_name", "is_case", "open_case"]
