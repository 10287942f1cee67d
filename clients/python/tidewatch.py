"""Follows a Tidewatch server's events, with the standard library alone (Python 3.10 and later)."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import socket
import threading
from dataclasses import dataclass, field
from typing import Any, Callable, Iterator, Literal, Optional, TypedDict, Union
from urllib.parse import urlencode, urlsplit

Tier = Literal["proposed", "checkpointed", "proven", "finalized"]
TIERS: tuple[Tier, ...] = ("proposed", "checkpointed", "proven", "finalized")
FIRST_WAIT, LONGEST_WAIT, LONGEST_LINE = 0.5, 30.0, 1 << 20
Block = TypedDict("Block", {"height": int, "digest": str})
Checkpoint = TypedDict("Checkpoint", {"number": int, "digest": str})
Tip = TypedDict("Tip", {"block": Block, "checkpoint": Optional[Checkpoint]})
Tips = dict[Tier, Optional[Tip]]
Blocks = TypedDict("Blocks", {"event": Literal["blocks"], "from": Block, "to": Block, "count": int, "cursor": str})
Moved = TypedDict("Moved", {"event": Literal["advanced", "regressed"], "tier": Tier, "block": Block,
                            "checkpoint": Optional[Checkpoint], "cursor": str})
Pruned = TypedDict("Pruned", {"event": Literal["pruned"], "to": Block, "depth": int, "tips": Tips, "cursor": str})
Event = Union[Blocks, Moved, Pruned]
Reset = TypedDict("Reset", {"event": Literal["reset"], "code": str, "detail": str, "block": Optional[Block],
                            "tips": Tips, "cursor": str})


@dataclass
class State:
    """Where the events led: the highest delivered block, and the tiers."""

    block: Optional[Block] = None
    tips: Tips = field(default_factory=lambda: dict.fromkeys(TIERS))


class Refused(Exception):
    """The server refuses for good: match on `code`."""

    def __init__(self, status: int, code: str, detail: str):
        super().__init__(f"{code}: {detail}")
        self.status, self.code = status, code


class Unresumable(Exception):
    """No event leads on from the cursor, and there is no `reset` callback that would take it."""

    def __init__(self, reset: Reset):
        super().__init__(f"{reset['code']}: {reset['detail']}")
        self.reset = reset


class LawBroken(Exception):
    """Events do not lead where the server says that they do."""


class Lost(Exception):
    """A connection ended, or nothing came for too long. Only `lost` sees it."""

    def __init__(self, message: str, retry: float = 0.0):
        super().__init__(message)
        self.retry = retry


@dataclass
class Client:
    """Follows the server at `url`. `event(event, state)` handles an event, and what it raises ends `follow`.

    `load()` is the cursor to go on from, that which `save(cursor)` was given last: after an event was handled, or
    when the position moved without one. `reset(reset)`: what was known counts no more, go on from `reset["tips"]`.
    `control(message)` gets what the server says of the stream, `lost(error, wait)` the end of each connection.
    Without a cursor it begins at the server's `tip`, or with the `earliest` event that it keeps. `query` has further
    parameters (`mode`, `tiers`, `kinds`). After `silent` seconds of silence a connection counts as lost.
    """

    url: str
    event: Callable[[Event, State], None]
    load: Callable[[], Optional[str]] = lambda: None
    save: Callable[[str], None] = lambda *_: None
    reset: Optional[Callable[[Reset], None]] = None
    control: Callable[[dict[str, Any]], None] = lambda *_: None
    lost: Callable[[Lost, float], None] = lambda *_: None
    begin: Literal["tip", "earliest"] = "tip"
    query: dict[str, str] = field(default_factory=dict)
    token: Optional[str] = None
    silent: float = 45.0

    def __post_init__(self) -> None:
        self._stopped = threading.Event()
        self._socket: Optional[socket.socket] = None

    def stop(self) -> None:
        """Ends `follow`, from any thread."""
        self._stopped.set()
        if connected := self._socket:
            with contextlib.suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    def follow(self) -> None:
        """Follows until `stop`, over restarts of either side."""
        self._cursor, self._fold = self.load(), _Fold(not {"tiers", "kinds"} & set(self.query))
        failed = 0
        while not self._stopped.is_set():
            try:
                for message in self._connected():
                    failed = 0
                    self._take(message)
                    if self._stopped.is_set():
                        return
                raise Lost("the connection ended")
            except Lost as error:
                if self._stopped.is_set():
                    return
                half = min(LONGEST_WAIT, FIRST_WAIT * 2**failed) / 2
                failed = min(failed + 1, 16)
                wait = max(error.retry, half) + random.random() * half
                self.lost(error, wait)
                self._stopped.wait(wait)

    def _moved(self, cursor: str) -> None:
        if cursor != self._cursor:
            self._cursor = cursor
            self.save(cursor)

    def _take(self, message: Any) -> None:
        kind = message["event"]
        if kind in ("blocks", "advanced", "regressed", "pruned"):
            self._fold.apply(message)
            self.event(message, self._fold.state)
            return self._moved(message["cursor"])
        if kind == "hello":
            self._fold.begin(message)
            if self._cursor is None:
                self._moved(message["cursor"])
        elif kind == "lagged":
            self._fold.bridged = True
        elif kind == "reset":
            if self.reset is None:
                raise Unresumable(message)
            self._fold.state = State(message["block"], dict(message["tips"]))
            self.reset(message)
        self.control(message)
        if kind in ("reset", "bookmark"):
            self._moved(message["cursor"])
        if kind == "goodbye":
            retry = 0 if message["reason"] == "reset" else message["retry_ms"] / 1000
            raise Lost(f"the server ends the stream: {message['reason']}", retry)

    def _connected(self) -> Iterator[Any]:
        url = urlsplit(self.url)
        made = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        connection = made(url.hostname or "", url.port, timeout=self.silent)
        begin = {"from": self.begin} if self._cursor is None else {"cursor": self._cursor}
        headers = {"accept": "text/event-stream"} | ({"authorization": f"Bearer {self.token}"} if self.token else {})
        try:
            connection.connect()
            self._socket = connection.sock
            connection.request("GET", f"{url.path.rstrip('/')}/v1/events?{urlencode(begin | self.query)}", headers=headers)
            answer = connection.getresponse()
            if answer.status != 200:
                _refuse(answer)
            while line := answer.readline(LONGEST_LINE):
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Lost(str(error) or type(error).__name__) from error
        finally:
            self._socket = None
            connection.close()


def _refuse(answer: http.client.HTTPResponse) -> None:
    try:
        problem = json.loads(answer.read(LONGEST_LINE))
    except ValueError:
        problem = {}
    error = Refused(answer.status, problem.get("code", "unknown"), problem.get("detail", answer.reason))
    if answer.status == 429 or answer.status >= 500:
        raise Lost(str(error), float(answer.headers.get("retry-after", 1)))
    raise error


class _Fold:
    """The replay law: the fold of all events is the state that a server says. With a filter, only some come."""

    def __init__(self, whole: bool):
        self.whole, self.known, self.bridged, self.state = whole, False, False, State()

    def begin(self, hello: Any) -> None:
        if self.known and self.whole and hello["resume"] != "reset":
            _check(self.state.block == hello["block"], "the block at the cursor is not the one that was delivered")
            for tier in TIERS:
                ours, theirs = (_block(tips[tier]) for tips in (self.state.tips, hello["tips"]))
                _check(ours == theirs, f"{tier} at the cursor is another one")
        self.state = State(hello["block"], dict(hello["tips"]))
        self.known, self.bridged = True, hello["resume"] in ("forked", "ahead")

    def apply(self, event: Any) -> None:
        block, tips = self.state.block, self.state.tips
        if event["event"] == "blocks":
            first, last = event["from"]["height"], event["to"]["height"]
            _check(event["count"] == last - first + 1, f"{event['count']} blocks from {first} to {last}")
            after = block["height"] + 1 if block else first
            goes_on = first == after or (self.bridged and first > after)
            _check(goes_on or not self.whole, f"block {first} comes where {after} has to")
            self.bridged, self.state.block = False, event["to"]
        elif event["event"] == "pruned":
            to, depth = event["to"], event["depth"]
            gone = block["height"] - to["height"] if block else depth
            counted = depth == gone or (self.bridged and depth < gone)
            _check(counted or not self.whole, f"{depth} blocks are pruned, and not {gone}")
            final = _block(tips["finalized"])
            _check(final is None or final == _block(event["tips"]["finalized"]), "a prune moves what is final")
            for tier in TIERS:
                tip = _block(event["tips"][tier])
                _check(tip is None or tip["height"] <= to["height"], f"{tier} stands above the prune")
            self.state = State(to if block else None, dict(event["tips"]))
        else:
            tier, was, now = event["tier"], _block(tips[event["tier"]]), event["block"]["height"]
            before = was["height"] if was else -1
            up, moves = event["event"] == "advanced", f"{tier} {event['event']} from {before} to {now}"
            _check(now >= before if up else now <= before and tier != "finalized", moves)
            _check(not self.whole or block is None or now <= block["height"], f"{tier} is above what was delivered")
            tips[tier] = {"block": event["block"], "checkpoint": event["checkpoint"]}


def _block(tip: Optional[Tip]) -> Optional[Block]:
    return tip["block"] if tip else None


def _check(holds: bool, broken: str) -> None:
    if not holds:
        raise LawBroken(broken)
