"""Data collection as Parquet: the files, as those who read them meet them.

case                                    expected
requests of every form                  the same columns in every file, so that all can be read as one table
pandas                                  times, numbers, texts and bytes, without more ado
ids of clients                          each record has its own, without secrets
pandas, installed                       is not imported by the server
bodies                                  the text that was sent, line breaks included; what is not JSON as it came
"""

import io
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import dataset, parquet

from scoring_runtime.collection.parquet import Tables
from scoring_runtime.collection.sample import Frame, Plain, Sample
from scoring_runtime.protocols import ServedModel
from scoring_runtime.replies import Reply
from tests.runtime.conftest import clean_environment

RAW = pa.struct([("contentType", pa.string()), ("text", pa.string()), ("bytes", pa.binary())])
TIME = pa.timestamp("us", tz="UTC")
REQUESTS = {
    **{"time": TIME, "requestId": pa.string(), "model": pa.string(), "modelVersion": pa.string()},
    **{"protocol": pa.string(), "path": pa.string(), "status": pa.int32(), "ms": pa.float64()},
    **{"request": pa.string(), "response": pa.string(), "requestRaw": RAW, "responseRaw": RAW},
}
FRAMES = {
    **{"time": TIME, "correlationId": pa.string(), "model": pa.string(), "modelVersion": pa.string()},
    **{"collector": pa.string(), "data": pa.string()},
}
JSON_HEADERS = [("Content-Type", "application/json")]
PLAIN: list[Plain] = [
    (1_772_366_400.125, 0.001234, "/score", "one", b'{"data":\n[1]}', b"[1]"),
    (1_772_366_401.75, 1.5, "/v2", "an id with spaces", b'{"data": ["\\n"]}', b'{"a": 2}'),
    (1_772_366_402.0, 0.002, "/score", 'quo"ted\\', '{"data": "ä"}'.encode(), b"[3]"),
    (1_772_366_403.0, 0.002, "/score", "tells a-secret", b"[4]", b"[4]"),
]


def sample(kind: str, body: bytes, reply: Reply) -> Sample:
    return Sample(1_772_366_404.5, 100, 0.003, "/score", "x", kind, None, body, reply)


def tables() -> Tables:
    protocols = {"/score": "azure", "/v2": "v2"}
    return Tables(ServedModel("iris", "v1"), protocols, False, lambda ids: ids.replace(b"a-secret", b"[hidden]"))


def written(tables: Tables, *pieces: pa.RecordBatch) -> parquet.ParquetFile:
    return parquet.ParquetFile(io.BytesIO(tables.joined(pieces)))


def others() -> list[Sample]:
    refused = Reply(400, JSON_HEADERS, b'{"error": {"code": "InvalidInput"}}')
    return [
        sample("application/json", b'{"data": [[1]', refused),
        sample("text/csv", b"a,b\n1,2\n", Reply(200, JSON_HEADERS, b"[5]")),
        sample("image/jpeg", b"\xff\xd8\xff", Reply(200, [("Content-Type", "image/png")], b"\x89PNG\xff")),
        sample("application/json", b"", refused),
    ]


def test_the_columns_are_the_same_in_every_file(tmp_path: Path) -> None:
    ours = tables()
    pieces = [ours.of_plain(PLAIN), ours.of_plain(PLAIN[:1]), *(ours.of_requests([one]) for one in others())]
    for number, piece in enumerate([*pieces, *[None]]):
        whole = [piece] if piece is not None else pieces
        folder = tmp_path / f"date=2026-03-0{1 + number % 2}"
        folder.mkdir(exist_ok=True)
        (folder / f"{number}.parquet").write_bytes(ours.joined(whole))
    for path in tmp_path.rglob("*.parquet"):
        schema = parquet.ParquetFile(path).schema_arrow
        assert dict(zip(schema.names, schema.types, strict=True)) == REQUESTS
    together = dataset.dataset(tmp_path, partitioning="hive").to_table()
    assert together.num_rows == 2 * (4 + 1 + 4)


def test_a_file_is_compressed_and_says_when_it_begins_and_ends() -> None:
    ours = tables()
    group = written(ours, ours.of_plain(PLAIN), ours.of_requests(others())).metadata.row_group(0)
    columns = {group.column(number).path_in_schema: group.column(number) for number in range(group.num_columns)}
    assert {column.compression for column in columns.values()} == {"ZSTD"}
    times = columns["time"].statistics
    assert (times.min.timestamp(), times.max.timestamp()) == (1_772_366_400.125, 1_772_366_404.5)
    assert not columns["request"].is_stats_set


def test_plain_requests() -> None:
    ours = tables()
    rows = written(ours, ours.of_plain(PLAIN)).read().to_pylist()
    assert [row["requestId"] for row in rows] == ["one", "an id with spaces", 'quo"ted\\', "tells [hidden]"]
    assert [row["request"].encode() for row in rows] == [sample[4] for sample in PLAIN]
    assert [row["response"].encode() for row in rows] == [sample[5] for sample in PLAIN]
    assert [row["ms"] for row in rows] == [1.234, 1500, 2, 2]
    assert [row["time"].timestamp() for row in rows] == [sample[0] for sample in PLAIN]
    assert [row["protocol"] for row in rows] == ["azure", "v2", "azure", "azure"]
    assert [row["path"] for row in rows] == ["/score", "/v2", "/score", "/score"]
    common = {(row["model"], row["modelVersion"], row["status"], row["requestRaw"], row["responseRaw"]) for row in rows}
    assert common == {("iris", "v1", 200, None, None)}


