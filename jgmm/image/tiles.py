"""Large images written tile by tile, so that what was interrupted goes on where it was.

Bands of compressed tiles are appended to a file, each with a checksum; when all are there, it
becomes a TIFF for each picture, which appears whole. What an interruption leaves is read again:
bands that are whole count, and the rest is cut off.
"""

from __future__ import annotations

import dataclasses
import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jgmm._atomic import write_by

NdArray = npt.NDArray[Any]
TILE = 256
_CLASSIC = 1 << 32  # bytes that the offsets of a TIFF reach, unless it is a BigTIFF
_SPARE = 1 << 26  # bytes for what a TIFF has beside its tiles and their places
_HEAD = struct.Struct("<8sQI")  # magic, length, checksum
_MAGIC = b"jgmmband"


@dataclasses.dataclass
class Bands:
    """A file of bands, each some compressed tiles for each picture, and a note.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     bands = Bands(Path(folder, "a.part"), "this run")
        ...     bands.add({"labels": np.zeros((256, 300), np.uint8)}, {"rows": 256})
        ...     again = Bands(Path(folder, "a.part"), "this run")
        ...     other = Bands(Path(folder, "a.part"), "another run")
        ...     again.notes, other.notes
        ([{'rows': 256}], [])
    """

    path: Path
    identity: str  # of what is written; a file of something else is begun anew
    notes: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    _places: list[int] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        """Take what is there."""
        end = self._take() if self.path.exists() else 0
        with self.path.open("r+b" if self.path.exists() else "w+b") as file:
            file.truncate(end)
            if end == 0:
                _append(file, self.identity.encode())

    def _take(self) -> int:
        """Take the bands of the file that are whole; where the last of them ends."""
        with self.path.open("rb") as file:
            if _record(file) != self.identity.encode():
                return 0
            end = file.tell()
            while (content := _record(file)) is not None:
                self.notes.append(_note(content)[0])
                self._places.append(end)
                end = file.tell()
            return end

    def add(self, pictures: Mapping[str, NdArray], note: Mapping[str, Any]) -> None:
        """One more band of each picture [h, W], of `TILE` rows but for the last."""
        tiles = {name: _tiles(values) for name, values in pictures.items()}
        about = {"sizes": {name: [len(t) for t in tiles[name]] for name in tiles}, "note": note}
        head = json.dumps(about).encode()
        parts = [struct.pack("<I", len(head)), head, *(t for name in tiles for t in tiles[name])]
        with self.path.open("r+b") as file:
            self._places.append(file.seek(0, os.SEEK_END))
            _append(file, b"".join(parts))
        self.notes.append(json.loads(json.dumps(note)))  # as it will be read

    def tiles(self, picture: str) -> Iterator[bytes]:
        """The compressed tiles of a picture, row by row."""
        with self.path.open("rb") as file:
            for place in self._places:
                file.seek(place)
                content = _record(file)
                assert content is not None
                yield from _tiles_of(content, picture)

    def write(
        self,
        path: Path,
        picture: str,
        shape: tuple[int, int],
        dtype: npt.DTypeLike = np.uint8,
        palette: NdArray | None = None,
        tags: Sequence[tuple[Any, ...]] = (),
    ) -> None:
        """Write a picture as a TIFF of tiles, BigTIFF where it takes that; whole or not at all.

        Args:
            path: the file.
            picture: its name.
            shape: of the picture.
            dtype: of its values.
            palette: colours [K, 3] uint8 that the values are shown in; None for grey.
            tags: more of them, as tifffile takes them.
        """
        import tifffile

        sizes = [len(tile) for tile in self.tiles(picture)]
        colours: dict[str, Any] = {"photometric": "minisblack"}
        if palette is not None:
            table = np.zeros((3, 256), np.uint16)
            table[:, : len(palette)] = palette.T.astype(np.uint16) * 257
            colours = {"photometric": "palette", "colormap": table}

        def write(file: Any) -> None:
            tifffile.imwrite(
                tifffile.FileHandle(file, name=path.name, size=0),  # which has no name itself
                self.tiles(picture),
                shape=shape,
                dtype=dtype,
                tile=(TILE, TILE),
                compression="zlib",
                bigtiff=is_big(sum(sizes), len(sizes)),
                metadata=None,
                extratags=tags,
                **colours,
            )

        write_by(path, write)


def is_big(n_bytes: int, n_tiles: int) -> bool:
    """Whether so many bytes of tiles make a TIFF that has to be a BigTIFF.

    Example:
        >>> is_big(1 << 31, 30_000), is_big(1 << 32, 60_000)
        (False, True)
    """
    return n_bytes + 8 * n_tiles + _SPARE > _CLASSIC  # each has an offset and a length of 4 bytes


def _tiles(values: NdArray) -> list[bytes]:
    height, width = values.shape
    whole = np.zeros((TILE, -(-width // TILE) * TILE), values.dtype)
    whole[:height, :width] = values
    return [
        zlib.compress(np.ascontiguousarray(whole[:, i : i + TILE]).tobytes(), 1)
        for i in range(0, width, TILE)
    ]


def _append(file: Any, content: bytes) -> None:
    file.write(_HEAD.pack(_MAGIC, len(content), zlib.crc32(content)))
    file.write(content)


def _record(file: Any) -> bytes | None:
    """The next record, if it is whole."""
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    magic, length, checksum = _HEAD.unpack(head)
    there = os.fstat(file.fileno()).st_size - file.tell()
    if magic != _MAGIC or length > there:
        return None
    content: bytes = file.read(length)
    return content if zlib.crc32(content) == checksum else None


def _tiles_of(content: bytes, picture: str) -> Iterator[bytes]:
    """Of a band the compressed tiles of a picture."""
    _, sizes, at = _note(content)
    for name, lengths in sizes.items():
        for length in lengths:
            if name == picture:
                yield content[at : at + length]
            at += length


def _note(content: bytes) -> tuple[dict[str, Any], dict[str, list[int]], int]:
    (length,) = struct.unpack_from("<I", content)
    about = json.loads(content[4 : 4 + length])
    return about["note"], about["sizes"], 4 + length
