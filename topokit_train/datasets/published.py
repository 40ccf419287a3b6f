"""Published: datasets whose files are the same everywhere, verified by checksum, found locally or downloaded."""

from __future__ import annotations

import gzip
import hashlib
import logging
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import BinaryIO

from topokit.csr import require_memory
from topokit.errors import FileFormatError, TopokitError, needing

GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published dataset.

    Args:
        name: of the dataset, and of its folder below the data folder and in the cache.
        mirrors: addresses of folders that hold the downloads; the first one that answers is used.
        downloads: file on the mirrors -> its MD5: the tar archive, or a gzip file for each of `files`.
        files: file -> the MD5 of its content, unpacked; with its folder, if it is in an archive.
        archive: name of the tar archive; None if there is none.
    """

    name: str
    mirrors: tuple[str, ...]
    downloads: Mapping[str, str]
    files: Mapping[str, str]
    archive: str | None = None

    def read(self, data_dir: Path | None) -> list[bytes]:
        """Return the verified content of each file.

        The files, gzipped or not, or the archive are searched in data_dir/<name>, then in data_dir. Missing ones are
        downloaded into the cache.

        Raises:
            FileFormatError: a file in data_dir is damaged, or is not the published one.
            TopokitError: a file is missing and cannot be downloaded.
            TooLargeError: not enough free memory.
        """
        folders = [] if data_dir is None else [data_dir / self.name, data_dir]
        paths = [find(file, folders) for file in self.files]
        if self.archive and None in paths:
            return self._unpacked(find(self.archive, folders) or self._download(self.archive, folders))
        contents = []
        for path, (file, md5) in zip(paths, self.files.items(), strict=True):
            path = path or self._download(f"{file}.gz", folders)
            with opened(path) as stream:
                size = self._require_md5(path, stream, md5)
                require_memory(2 * size, f"reading {path}")
                contents.append(stream.read())
        return contents

    def _unpacked(self, archive: Path) -> list[bytes]:
        with archive.open("rb") as stream:
            self._require_md5(archive, stream, self.downloads[archive.name])
        with tarfile.open(archive) as tar:
            members = [tar.extractfile(file) for file in self.files]
            return [member.read() for member in members if member is not None]

    def _require_md5(self, path: Path, stream: BinaryIO | gzip.GzipFile, md5: str) -> int:
        """Return the size of a stream, which is then at its beginning again. Refuse another content."""
        found = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()  # type: ignore[arg-type]
        if found != md5:
            raise FileFormatError(
                f"{path} is not the published file of {self.name}: the MD5 of its content is {found}, not {md5}. "
                "Download it again, or remove it and topokit downloads it; your own images are `dataset` idx:FOLDER"
            )
        size = stream.tell()
        stream.seek(0)
        return size

    def _download(self, file: str, folders: list[Path]) -> Path:
        """Return the path of a download in the cache; pooch downloads it if necessary, and verifies it."""
        with needing(f"downloading {self.name}"):
            import pooch
        pooch.get_logger().setLevel(logging.getLogger("topokit").level)  # it prints the addresses of files
        cache = Path(pooch.os_cache("topokit")) / self.name
        failure: Exception | None = None
        for mirror in self.mirrors:
            try:
                return Path(pooch.retrieve(mirror + file, f"md5:{self.downloads[file]}", fname=file, path=cache))
            except (OSError, ValueError) as error:  # no network, no such file; another checksum
                failure = error
        raise TopokitError(
            f"{self.name} needs {', '.join(self.downloads)}: {file} is not in "
            f"{', '.join(map(str, [*folders, cache]))}, and the download failed ({shorten(str(failure), 120)}). "
            "Put the files into a folder, and give it as `data_dir` or TOPOKIT_DATA_DIR"
        )


def find(file: str, folders: list[Path]) -> Path | None:
    """Return the first file of that name, plain or with .gz, in the folders; None if there is none.

    A file that has a folder of its own is also found without it.
    """
    names = (file, f"{file}.gz", Path(file).name)
    candidates = (folder / name for folder in folders for name in names)
    return next((path for path in candidates if path.is_file()), None)


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO | gzip.GzipFile]:
    """Open a file, plain or gzipped, to read its content.

    Raises:
        FileFormatError: the gzip file is damaged.
    """
    with path.open("rb") as raw:
        gzipped = raw.read(2) == GZIP_MAGIC
        raw.seek(0)
        try:
            yield gzip.GzipFile(fileobj=raw) if gzipped else raw
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise FileFormatError(f"{path} is a damaged gzip file: {error}") from None
