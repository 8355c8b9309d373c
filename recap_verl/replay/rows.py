"""From one domain name per row to the rows of each domain, in little memory."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa

# Rows handled at a time: bounds the temporary strings and sort buffers to some 20 MB.
CHUNK = 2**18
MAX_DOMAINS = 2**16


def encode_domains(domains) -> tuple[list[str], np.ndarray]:
    """Number the domains in the order of their names.

    Args:
        domains: one name per row: a sequence of str, a numpy array of str, or a pyarrow array or chunked array of
            strings, dictionary-encoded or not.

    Returns:
        ``(names, codes)``: the sorted names, and ``(rows,)`` uint16 positions in them.

    Raises:
        TypeError: a name that is not a str.
        ValueError: no rows, a missing name (the message gives the row), or more than 65,536 names.
    """
    if not isinstance(domains, (pa.Array, pa.ChunkedArray, np.ndarray, list)):
        domains = list(domains)
    if isinstance(domains, np.ndarray) and domains.ndim != 1:
        raise ValueError(f"domains must have one dimension, one name per row, not the shape {domains.shape}.")
    if len(domains) == 0:
        raise ValueError("domains is empty: the data set has no rows.")
    numbers: dict[str, int] = {}
    codes = np.empty(len(domains), dtype=np.uint16)
    for start in range(0, len(domains), CHUNK):
        for first, chunk in _string_arrays(domains[start : start + CHUNK], start):
            codes[first : first + len(chunk)] = _encode_chunk(chunk, first, numbers)
    names = sorted(numbers)
    rank = np.empty(len(names), dtype=np.uint16)
    rank[[numbers[name] for name in names]] = np.arange(len(names), dtype=np.uint16)
    for start in range(0, len(codes), CHUNK):
        codes[start : start + CHUNK] = rank[codes[start : start + CHUNK]]
    return names, codes


def rows_by_domain(codes: np.ndarray, n_domains: int) -> list[np.ndarray]:
    """The ascending row indices of each domain: views into one ``(rows,)`` table."""
    starts = np.zeros(n_domains + 1, dtype=np.int64)
    for start in range(0, len(codes), CHUNK):
        starts[1:] += np.bincount(codes[start : start + CHUNK], minlength=n_domains)
    starts = np.cumsum(starts)
    table = np.empty(len(codes), dtype=np.int32 if len(codes) < 2**31 else np.int64)
    free = starts[:-1].copy()
    # A stable counting sort by chunks: one argsort of the whole would hold two 64-bit copies of it.
    for start in range(0, len(codes), CHUNK):
        chunk = codes[start : start + CHUNK]
        counts = np.bincount(chunk, minlength=n_domains)
        shift = free - (np.cumsum(counts) - counts)
        table[np.arange(len(chunk)) + np.repeat(shift, counts)] = start + np.argsort(chunk, kind="stable")
        free += counts
    return [table[low:high] for low, high in pairwise(starts)]


def _string_arrays(part, first: int) -> Iterator[tuple[int, pa.Array]]:
    """The arrow string arrays of a part of the rows, each with its first row."""
    chunks = part.chunks if isinstance(part, pa.ChunkedArray) else [part]
    for chunk in chunks:
        array = chunk if isinstance(chunk, pa.Array) else _from_python(chunk, first)
        # Decoding drops unused, repeated and null dictionary entries.
        array = array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
        if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
            raise TypeError(f"domains must hold names (str), not {array.type}.")
        yield first, array
        first += len(array)


def _from_python(part: Sequence | np.ndarray, first: int) -> pa.Array:
    values = part.tolist() if isinstance(part, np.ndarray) else part
    for i, value in enumerate(values):
        if not isinstance(value, str):
            if value is None or (isinstance(value, float) and value != value):
                raise ValueError(f"row {first + i} has no domain.")
            raise TypeError(f"domains must hold names (str); row {first + i} holds {value!r}.")
    return pa.array(values, type=pa.string())


def _encode_chunk(chunk: pa.Array, first: int, numbers: dict[str, int]) -> np.ndarray:
    if chunk.null_count:
        row = first + int(np.argmax(chunk.is_null().to_numpy(zero_copy_only=False)))
        raise ValueError(f"row {row} has no domain.")
    encoded = chunk.dictionary_encode()
    lookup = [numbers.setdefault(name, len(numbers)) for name in encoded.dictionary.to_pylist()]
    if len(numbers) > MAX_DOMAINS:
        raise ValueError(f"domains holds more than {MAX_DOMAINS} names; is it the column of the domains?")
    return np.array(lookup, dtype=np.uint16)[encoded.indices.to_numpy()]