def test_what_is_not_json_is_kept_as_it_came() -> None:
    ours = tables()
    broken, table, image, empty = written(ours, ours.of_requests(others())).read().to_pylist()
    assert (broken["status"], broken["request"]) == (400, None)
    assert broken["requestRaw"] == {"contentType": "application/json", "text": '{"data": [[1]', "bytes": None}
    assert json.loads(broken["response"]) == {"error": {"code": "InvalidInput"}}
    assert table["requestRaw"] == {"contentType": "text/csv", "text": "a,b\n1,2\n", "bytes": None}
    assert (table["response"], table["responseRaw"]) == ("[5]", None)
    assert image["requestRaw"] == {"contentType": "image/jpeg", "text": None, "bytes": b"\xff\xd8\xff"}
    assert image["responseRaw"] == {"contentType": "image/png", "text": None, "bytes": b"\x89PNG\xff"}
    assert (empty["request"], empty["requestRaw"]) == (None, None)


def test_pandas_reads_a_folder(tmp_path: Path) -> None:
    ours = tables()
    for day, piece in (("2026-03-01", ours.of_plain(PLAIN)), ("2026-03-02", ours.of_requests(others()))):
        (tmp_path / f"date={day}").mkdir()
        (tmp_path / f"date={day}/pod.parquet").write_bytes(ours.joined([piece]))
    records = pd.read_parquet(tmp_path)
    assert str(records["time"].dtype) == "datetime64[us, UTC]"
    assert records["time"].min() == pd.Timestamp("2026-03-01T12:00:00.125Z")
    assert (str(records["status"].dtype), str(records["ms"].dtype)) == ("int32", "float64")
    assert sorted(records["date"].unique()) == ["2026-03-01", "2026-03-02"]
    good = records[(records["status"] == 200) & records["request"].notna()]
    assert pd.json_normalize(good["request"].map(json.loads).tolist()[:2])["data"].tolist() == [[1], ["\n"]]
    images = records["requestRaw"].dropna().map(lambda raw: raw["bytes"])
    assert images.dropna().tolist() == [b"\xff\xd8\xff"]


def test_tables_of_scripts() -> None:
    ours = tables()
    frames = [
        Frame(1_772_366_400.0, 100, name, f"a-secret {name}", rows)
        for name, rows in (("inputs", b'[{"a":1}]'), ("outputs", b"[]"))
    ]
    found = written(ours, ours.of_frames(frames[:1]), ours.of_frames(frames))
    assert dict(zip(found.schema_arrow.names, found.schema_arrow.types, strict=True)) == FRAMES
    rows = found.read().to_pylist()
    assert [row["collector"] for row in rows] == ["inputs", "inputs", "outputs"]
    assert [row["data"] for row in rows] == ['[{"a":1}]', '[{"a":1}]', "[]"]
    assert [row["correlationId"] for row in rows[1:]] == ["[hidden] inputs", "[hidden] outputs"]
    assert {(row["model"], row["modelVersion"]) for row in rows} == {("iris", "v1")}


@given(ids=st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=20), min_size=1))
def test_ids_of_many(ids: list[str]) -> None:
    """Whatever ids clients choose, each record has its own, and no other's."""
    piece = tables().of_plain([(1e9, 0.001, "/score", one, b"[0]", b"[0]") for one in ids])
    assert piece.column("requestId").to_pylist() == [one.replace("a-secret", "[hidden]") for one in ids]


WRITES = """
import sys
from scoring_runtime.collection.parquet import Tables
from scoring_runtime.collection.sample import Frame, Sample
from scoring_runtime.protocols import ServedModel
from scoring_runtime.replies import Reply

tables = Tables(ServedModel("iris", "v1"), {}, False, bytes)
sample = Sample(0.0, 1, 0.1, "/score", "x", "image/png", None, b"\\xff", Reply(200, [], b"[0]"))
pieces = [tables.of_plain([(0.0, 0.1, "/score", "x", b"[0]", b"[0]")]), tables.of_requests([sample])]
assert tables.joined(pieces) and tables.joined([tables.of_frames([Frame(0.0, 1, "inputs", "x", b"[]")])])
print("pandas" in sys.modules)
"""


@pytest.mark.process
def test_pandas_is_not_imported() -> None:
    """It is installed, and Arrow's usual functions would import it: a second and 60 MB."""
    run = [sys.executable, "-c", WRITES]
    done = subprocess.run(run, env=clean_environment(), capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("False", "")


@pytest.mark.parametrize("bodies", [(b'"\xff"',), (b"[0]", b'"\xff"')])
def test_text_that_is_none_is_refused(bodies: Sequence[bytes]) -> None:
    samples: Any = [(1e9, 0.001, "/score", "x", body, b"[0]") for body in bodies]
    with pytest.raises(ValueError, match="UTF8"):
        tables().of_plain(samples)
