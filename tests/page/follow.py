"""The Python client as a process: says what it sees as lines, and ends when its standard input does."""

import json
import pathlib
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "clients/python"))
import tidewatch

settings = json.loads(sys.argv[1])


def say(kind, value):
    print(json.dumps([kind, value]), flush=True)


client = tidewatch.Client(
    settings["url"],
    event=lambda event, state: say("event", {"event": event, "state": {"block": state.block, "tips": state.tips}}),
    load=lambda: settings["cursor"],
    save=lambda cursor: say("save", cursor),
    reset=(lambda reset: say("reset", reset)) if settings["reset"] else None,
    control=lambda message: say("control", message),
    lost=lambda error, wait: say("lost", str(error)),
    begin="earliest",
    silent=settings["silent"],
)


def ends():
    sys.stdin.read()
    client.stop()


threading.Thread(target=ends, daemon=True).start()
try:
    client.follow()
except Exception as error:
    say("failed", {"name": type(error).__name__, "detail": str(error)})
