"""The blob store in a directory and in an S3 server gives the same guarantees."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.errors import Unavailable
from engine.files.blob_errors import BlobMissing
from engine.files.blobs import BlobStore, check_shared, digest_of, open_blobs
from engine.process.settings import Settings, SettingsError
from tests.files.s3_server import BUCKET, run_s3_server

PHOTO = bytes(range(256)) * 1200
SHA256 = hashlib.sha256(PHOTO).hexdigest()


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    """Run an S3 server for the tests of this file."""
    with run_s3_server() as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT", url)
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield url


@pytest.fixture(params=["directory", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    """Return a blob store of each kind."""
    settings = Settings(data=str(tmp_path))
    if request.param == "s3":
        request.getfixturevalue("s3_url")
        settings = msgspec.structs.replace(settings, files=f"s3://{BUCKET}/{tmp_path.name}")
    return open_blobs(settings)


async def test_stores_once_reads_and_deletes(blobs: BlobStore, tmp_path: Path) -> None:
    """A stored blob is read whole and in pieces, a repeated put changes nothing, and a deleted blob is missing."""
    for read in (blobs.read, blobs.stream):
        with pytest.raises(BlobMissing):
            await read(SHA256)
    await blobs.delete(SHA256)  # deleting a missing blob is no error

    upload = tmp_path / "upload"
    for _ in range(2):
        upload.write_bytes(PHOTO)
        await blobs.put(SHA256, upload)
        assert not upload.exists(), "an upload leaves nothing behind"
    await asyncio.gather(*(blobs.put(SHA256, PHOTO) for _ in range(5)))
    pieces = [piece async for piece in await blobs.stream(SHA256)]
    assert b"".join(pieces) == await blobs.read(SHA256) == PHOTO and digest_of(PHOTO) == SHA256
    assert len(pieces) > 1, "a large blob is not read as a whole"

    await blobs.delete(SHA256)
    with pytest.raises(BlobMissing):
        await blobs.read(SHA256)


async def test_only_the_owner_reads_the_directory(tmp_path: Path) -> None:
    """No other user of the machine can read a photo, and no temporary file stays."""
    blobs = open_blobs(Settings(data=str(tmp_path / "data")))
    await blobs.put(SHA256, PHOTO)
    folder = tmp_path / "data/blobs"
    assert {path.stat().st_mode & 0o077 for path in (folder, folder / SHA256[:2])} == {0}
    assert os.listdir(folder / "uploads") == [], "no temporary file stays"


async def test_a_store_that_is_away_is_unavailable(
    tmp_path: Path, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full or unreachable store is `unavailable`, and never reports that a blob is missing."""
    (tmp_path / "blobs").write_text("no directory")
    with pytest.raises(Unavailable):
        await open_blobs(Settings(data=str(tmp_path))).put(SHA256, PHOTO)
    monkeypatch.setenv("AWS_ENDPOINT", "http://127.0.0.1:9")
    away = open_blobs(Settings(data=str(tmp_path), files=f"s3://{BUCKET}/away"))
    for call in (away.put(SHA256, PHOTO), away.read(SHA256), away.stream(SHA256), away.delete(SHA256)):
        with pytest.raises(Unavailable) as refused:
            await call
        assert not isinstance(refused.value, BlobMissing)


@pytest.mark.parametrize(
    ("more", "is_refused"),
    [
        ({}, False),
        ({"redis": "redis://127.0.0.1:1"}, False),
        ({"key_file": "key"}, False),
        ({"redis": "redis://127.0.0.1:1", "key_file": "key"}, True),
        ({"redis": "redis://127.0.0.1:1", "key_file": "key", "files": "/mnt/shared"}, False),
        ({"redis": "redis://127.0.0.1:1", "key_file": "key", "files": "s3://photos/x"}, False),
    ],
)
def test_hosts_that_share_a_deployment_need_a_shared_place(more: dict[str, Any], is_refused: bool) -> None:
    """A server with a Redis and a key that others may share does not store files in a folder of its own by default."""
    if not is_refused:
        return check_shared(Settings(**more))
    with pytest.raises(SettingsError, match="files: redis and key_file are set"):
        check_shared(Settings(**more))
