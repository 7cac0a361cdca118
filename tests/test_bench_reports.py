"""The reports of benchmarks, and their peers."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import pytest

from bench.load import chat_servers
from bench.load.centrifugo import publish_request
from bench.load.fanout_target import FanoutTarget, start_c_writer
from bench.load.idle_servers import PEER_STARTERS
from bench.peer_programs import GoProgram
from bench.peers import catalogue
from bench.questions import fanout
from bench.questions.fanout import CONTENDERS, Contender
from bench.report import Figure, Report, ratio, round_order
from bench.rig import PeerUnavailable, Rig


def test_a_ratio_with_unequal_rounds_is_refused() -> None:
    """Rounds are paired: a side that has one round less has no ratio."""
    with pytest.raises(ValueError, match="shorter"):
        ratio("a ÷ b", [1.0, 2.0], [1.0])


def test_a_ratio_is_the_median_of_the_rounds_with_its_spread() -> None:
    """The median of the rounds' own ratios is not the quotient of the medians. Table and JSON give the spread."""
    report = Report("x", "?")
    report.add(ratio("a ÷ b", [10.0, 40.0, 30.0], [10.0, 10.0, 20.0]), Figure("a", "/s", [10.0]))
    assert report.as_dict()["figures"][0]["rounds"] == [1.0, 4.0, 1.5]
    assert report.as_dict()["figures"][0]["median"] == 1.5
    assert report.as_dict()["figures"][0]["spread"] == (1.0, 4.0)
    assert [*report.build_table().columns[3].cells] == ["1–4", "10–10"]


def test_every_second_round_is_reversed() -> None:
    """No side is always measured first."""
    assert [round_order("abc", number) for number in range(3)] == [[*"abc"], [*"cba"], [*"abc"]]


def test_each_peer_is_described_and_has_a_fixed_version() -> None:
    """Each peer (another server that a benchmark measures beside Callout) has an entry in bench/peers/catalogue.py that
    says what it omits. A peer that is built from Go sources has a fixed version.
    """
    assert {*CONTENDERS, *PEER_STARTERS, *chat_servers.PEER_STARTERS} <= {*catalogue.PEERS}
    assert all(peer.omits for peer in catalogue.PEERS.values())
    assert not [p for p in vars(catalogue).values() if isinstance(p, GoProgram) and not p.version.startswith("v")]


def test_a_go_program_without_go_is_unavailable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A missing tool is reported, and the benchmark can run without the peer."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("bench.peer_programs.BUILD_DIR", tmp_path)
    with pytest.raises(PeerUnavailable, match="no go on this machine"):
        catalogue.NATS.install()


def test_a_burst_to_centrifugo_is_one_parallel_batch() -> None:
    """Centrifugo receives one event as a publication, and the sixteen of a burst in one request."""
    assert publish_request(b"{}", 1).startswith(b"POST /api/publish HTTP/1.1")
    head, body = publish_request(b'{"a":1}', 16).split(b"\r\n\r\n")
    assert head.startswith(b"POST /api/batch HTTP/1.1") and f"Content-Length: {len(body)}" in head.decode()
    assert json.loads(body) == {
        "parallel": True,
        "commands": [{"publish": {"channel": "bench", "data": {"a": 1}}}] * 16,
    }


@pytest.mark.skipif(shutil.which("gcc") is None, reason="the reader of the large room is C")
def test_a_peer_that_fails_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer whose process ends in the middle of `fanout` is named and left out; the other figures stay. Another peer
    stands in for Callout, because only what happens to the failing peer is tested.
    """
    event = b'{"type":"announcement.bench"}'

    async def start_first(rig: Rig, count: int, *, roles: str) -> FanoutTarget:
        return start_c_writer(rig, event, count)

    def start_and_end(rig: Rig, payload: bytes, count: int) -> FanoutTarget:
        target = start_c_writer(rig, payload, count)
        target.server.process.kill()
        return target

    monkeypatch.setattr("bench.load.fanout_target.start_callout", start_first)
    monkeypatch.setattr("bench.load.fanout_target.read_event_payload", lambda _: event)
    peers = {"C write()": Contender(start_c_writer), "Node ws": Contender(start_and_end)}
    monkeypatch.setattr("bench.questions.fanout.CONTENDERS", peers)
    options = argparse.Namespace(sockets=4, role="gateway", peers=True, rounds=2, seconds=0.1)
    with Rig() as rig:
        report = fanout.run(rig, options)
    (missing,) = report.unavailable_peers
    assert missing.startswith("Node ws: left out, it failed in round 1")
    names = {figure.name for figure in report.figures}
    assert "Callout ÷ C write()" in names and not any("Node" in name for name in names)
