"""Execute the requests of sockets: each runs as a task of the gateway, and its outcome is the reply."""

from __future__ import annotations

import asyncio
from time import monotonic

import structlog

from engine.clock import now_ms
from engine.errors import CalloutError, Internal, RateLimited
from engine.events import rfc3339_of
from engine.store.fix_batches import FixOutcome
from server.gateway import connect, ops
from server.gateway.gateway import Gateway
from server.gateway.protocol import Close, State
from server.gateway.session import Session
from server.gateway.session_limiter import PING_LIMIT, SessionLimiter
from server.schemas.ops import OP_STRUCTS, Connect, Location, Op, Ping

OP_NAMES = {kind: tag for tag, kind in OP_STRUCTS.items()}

log = structlog.get_logger(__name__)


class Dispatcher:
    """The executor of the requests of all sockets of one gateway (``OpExecutor`` in server/gateway/session.py)."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def answer_ping(self, session: Session, op: Ping) -> None:
        """Answer a ping, in order with the pushes. ``n`` is the number of logged pushes that the client has received
        before this reply, if none was lost.
        """
        if self._gateway.has_limits:
            session.limiter = session.limiter or SessionLimiter()
            try:
                session.limiter.count_here(PING_LIMIT, monotonic())
            except RateLimited as error:
                return self._refuse_limited(session, op, error)
        ok = {"now": rfc3339_of(now_ms()), "n": session.push_count}
        if op.id is not None:
            session.push(session.hub.frames.reply_frame(op.id, ok))
        return None

    def start_op(self, session: Session, op: Op) -> None:
        """Start ``op`` as a task, or send fixes with the next batch. Both continue if the session ends."""
        if isinstance(op, Location):
            return self._send_fixes(session, op)
        task = asyncio.create_task(self._perform(session, op))
        self._gateway.running_ops.add(task)
        task.add_done_callback(self._gateway.running_ops.discard)
        return None

    def _send_fixes(self, session: Session, op: Location) -> None:
        """Send the fixes of ``op``. They need no task, because nothing is awaited: there are more of them than of all
        other ops together.
        """
        began = monotonic()

        def finish(outcome: FixOutcome) -> None:
            if isinstance(outcome, CalloutError):
                self._refuse(session, op, outcome)
            elif op.id is not None:
                session.reply(op, ops.location_reply(outcome))
            self._gateway.counters.reply_s_by_op["location"].add(monotonic() - began)
            session.finish_op()

        try:
            ops.send_location(self._gateway, session, op, finish)
        except CalloutError as error:
            # Not at once, because ``finish_op`` starts the next op that waits, and this op may be refused too.
            asyncio.get_running_loop().call_soon(finish, error)

    async def _perform(self, session: Session, op: Op) -> None:
        began = monotonic()
        try:
            if isinstance(op, Connect):
                await self._connect(session, op)
            else:
                session.reply(op, await ops.perform(self._gateway, session, op))
        except CalloutError as error:
            self._refuse(session, op, error)
        except Exception:  # the task's boundary: a bug is answered as ``internal``, and the session continues
            log.exception("op_failed", op=type(op).__name__, session=session.id)
            if op.id is not None:
                session.refuse(op.id, Internal())
        finally:
            self._gateway.counters.reply_s_by_op[OP_NAMES[type(op)]].add(monotonic() - began)
            session.finish_op()

    async def _connect(self, session: Session, op: Connect) -> None:
        try:
            await connect.start_session(self._gateway, session, op)
        except CalloutError:
            session.connect_failed = True
            raise
        finally:
            if session.state is State.JOINING:
                session.state = State.ACCEPTED
                self._gateway.wheel.expect_connect(session)

    def _refuse(self, session: Session, op: Op, error: CalloutError) -> None:
        if isinstance(error, RateLimited):
            self._refuse_limited(session, op, error)
        elif op.id is not None:
            session.refuse(op.id, error)

    def _refuse_limited(self, session: Session, op: Op, error: RateLimited) -> None:
        """Refuse ``op`` if it has an id. If the client does not stop, close the session."""
        session.limiter = session.limiter or SessionLimiter()
        over = session.limiter.store_refusal(ops.limit_of(op), error, monotonic())
        if op.id is not None:
            session.refuse(op.id, error)
        if over:
            session.close(Close.TOO_MANY, "too many requests")

    def count_wrong_value(self, session: Session) -> None:
        """Count a message of a known op with a wrong value. A flood of them closes the session with a code after which
        the client reconnects (4010): a wrong value is no reason to keep a client out for good.
        """
        session.limiter = session.limiter or SessionLimiter()
        if self._gateway.has_limits and session.limiter.count_refusal(monotonic()):
            session.close(Close.TOO_MANY, "too many requests")
