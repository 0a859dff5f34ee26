"""From evidence to a case folder.

Rules of this file:

* the case is built in a folder beside its place and renamed into it when it is whole: there is no half
  a case, and a run that is broken off leaves the old one as it was;
* nothing heavy is imported before the first capture is being hashed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from mmsforensics.case.custody import append_entry, environment
from mmsforensics.case.errors import CaseError
from mmsforensics.case.folder import CUSTODY, MANIFEST, Case, check_name, is_case, open_case
from mmsforensics.case.intake import Intake, Progress
from mmsforensics.evidence import hash_file
from mmsforensics.evidence.sources import STDIN, is_evidence, sources


def analyze(
    evidence: Iterable[str | os.PathLike[str]] | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    overlap: str = "first",
    merge: bool = False,
    show_secrets: bool = False,
    progress: Callable[[Progress], None] | None = None,
    compiling: Callable[[], None] | None = None,
) -> Case:
    """Analyse captures into a case folder.

    Parameters
    ----------
    evidence : iterable of paths, or one path
        Capture files, compressed or not; archives (zip, tar) and folders, whose captures are taken in order
        of name, what else lies in them being passed over; pipes, ``-`` for standard input. What is a capture
        its first bytes tell, or in a folder or an archive its name. Captures are read in the order of their
        time, whatever the order in which they are given, and what one begins another may end.
    out : path
        The case folder. It may not exist, or be a case, which is then replaced; its custody log goes on.
    overlap : str
        Whose bytes are kept where TCP segments overlap: a name of `streams.Policy`, in lower case. Both
        versions of bytes that differ are exported in any case.
    merge : bool
        Join partial copies of the same content, of several viewers, into media of the kind ``merged``.
    show_secrets : bool
        Tell passwords that were sent in clear. Without it they are masked in every table, which the manifest
        says.
    progress : callable, optional
        Called with a `Progress` several times a second, on a thread of its own.
    compiling : callable, optional
        Called once if the fast passes are compiled, which takes some 20 seconds on the first run.

    Returns
    -------
    Case

    Raises
    ------
    CaseError
        A path is missing, there is no evidence, there is no such policy, or `out` is something else than a
        case, or no UTF-8. Nothing has been written then.
    """
    names = evidence_names([evidence] if isinstance(evidence, str | os.PathLike) else evidence)
    target = Path(out)
    check_name(target.absolute())
    if target.exists() and not is_case(target):
        raise CaseError(f"{target}: exists and is no case folder; nothing was written")
    parent = target.absolute().parent
    if not parent.is_dir():
        raise CaseError(f"{parent}: no such folder to put the case in")
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=parent))
    work.chmod(0o755)
    spool = work / "spool"
    spool.mkdir()
    intake = None
    try:
        intake = Intake([s for name in names for s in sources(name, spool / "files")], spool, progress)
        intake.start()
        # Loaded only now: the first capture is being hashed meanwhile.
        from mmsforensics.case.build import build
        from mmsforensics.evidence.compiled import told_of_compiling

        with told_of_compiling(compiling):
            captures = build(work, intake, overlap, merge=merge, show_secrets=show_secrets)
        _log(work, target, captures)
        _put_in_place(work, target)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    finally:
        if intake is not None:
            intake.close()
    return open_case(target)


def evidence_names(evidence: Iterable[str | os.PathLike[str]]) -> list[str]:
    """The files meant by paths and folders, ``-`` for standard input.

    Raises
    ------
    CaseError
        A path does not exist, or none was given, or not one can be read.
    """
    names: list[str] = []
    for given in evidence:
        path = Path(given)
        if not os.fspath(given):
            raise CaseError("an empty path was given as evidence")
        if os.fspath(given) != STDIN and path.is_dir():
            names += [str(p) for p in sorted(path.iterdir()) if is_evidence(p)]
        else:
            names.append(os.fspath(given))
    if not names:
        raise CaseError(
            "no evidence: no capture file was given, and none lies in the folders given; "
            "folders in them are not searched"
        )
    for name in names:
        if name != STDIN and not Path(name).exists():
            raise CaseError(f"{name}: no such file")
    if not any(name == STDIN or os.access(name, os.R_OK) for name in names):
        raise CaseError(f"{names[0]}: can't be read")
    return names


def _log(work: Path, target: Path, captures: Sequence[dict[str, object]]) -> None:
    """Go on with the custody log of the case that is replaced, or begin one."""
    if is_case(target):
        shutil.copy2(target / CUSTODY, work / CUSTODY)
    containers = dict.fromkeys(c["container"] for c in captures if c["container"] is not None)
    append_entry(
        work / CUSTODY,
        "analyze",
        {
            "evidence": [_with_place(c) for c in captures],
            "containers": [_with_place({"path": name}) for name in containers],
            "case": str(target.absolute()),
            "environment": environment(),
            "manifest_sha256": hash_file(work / MANIFEST),
        },
    )


def _with_place(item: dict[str, object]) -> dict[str, object]:
    return {**item, "absolute_path": str(Path(str(item["path"])).absolute())}


def _put_in_place(work: Path, target: Path) -> None:
    if not target.exists():
        work.rename(target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.absolute().parent))
    target.rename(old / "case")
    try:
        work.rename(target)
    except BaseException:
        (old / "case").rename(target)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
