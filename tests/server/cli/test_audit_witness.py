"""``callout audit witness`` in a process of its own: it gives an alarm if a database was restored, and if a signed head
contradicts an earlier one."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from engine.audit import heads, proofs, signed_note
from engine.audit.signed_note import Head
from engine.audit.witness import WitnessState, find_alarm
from engine.identity import outbox
from engine.process.settings import Settings
from engine.rules.merkle_tree import CompactTree, consistency_ranges, leaf_hash, perfect_nodes, perfect_root
from engine.types import UserId
from server.serve import RunningServer, run_server
from tests.faults.receiver import running_receiver
from tests.support.process import FinishedCommand, run_callout
from tests.support.wait import wait_until

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
PUBLIC = KEY.public_key().public_bytes_raw()
LEAVES = [leaf_hash(b"%d" % number) for number in range(20)]


def make_head(size: int, *, tree: int = 1, zone: str = "main", leaves: list[bytes] = LEAVES) -> Head:
    """Return a signed head of the first leaves."""
    compact = CompactTree()
    compact.append(leaves[:size])
    origin = signed_note.make_origin("inst", zone, tree)
    return signed_note.parse_head(signed_note.sign_head(origin, size, compact.root(), KEY))


def make_proof(old: int, size: int) -> list[bytes]:
    """Return the proof that the tree of ``size`` leaves continues the tree of ``old`` leaves. It works only for sizes
    at which each part of the proof is one complete subtree, such as powers of two."""
    proof = []
    for begin, end in consistency_ranges(old, size):
        (node,) = perfect_nodes(begin, end)
        proof.append(perfect_root(LEAVES[node.position << node.level : node.position + 1 << node.level]))
    return proof


def test_a_head_is_accepted_only_after_what_it_continues() -> None:
    """A witness accepts a larger tree only with its consistency proof, and a tree of the same size only with the same
    root. For everything else it gives an alarm, and each cause has its own kind."""
    eight, sixteen, keys = make_head(8), make_head(16), [PUBLIC]
    proof = make_proof(8, 16)
    assert find_alarm(None, eight, keys, None) is None
    assert find_alarm(eight, eight, keys, None) is None
    assert find_alarm(eight, sixteen, keys, proof) is None
    rewritten = make_head(16, leaves=[leaf_hash(b"x"), *LEAVES[1:]])
    cases = [
        (eight, sixteen, keys, None, "forked"),
        (eight, sixteen, keys, proof[:-1], "forked"),
        (eight, rewritten, keys, proof, "forked"),
        (sixteen, rewritten, keys, None, "forked"),
        (sixteen, eight, keys, None, "shrank"),
        (make_head(8, tree=2), sixteen, keys, None, "shrank"),
        (eight, make_head(1, tree=2), keys, None, "restored"),
        (eight, make_head(16, zone="north"), keys, None, "other_installation"),
        (eight, sixteen, [], proof, "other_key"),
        (None, sixteen, [b"\x01" * 32], None, "other_key"),
    ]
    for last, seen, known, given, kind in cases:
        alarm = find_alarm(last, seen, known, given)
        assert alarm is not None and alarm.kind == kind, (kind, alarm)


def test_a_witness_cosigns_what_it_accepts(tmp_path: Path) -> None:
    """The stored head has the log's signature and the witness's, which others verify with its public key."""
    state = WitnessState(tmp_path / "w", "main")
    assert (state.last_head(), state.server_keys()) == (None, [])
    state.pin_keys([PUBLIC])
    state.accept(make_head(5), "w1.example", 1_700_000_000)
    again = WitnessState(tmp_path / "w", "main")
    last = again.last_head()
    own = again.key.public_key().public_bytes_raw()
    assert last and last.size == 5 and again.server_keys() == [PUBLIC]
    assert signed_note.is_signed_by(last, PUBLIC) and signed_note.is_cosigned_by(last, "w1.example", own)
    assert not signed_note.is_cosigned_by(last, "w2.example", own)
    forged = signed_note.parse_head(last.note.replace("\n5\n", "\n6\n"))
    assert not signed_note.is_cosigned_by(forged, "w1.example", own)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ([], "Missing argument 'URL'"),
        (["ftp://x"], "ftp://x is no URL of a server"),
        (["http://x", "--zone", "A"], "--zone A: not a zone"),
        (["http://x", "--name", "a b"], "--name a b: "),
        (["http://x", "--every", "0"], "Invalid value for '--every'"),
    ],
)
async def test_a_wrong_request_is_refused_in_one_line(flags: list[str], line: str, tmp_path: Path) -> None:
    """A malformed URL, zone, name or interval is refused with the exit code 2."""
    refused = await run_callout("audit", "witness", *flags, cwd=tmp_path)
    assert (refused.code, refused.out) == (2, "")
    assert refused.error_line.startswith(line)


async def test_a_directory_that_is_none_of_a_witness_is_refused(tmp_path: Path) -> None:
    """If `--state` is a file, a directory with other files, or one in which the head or the key is a directory, the
    command ends with the exit code 1 and one line. It writes nothing there.
    """
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    (tmp_path / "keyless" / "witness.key").mkdir(parents=True)
    for state, line in (
        ("file", "--state file: File exists"),
        ("file/below", "--state file/below: Not a directory"),
        ("full", "--state full: it has other files and no witness.key"),
        ("keyless", "--state signing key keyless/witness.key: Is a directory"),
    ):
        refused = await run_callout("audit", "witness", "http://127.0.0.1:9", "--once", "--state", state, cwd=tmp_path)
        assert (refused.code, refused.error_line.startswith(line)) == (1, True), refused
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]
    WitnessState(tmp_path / "head", "main")
    (tmp_path / "head" / "main.head").mkdir()
    refused = await run_callout("audit", "witness", "http://127.0.0.1:9", "--once", "--state", "head", cwd=tmp_path)
    assert (refused.code, "Traceback" in refused.err, refused.err.count("--state head: Is a dir")) == (1, False, 1)


async def test_a_malformed_answer_or_file_is_an_alarm(tmp_path: Path) -> None:
    """An answer of another form is `unreadable`, and a malformed head of the witness does not hide another alarm."""
    answers = [b"[]", b"{}", b'{"head":[]}', b'{"head":{"note":1}}', b"[" * 100_000, b"\xff"]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = answers[0]
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        while answers:
            code, rung = await run_witness(url, tmp_path)
            assert (code, rung.get("alarm")) == (1, "unreadable"), answers[0][:20]
            answers.pop(0)
    (tmp_path / "callout-witness" / "main.head").write_text("nothing")
    code, rung = await run_witness("http://127.0.0.1:9", tmp_path)
    assert (code, rung.get("alarm")) == (1, "unreachable")


async def run_witness(url: str, folder: Path, *flags: str) -> tuple[int, dict[str, Any]]:
    """Run a witness that reads the server's signed head once, in a process of its own. Return its exit code and what it
    printed last."""
    done: FinishedCommand = await run_callout("audit", "witness", url, "--once", *flags, cwd=folder)
    lines = done.out.splitlines()
    return done.code, json.loads(lines[-1]) if lines else {}


@asynccontextmanager
async def run_node(data: Path) -> AsyncIterator[RunningServer]:
    """Run a server on this data directory."""
    async with run_server(Settings(data=str(data), port=0, limits="off")) as server:
        yield server


async def grow_tree(server: RunningServer) -> int:
    """Append an event, wait for a signed head that covers it, and return the size of that head."""
    engine = server.engine
    before = await newest_size(server)
    await outbox.append_revocation(engine, UserId("usr_gone"), code=4006, key=str(uuid.uuid4()))

    async def has_grown() -> bool:
        return await newest_size(server) > before

    await wait_until(has_grown, what="a larger head")
    return await newest_size(server)


async def newest_size(server: RunningServer) -> int:
    """Return the size of the newest head; 0 if there is none."""
    head = await proofs.read_newest_head(server.engine.archive, "main")
    return head.stored.head.size if head else 0


def copy_database(source: Path, target: Path) -> None:
    """Copy an SQLite database as a backup does."""
    with sqlite3.connect(source) as old, sqlite3.connect(target) as new:
        old.backup(new)
    old.close()
    new.close()


async def test_a_witness_notices_a_database_of_yesterday(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A witness accepts the heads of a tree that grows. After the database was restored from a backup, it gives an
    alarm: the tree differs or is smaller, or, if the server knows the published head, a new tree began. The webhook
    receives the alarm. The witness follows the new tree once an operator accepts it.
    """
    monkeypatch.setattr(heads, "HEAD_INTERVAL_S", 0.0)
    data, backup = tmp_path / "data", tmp_path / "backup.db"
    assert (await run_witness("http://127.0.0.1:9", tmp_path))[1]["alarm"] == "unreachable"
    async with run_node(data) as server:
        await grow_tree(server)
        assert (await run_witness(server.url, tmp_path))[0] == 0
        copy_database(data / "callout.db", backup)
        await grow_tree(server)
        size = await grow_tree(server)
        code, seen = await run_witness(server.url, tmp_path)
        assert (code, seen["ok"], seen["size"] >= size) == (0, True, True)
    head_file = heads.file_path(str(data), "main")
    published = head_file.read_text()
    for keeps_head_file, alarms in ((False, {"shrank", "forked"}), (True, {"restored"})):
        restore(data, backup)
        head_file.write_text(published) if keeps_head_file else head_file.unlink()
        async with run_node(data) as server, running_receiver() as receiver:
            await grow_tree(server)
            code, rung = await run_witness(server.url, tmp_path, "--webhook", receiver.url)
            assert (code, rung["alarm"] in alarms) == (1, True), rung
            assert [msgspec.json.decode(body)["alarm"] for body in receiver.bodies] == [rung["alarm"]]
            assert (await run_witness(server.url, tmp_path))[0] == 1
            if keeps_head_file:
                assert (await run_witness(server.url, tmp_path, "--accept"))[0] == 0
                assert (await run_witness(server.url, tmp_path))[0] == 0


def restore(data: Path, backup: Path) -> None:
    """Replace the database with the backup."""
    for name in ("callout.db-wal", "callout.db-shm"):
        (data / name).unlink(missing_ok=True)
    copy_database(backup, data / "callout.db")
