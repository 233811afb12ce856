"""Writes OCI image archives of one or two static files: no builder needed, the same bytes each time.

Format: https://github.com/opencontainers/image-spec/blob/main/image-layout.md, in a tar.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EPOCH = "1970-01-01T00:00:00Z"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class ScratchImage:
    """An image FROM scratch: its reference, its files (path in the image to path here) and entrypoint."""

    reference: str
    files: Mapping[str, Path]
    entrypoint: tuple[str, ...]
    architecture: str = "amd64"
    user: str = "65532:65532"
    environment: tuple[str, ...] = field(default_factory=tuple)


def write(image: ScratchImage, destination: Path) -> None:
    """Write the archive; an unfinished one is never left under the final name."""
    layer = _layer(image.files)
    diff_id = _digest(layer)
    config = _json(
        {
            "created": EPOCH,
            "architecture": image.architecture,
            "os": "linux",
            "config": {"Entrypoint": list(image.entrypoint), "User": image.user, "Env": list(image.environment)},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created": EPOCH}],
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
            "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
        }
    )
    named = _descriptor("application/vnd.oci.image.manifest.v1+json", manifest)
    named["annotations"] = {"io.containerd.image.name": image.reference}
    index = _json({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [named]})
    contents = {f"blobs/sha256/{_digest(blob)[7:]}": blob for blob in (layer, config, manifest)}
    contents |= {"index.json": index, "oci-layout": _json({"imageLayoutVersion": "1.0.0"})}
    part = destination.with_suffix(".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(_tar(contents))
    part.replace(destination)


def _layer(files: Mapping[str, Path]) -> bytes:
    return _tar({path.lstrip("/"): source.read_bytes() for path, source in files.items()}, mode=0o755)


def _tar(contents: Mapping[str, bytes], mode: int = 0o644) -> bytes:
    """A tar of regular files with nothing in it that depends on time or user."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(contents):
            member = tarfile.TarInfo(path)
            member.size = len(contents[path])
            member.mode = mode
            archive.addfile(member, io.BytesIO(contents[path]))
    return buffer.getvalue()


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _descriptor(media_type: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(blob), "size": len(blob)}


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
