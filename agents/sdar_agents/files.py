"""Files that are whole or absent: written under another name, forced to the disk, then renamed."""

from __future__ import annotations

import os
import shutil
import socket
import time
import uuid
import zlib
from pathlib import Path

WHOLE_BYTES = 256 * 2**20
"""Files up to this size are summed in full; of larger ones, `SAMPLES` blocks."""
BLOCK_BYTES = 2**20
SAMPLES = 64
ABANDONED_SECONDS = 3600.0


def write_text(file: Path, text: str) -> None:
    """Replace a text file; a kill at any moment leaves the old text or the new one."""
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    _sync(partial)
    partial.replace(file)
    _sync(file.parent)


def sync_tree(folder: Path) -> None:
    """Force every file of a folder, and the folders that name them, to the disk."""
    for path in sorted(folder.rglob("*"), reverse=True):
        _sync(path)
    _sync(folder)


def rename(source: Path, target: Path) -> None:
    """Rename within a folder and force the new name to the disk."""
    source.rename(target)
    _sync(target.parent)


def remove_tree(folder: Path) -> None:
    """Delete a folder; a kill on the way leaves nothing under its name that looks whole."""
    doomed = folder.with_name(partial_name("deleted"))
    rename(folder, doomed)
    shutil.rmtree(doomed)


def partial_name(what: str) -> str:
    """Name of a folder that is being written or deleted by this process."""
    return f".partial-{what}-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def remove_abandoned(parent: Path) -> list[Path]:
    """Delete what killed processes left under a `partial_name`; what was deleted.

    A process of this machine is asked for by its number. Where that says nothing (another machine of a shared disk, a
    number that was given to another process), a folder that nobody has written to for an hour is abandoned.
    """
    abandoned = [folder for folder in sorted(parent.glob(".partial-*")) if _is_abandoned(folder)]
    for folder in abandoned:
        shutil.rmtree(folder, ignore_errors=True)
    return abandoned


def _is_abandoned(folder: Path) -> bool:
    head, _, _ = folder.name.rpartition("-")
    host, _, process = head.partition("-")[2].partition("-")[2].rpartition("-")
    if host == socket.gethostname() and process.isdigit() and not _is_alive(int(process)):
        return True
    newest = max((path.stat().st_mtime for path in (folder, *folder.rglob("*"))), default=0.0)
    return time.time() - newest > ABANDONED_SECONDS


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def checksum(file: Path) -> str:
    """CRC-32 of a file, in hex: of all of it up to 256 MiB, else of 64 evenly spaced blocks, the last one included.

    A shortened file shows in its size; this finds bytes that were changed. It has to stay cheap beside writing.
    """
    size = file.stat().st_size
    value = 0
    with file.open("rb") as stream:
        if size <= WHOLE_BYTES:
            while block := stream.read(BLOCK_BYTES):
                value = zlib.crc32(block, value)
        else:
            for sample in range(SAMPLES):
                stream.seek((size - BLOCK_BYTES) * sample // (SAMPLES - 1))
                value = zlib.crc32(stream.read(BLOCK_BYTES), value)
    return f"{value:08x}"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
