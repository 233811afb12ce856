"""What data collection has written, read back by what reads it elsewhere."""

import io
import json
from base64 import b64encode
from pathlib import Path
from typing import Any

FORMS = ("jsonl", "parquet")


def records_in(folder: Path) -> list[dict[str, Any]]:
    """All records below a folder, whatever they are written as, in the form that a line of JSON gives them."""
    return [record for path in objects_in(folder) for record in records_of(path.name, path.read_bytes())]


def objects_in(folder: Path) -> list[Path]:
    return sorted(path for form in FORMS for path in folder.rglob(f"*.{form}"))


def records_of(name: str, content: bytes) -> list[dict[str, Any]]:
    """The records of one object."""
    if name.endswith(".jsonl"):
        return [json.loads(line) for line in content.splitlines()]
    from pyarrow import parquet

    return [_as_json(row) for row in parquet.ParquetFile(io.BytesIO(content)).read().to_pylist()]


def _as_json(row: dict[str, Any]) -> dict[str, Any]:
    row["time"] = row["time"].isoformat(timespec="milliseconds").replace("+00:00", "Z")
    for name in ("request", "response", "data"):
        if row.get(name) is not None:
            row[name] = json.loads(row[name])
    for name in ("requestRaw", "responseRaw"):
        raw = row.pop(name, None)
        if raw is not None:
            content = raw.pop("bytes")
            row[name] = {key: value for key, value in raw.items() if value is not None}
            if content is not None:
                row[name]["base64"] = b64encode(content).decode()
    return row
