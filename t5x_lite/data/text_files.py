"""Files as text, whatever they are packed with (gzip, zstd, bzip2, xz, zip) and whichever Unicode they are in."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import pathlib
import zipfile
import zlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any, BinaryIO, TextIO

import fsspec

from t5x_lite.console import log
from t5x_lite.data.wildcards import is_wanted
from t5x_lite.errors import InputError
from t5x_lite.foreign.pointers import refuse_pointer

Records = Iterator[tuple[str, Any]]  # (place, record)
WHERE = "data.source"

# By the file's ending, what packed it. fsspec knows the first three; pyarrow brings zstd.
PACKED = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd", ".zip": "zip"}

# The longer marks first: UTF-32's begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What a file begins with that is no text, though its ending says so.
_NO_TEXT = (
    (b"\x1f\x8b", "gzip-compressed: give it the ending .gz"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed: give it the ending .zst"),
    (b"PK\x03\x04", "a zip archive or an Excel workbook: save the sheet as CSV UTF-8"),
    (b"PAR1", "a Parquet file: give it the ending .parquet"),
)
# What a server answers in place of a file: a page to sign in on, or one that shows the file.
_PAGE = (b"<!doctype html", b"<html")
_HEAD = 4096
# What a packed file that is broken, or is none, makes its reader say.
_BROKEN = (OSError, EOFError, zlib.error, zipfile.BadZipFile, gzip.BadGzipFile, ImportError)


def packing(path: str) -> str | None:
    """What the ending says the file is packed with, or None."""
    return PACKED.get(pathlib.PurePath(path).suffix.lower())


def unpacked_name(path: str) -> str:
    """The path without the ending of what packed it."""
    return path[: -len(pathlib.PurePath(path).suffix)] if packing(path) else path


@contextlib.contextmanager
def open_bytes(path: str, where: str) -> Iterator[BinaryIO]:
    """The unpacked bytes of a file, local or remote. `where` names it in messages, e.g. "data.source".

    Raises:
      InputError: a file that is not there, cannot be unpacked, or a zip archive of several files.
    """
    kind = packing(path)
    try:
        with contextlib.ExitStack() as stack:
            known = kind if kind in ("gzip", "bz2", "xz") else None
            file: Any = stack.enter_context(fsspec.open(path, "rb", compression=known))
            if kind == "zstd":
                import pyarrow

                file = stack.enter_context(pyarrow.CompressedInputStream(file, "zstd"))
            elif kind == "zip":
                archive = stack.enter_context(zipfile.ZipFile(file))
                file = stack.enter_context(archive.open(_only_member(archive, path, where)))
            yield file
    except FileNotFoundError as error:
        raise InputError(f"{where}: there is no file {path}") from error
    except _BROKEN as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{where}: cannot read {path} ({reason})") from error


@contextlib.contextmanager
def open_text(path: str, where: str, *, newline: str | None = None) -> Iterator[TextIO]:
    """The text of a file: UTF-8, with or without a byte order mark, or UTF-16 or UTF-32.

    Nothing is guessed beyond that: the single-byte encodings (cp1252, latin-1) cannot be told apart.

    newline: as `open` has it.

    Raises:
      InputError: as `open_bytes`; bytes that are no such text, with the line of the first.
    """
    with open_bytes(path, where) as file:
        head = file.read(_HEAD)
    refuse_pointer(head, path)
    if head.lstrip().lower().startswith(_PAGE):
        raise InputError(f"{where}: {path} is a web page; download the file itself (the raw one)")
    encoding = _encoding(head)
    try:
        with open_bytes(path, where) as file:
            yield io.TextIOWrapper(file, encoding=encoding, newline=newline)
    except UnicodeDecodeError as error:
        raise InputError(_not_text(path, where, head, encoding, error)) from error


def refuse_zeros(text: str, place: str) -> None:
    """Refuses what is nothing but zero bytes, as a machine that stopped while it wrote leaves them.

    Raises:
      InputError: with how many there are.
    """
    if "\0" in text and not text.strip("\0\r\n\t \x1a"):
        raise InputError(
            f"{place}: {text.count(chr(0))} zero bytes in place of a row, as a write that was cut off leaves them;"
            " copy the file again, or remove them"
        )


def refuse_twice(header: Sequence[str], wanted: Collection[str], place: str) -> None:
    """Refuses a wanted column that is there twice.

    Raises:
      InputError: with its name.
    """
    if twice := [name for name in dict.fromkeys(header) if header.count(name) > 1]:
        if any(is_wanted(name, wanted) for name in twice):
            raise InputError(
                f"{place}: the column {twice[0]!r} is there {header.count(twice[0])} times; rename all but one"
            )
        log.info("%s: the column %r is there several times; the last one is read", place, twice[0])


def _encoding(head: bytes) -> str:
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    # UTF-16 without a mark: the other byte of each ASCII character is zero, and no text holds U+0000.
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if max(even, odd) > len(head) // 8 and not min(even, odd):
        return "utf-16-le" if odd else "utf-16-be"
    return "utf-8"


def _not_text(path: str, where: str, head: bytes, encoding: str, error: UnicodeDecodeError) -> str:
    for start, message in _NO_TEXT:
        if head.startswith(start):
            return f"{where}: {path} is {message}"
    if not encoding.startswith("utf-8"):
        return f"{where}: cannot read {path} as {encoding} ({error.reason}); save it as UTF-8"
    with open_bytes(path, where) as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as at:
                return (
                    f"{path}:{number}: the byte 0x{line[at.start]:02x} is no UTF-8; save the file as UTF-8 (one that"
                    " Windows wrote is often cp1252: iconv -f cp1252 -t utf-8 OLD > NEW)"
                )
    return f"{where}: cannot read {path} as UTF-8 ({error.reason}); save it as UTF-8"


def _only_member(archive: zipfile.ZipFile, path: str, where: str) -> str:
    # macOS adds a shadow of each file below __MACOSX.
    names = [
        name
        for name in archive.namelist()
        if not name.endswith("/") and not name.startswith("__MACOSX")
    ]
    if len(names) != 1:
        raise InputError(
            f"{where}: {path} holds {len(names)} files ({', '.join(names[:5])}); unpack it and name one"
        )
    return names[0]
