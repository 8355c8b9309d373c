"""Every form of a domain column gives the same rows, or an error that names the row."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recap_verl.replay import rows as rows_module
from recap_verl.replay.rows import encode_domains, rows_by_domain


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(rows_module, "CHUNK", 3)


NAMES = ["ocr", "math", "ocr", "caption", "math", "ocr", "ocr", "math"]
FORMS = {
    "list": list(NAMES),
    "tuple": tuple(NAMES),
    "numpy str": np.array(NAMES),
    "numpy object": np.array(NAMES, dtype=object),
    "numpy strided": np.array([name for name in NAMES for _ in range(2)])[::2],
    "arrow": pa.array(NAMES),
    "arrow large": pa.array(NAMES, type=pa.large_string()),
    "arrow dictionary": pa.array(NAMES).dictionary_encode(),
    "arrow sliced": pa.array(["x", *NAMES, "y"]).dictionary_encode()[1:-1],
    "arrow chunked": pa.chunked_array([NAMES[:5], NAMES[5:]]),
    # Each chunk numbers the names in its own way.
    "arrow dictionary chunked": pa.chunked_array(
        [pa.array(NAMES[:3]).dictionary_encode(), pa.array(NAMES[3:]).dictionary_encode()]
    ),
    "arrow repeated entries": pa.DictionaryArray.from_arrays(
        pa.array([0, 1, 3, 2, 1, 0, 3, 1]), pa.array(["ocr", "math", "caption", "ocr", "unused"])
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_codes(form, small_chunks):
    names, codes = encode_domains(FORMS[form])
    assert names == ["caption", "math", "ocr"]
    assert codes.tolist() == [2, 1, 2, 0, 1, 2, 2, 1]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from("abcde"), min_size=1, max_size=40))
def test_rows_by_domain_finds_the_rows(domains):
    names, codes = encode_domains(domains)
    tables = rows_by_domain(codes, len(names))
    assert {name: table.tolist() for name, table in zip(names, tables, strict=True)} == {
        name: [i for i, domain in enumerate(domains) if domain == name] for name in sorted(set(domains))
    }


def test_rows_by_domain_over_several_chunks(small_chunks):
    names, codes = encode_domains(NAMES)
    assert [table.tolist() for table in rows_by_domain(codes, len(names))] == [[3], [1, 4, 7], [0, 2, 5, 6]]


@pytest.mark.parametrize(
    ("domains", "error", "message"),
    [
        ([], ValueError, "no rows"),
        (pa.chunked_array([], type=pa.string()), ValueError, "no rows"),
        (np.array([["a"], ["b"]]), ValueError, "one dimension"),
        (["a", "b", "a", "b", None], ValueError, "row 4 has no domain"),
        (np.array(["a", "b", "a", "b", np.nan], dtype=object), ValueError, "row 4 has no domain"),
        (pa.array(["a", "b", "a", "b", None]), ValueError, "row 4 has no domain"),
        (pa.array(["a", "b", "a", "b", None]).dictionary_encode(), ValueError, "row 4 has no domain"),
        (pa.chunked_array([["a"], ["b", "a", "b", None]]), ValueError, "row 4 has no domain"),
        (["a", "b", "a", "b", 7], TypeError, "row 4 holds 7"),
        (["a", "b", "a", "b", b"a"], TypeError, "row 4 holds b'a'"),
        (np.array([0, 1]), TypeError, "row 0 holds 0"),
        (pa.array([0, 1]), TypeError, "not int64"),
        (pa.array([0, 1]).dictionary_encode(), TypeError, "not int64"),
        ([f"row {i}" for i in range(2**16 + 1)], ValueError, "more than 65536 names"),
    ],
)
def test_a_bad_column_is_refused(domains, error, message):
    with pytest.raises(error, match=message):
        encode_domains(domains)


@pytest.mark.parametrize("form", ["list", "arrow", "arrow chunked"])
def test_the_row_is_named_in_a_later_chunk(form, small_chunks):
    holed = [*NAMES, None]
    column = {"list": holed, "arrow": pa.array(holed), "arrow chunked": pa.chunked_array([holed[:5], holed[5:]])}[form]
    with pytest.raises(ValueError, match="row 8 has no domain"):
        encode_domains(column)


def test_the_most_names_allowed():
    names, codes = encode_domains([f"{i:05d}" for i in range(2**16)])
    assert len(names) == 2**16
    assert codes.tolist() == list(range(2**16))
