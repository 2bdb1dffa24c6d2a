"""What people get wrong beside single values: files, encodings, syntaxes, variables, flags, places."""

from collections.abc import Mapping
from typing import NamedTuple

FED = '[model]\nname = "mlp"\n[data]\nname = "digits"\n'
CLIENT = '[data]\nname = "digits"\n[model]\nname = "mlp"\n'
ANY_PORT = "[server]\nport = 0\nenrol_port = 0\nhttp_port = 0\n"
JOIN = {"data": "--data digits"}
FOLDER, LINK = "/", "->"

Files = Mapping[str, str | bytes]


class Case(NamedTuple):
    """A command line that is refused.

    Attributes:
        line: without `roughfed` and without `--json`.
        files: what lies in the directory: text or bytes; "/" is a folder, "->NAME" a link.
        where: in `file` of the answer; empty where the key alone says it.
        key: the key of the answer; empty where it is about the file as a whole.
        cause: a part of it.
        cure: a part of it.
        env: environment variables.
    """

    line: str
    files: Files
    where: str
    key: str
    cause: str
    cure: str
    env: Mapping[str, str] = {}


def fed(text: str | bytes, where: str, key: str, cause: str, cure: str, *, line: str = "plan") -> Case:
    """A fed.toml that is wrong."""
    return Case(line, {"fed.toml": text}, where, key, cause, cure)


def client(text: str | bytes, where: str, key: str, cause: str, cure: str) -> Case:
    """A client.toml that is wrong."""
    return Case("join", {"client.toml": text}, where, key, cause, cure)


def variable(name: str, text: str, key: str, cause: str, cure: str, *, line: str = "plan") -> Case:
    """A variable that is wrong."""
    files = {"client.toml": CLIENT} if line == "join" else {"fed.toml": FED + ANY_PORT}
    return Case(line, files, "" if name == key else name, key, cause, cure, {name: text})


def flags(arguments: str, where: str, key: str, cause: str, cure: str) -> Case:
    """Flags of `join` that are wrong, in an empty directory."""
    return Case(f"join {arguments}", {}, where, key, cause, cure)


def here(line: str, files: Files, where: str, cause: str, cure: str) -> Case:
    """A directory that is not what the command wants."""
    return Case(line, files, where, "", cause, cure)


NOT_TOML = "is not TOML"
CASES: Mapping[str, Case] = {
    # -- encodings ---------------------------------------------------------------------------------------------------
    "utf-16": fed(FED.encode("utf-16"), "fed.toml:1", "", "UTF-16", "Save it as UTF-8"),
    "latin-1": fed(b'[federation]\nname = "m\xfcnchen"\n', "fed.toml:2", "", "not UTF-8", "Save it as UTF-8"),
    "nul-byte": fed(b"[round]\nrounds = 3\x00\n", "fed.toml:2", "round.rounds", NOT_TOML, "key = value"),
    "old-mac-lines": fed(b"[round]\rrounds = 3\r", "fed.toml:1", "", NOT_TOML, "key = value"),
    "binary": fed(bytes(range(256)), "fed.toml:2", "", "not UTF-8", "Save it as UTF-8"),
    "too-long": fed(b"#" * (1 << 20) + b"#", "fed.toml", "", "no settings file", "in its place"),
    # -- other syntaxes ----------------------------------------------------------------------------------------------
    "yaml": fed("round:\n  rounds: 3\n", "fed.toml:1", "", NOT_TOML, "looks like YAML"),
    "json": fed('{"round": {"rounds": 3}}\n', "fed.toml:1", "", NOT_TOML, "This is JSON"),
    "ini-comment": fed("; settings\n[round]\n", "fed.toml:1", "", NOT_TOML, "comments with #"),
    "c-comment": fed("// settings\n[round]\n", "fed.toml:1", "", NOT_TOML, "comments with #"),
    "python-true": fed("[server]\nhttp = True\n", "fed.toml:2", "server.http", NOT_TOML, "true or false, in lower"),
    "yes": fed("[server]\nhttp = yes\n", "fed.toml:2", "server.http", NOT_TOML, "true or false, in lower"),
    "none": fed("[model]\ninit = None\n", "fed.toml:2", "model.init", NOT_TOML, "Leave the key out"),
    "smart-quotes": fed("[model]\nname = \u201cmlp\u201d\n", "fed.toml:2", "model.name", NOT_TOML, "straight quotes"),
    "two-equals": fed("[round]\nrounds == 3\n", "fed.toml:2", "round.rounds", NOT_TOML, "a single `=`"),
    "comma-at-end": fed("[round]\nrounds = 3,\n", "fed.toml:2", "round.rounds", NOT_TOML, "Remove the comma"),
    "backslash": fed('[data]\ndata_dir = "C:\\data"\n', "fed.toml:2", "data.data_dir", NOT_TOML, "single quotes"),
    "open-bracket": fed("[round\nrounds = 3\n", "fed.toml:1", "", NOT_TOML, "Close the bracket"),
    "no-value": fed("[round]\nrounds =\n", "fed.toml:2", "round.rounds", NOT_TOML, "a value behind the ="),
    "unit-without-quotes": fed("[round]\ndeadline = 10m\n", "fed.toml:2", "round.deadline", NOT_TOML, "in quotes"),
    "leading-zero": fed("[server]\nport = 08443\n", "fed.toml:2", "server.port", NOT_TOML, "leading zeros"),
    "thousands": fed("[round]\nrounds = 1,000\n", "fed.toml:2", "round.rounds", NOT_TOML, "without commas"),
    "merge-marks": fed("<<<<<<< HEAD\n[round]\n=======\n", "fed.toml:1", "", NOT_TOML, "Resolve the merge"),
    "open-quote": fed("[model]\nname = 'mlp\n", "fed.toml:2", "model.name", NOT_TOML, "double quotes"),
    # -- names and types ---------------------------------------------------------------------------------------------
    "plural-table": fed("[rounds]\nrounds = 3\n", "fed.toml:1", "rounds", "no table [rounds]", "mean [round]?"),
    "other-word": fed("[training]\nlr = 0.1\n", "fed.toml:1", "training", "no table", "mean [trainer]?"),
    "upper-case-table": fed("[Round]\nrounds = 3\n", "fed.toml:1", "Round", "no table [Round]", "mean [round]?"),
    "upper-case-key": fed("[round]\nRounds = 3\n", "fed.toml:2", "round.Rounds", "no key", "mean round.rounds?"),
    "hyphen": fed("[round]\nmin-clients = 3\n", "fed.toml:2", "round.min-clients", "no key", "round.min_clients?"),
    "table-in-table": fed("[round.x]\nrounds = 3\n", "fed.toml:1", "round.x", "no key x", "keys of [round]"),
    "text-for-number": fed('[round]\nrounds = "3"\n', "fed.toml:2", "round.rounds", "wrong type", "whole number"),
    "decimals": fed("[round]\nrounds = 3.0\n", "fed.toml:2", "round.rounds", "wrong type", "whole number"),
    "text-for-truth": fed('[server]\nhttp = "true"\n', "fed.toml:2", "server.http", "wrong type", "true or false"),
    "list-for-number": fed("[round]\nrounds = [3]\n", "fed.toml:2", "round.rounds", "wrong type", "whole number"),
    "date": fed("[round]\ndeadline = 2026-01-01\n", "fed.toml:2", "round.deadline", "not a duration", '"10m"'),
    # -- the other file ----------------------------------------------------------------------------------------------
    "client-table": fed('[client]\nname = "a"\n', "fed.toml:1", "client", "table of client.toml", "Move it"),
    "client-key": fed("[data]\nindex = 3\n", "fed.toml:2", "data.index", "setting of client.toml", "Move it"),
    "server-table": client("[round]\nrounds = 3\n", "client.toml:1", "round", "table of fed.toml", "on the server's"),
    "server-key": client("[model]\nkeep_last = 3\n", "client.toml:2", "model.keep_last", "of fed.toml", "Move it"),
    # -- places ------------------------------------------------------------------------------------------------------
    "nothing-here": here("plan", {}, "fed.toml", "no such file", "roughfed init"),
    "no-such-folder": here("plan --dir gone", {}, "gone/fed.toml", "no folder", "--dir"),
    "dir-is-a-file": here("plan --dir fed.toml", {"fed.toml": FED}, "fed.toml", "no folder", "--dir"),
    "a-folder": here("plan", {"fed.toml": FOLDER}, "fed.toml", "is a folder", "in its place"),
    "a-folder-of-a-client": here("join", {"client.toml": FOLDER}, "client.toml", "is a folder", "in its place"),
    "link-to-nowhere": here("plan", {"fed.toml": LINK + "gone"}, "fed.toml", "leads nowhere", "Correct the link"),
    "link-to-a-device": here("plan", {"fed.toml": LINK + "/dev/zero"}, "fed.toml", "no plain file", "in its place"),
    "another-case": here("plan", {"Fed.toml": FED}, "fed.toml", "no fed.toml here", "Rename Fed.toml"),
    "another-ending": here("plan", {"fed.toml.txt": FED}, "fed.toml", "no fed.toml here", "Rename fed.toml.txt"),
    "server-in-a-clients": here("server", {"client.toml": CLIENT}, "fed.toml", "no fed.toml here", "roughfed join"),
    "join-in-a-servers": here("join", {"fed.toml": FED}, "fed.toml", "server's directory", "join --dir NAME"),
    "init-in-a-clients": here("init", {"client.toml": CLIENT}, "client.toml", "a client lives", "--dir"),
    "empty": fed("", "fed.toml", "model.app", "says what to train", 'name = "mlp"', line="server"),
    # -- what is named and is not there ------------------------------------------------------------------------------
    "app": fed('[model]\napp = "gone.py:c"\n', "fed.toml:2", "model.app", "no file", "relative", line="server"),
    "start-weights": fed(
        '[model]\nname = "mlp"\ninit = "gone"\n[data]\nname = "digits"\n',
        "fed.toml:3",
        "model.init",
        "no file",
        "put it there",
        line="server",
    ),
    "data-folder": fed(
        FED + 'data_dir = "gone"\n', "fed.toml:5", "data.data_dir", "no folder", "relative", line="server"
    ),
    "client-app": client('[app]\npath = "gone.py:c"\n', "client.toml:2", "app.path", "no file", "put it there"),
    "client-folder": client(
        '[model]\nname = "mlp"\n[data]\nname = "digits"\nfolder = "gone"\n',
        "client.toml:5",
        "data.folder",
        "no folder",
        "put it there",
    ),
    # -- addresses ---------------------------------------------------------------------------------------------------
    "host-with-scheme": fed(
        FED + '[server]\nhost = "http://0.0.0.0"\n',
        "fed.toml:6",
        "server.host",
        "cannot listen",
        "without scheme",
        line="server",
    ),
    "host-with-port": fed(
        FED + '[server]\nhost = "0.0.0.0:8443"\n',
        "fed.toml:6",
        "server.host",
        "cannot listen",
        "and port",
        line="server",
    ),
    "host-of-another": fed(
        FED + ANY_PORT + 'host = "192.0.2.7"\n',
        "fed.toml:9",
        "server.host",
        "cannot listen on 192.0.2.7",
        "an address of this machine",
        line="server",
    ),
    "http-host-of-another": fed(
        FED + ANY_PORT + 'http_host = "192.0.2.7"\n',
        "fed.toml:9",
        "server.http_host",
        "cannot listen on 192.0.2.7",
        "an address of this machine",
        line="server",
    ),
    "same-ports": fed(
        FED + "[server]\nport = 8444\n", "fed.toml:6", "server.port", "are both 8444", "its own port", line="server"
    ),
    # -- combinations that cannot work -------------------------------------------------------------------------------
    "too-many-attackers": fed(
        FED + "[defence]\nf = 9\n[round]\ncohort = 10\n", "fed.toml:6", "defence.f", "attackers", "cohort = 19"
    ),
    "no-time": fed(FED + "[round]\ndeadline = 0\n", "fed.toml:6", "round.deadline", "too small", "duration"),
    "nobody": fed(FED + "[round]\nmin_clients = 0\n", "fed.toml:6", "round.min_clients", "too small", "1 or more"),
    # -- the environment ---------------------------------------------------------------------------------------------
    "env-text": variable("ROUGHFED_ROUND__ROUNDS", "many", "round.rounds", "wrong type", "whole number"),
    "env-empty": variable("ROUGHFED_ROUND__ROUNDS", "", "round.rounds", "It is empty", "whole number"),
    "env-slip": variable("ROUGHFED_ROUND__ROUDNS", "3", "round.roudns", "no key", "ROUGHFED_ROUND__ROUNDS?"),
    "env-table": variable("ROUGHFED_ROUNDS__ROUNDS", "3", "rounds.rounds", "no setting", "ROUGHFED_ROUND__ROUNDS?"),
    "env-one-underscore": variable("ROUGHFED_ROUND_ROUNDS", "3", "round.rounds", "is not read", "two underscores"),
    "env-lower-case": variable("roughfed_round__rounds", "3", "round.rounds", "is not read", "upper case"),
    "env-words": variable("ROUGHFED_ROUND__DEADLINE", "ten minutes", "round.deadline", "not a duration", '"10m"'),
    "env-level": variable("ROUGHFED_LOG", "LOUD", "ROUGHFED_LOG", "no level 'LOUD'", "DEBUG", line="server"),
    "env-clients": variable(
        "ROUGHFED_CLIENTS_ON_HOST", "0", "ROUGHFED_CLIENTS_ON_HOST", "no number", "1 or more", line="join"
    ),
    "env-crash": variable(
        "ROUGHFED_CRASH_AT", "soon", "ROUGHFED_CRASH_AT", "no point", "--crash-points", line="server"
    ),
    "env-line": Case(
        "join --data digits", {}, "", "ROUGHFED_JOIN", "no '#'", "whole line", {"ROUGHFED_JOIN": "garbage"}
    ),
    "env-line-without-port": Case(
        "join --data digits", {}, "", "ROUGHFED_JOIN", "not HOST:PORT", "whole line", {"ROUGHFED_JOIN": "fed#abc"}
    ),
    # -- flags -------------------------------------------------------------------------------------------------------
    "set-slip": fed(
        FED, "--round.rouns", "round.rouns", "no key", "mean round.rounds?", line="plan --set round.rouns=3"
    ),
    "set-without-table": fed(FED, "", "--set", "not KEY=VALUE", "round.deadline=5m", line="plan --set rounds=3"),
    "set-without-value": fed(FED, "", "--set", "not KEY=VALUE", "round.deadline=5m", line="plan --set round.rounds"),
    "set-text": fed(FED, "--round.rounds", "round.rounds", "wrong type", "whole", line="server -o round.rounds=three"),
    "set-of-a-client": fed(
        FED, "--device.name", "device.name", "table of client.toml", "Move it", line="plan --set device.name=cpu"
    ),
    "flag-data": flags("--data cifar10", "--data.name", "data.name", "not one of its values", '"digits"'),
    "flag-app": flags("--app my.py", "", "--app", "names no file", "FILE.py:NAME"),
    "flag-app-gone": flags("--app gone.py:client", "", "--app", "names no file", "FILE.py:NAME"),
    "flag-app-name": Case(
        "init --app my.py:clint",
        {"my.py": "import os\nclient = os.name\n"},
        "",
        "--app",
        "no clint in",
        "my.py:client?",
    ),
    "flag-app-empty": Case("init --app my.py:x", {"my.py": "class A: ...\n"}, "", "--app", "no x in", "it has: A"),
    "plan-app-gone": Case(
        "plan -o model.app=nope.py:client",
        {"fed.toml": ""},
        "--model.app",
        "model.app",
        "there is no file",
        "put it there",
    ),
    "flag-device": flags("--data digits --device gpu", "--device.name", "device.name", "not a device", '"cuda"'),
    "flag-index": flags("--data digits --clients 2 --index 5", "--data.index", "data.index", "no such part", "0 to 1"),
    "flag-slip": flags(
        "--data digits --partition dirichlett", "--data.partition", "data.partition", "not one", 'Write "dirichlet"'
    ),
    "flag-model": flags("--data digits --model resnet", "--model.name", "model.name", "not one", 'Write "resnet-8"'),
    "flag-token-file": flags("--data digits --token-file gone", "gone", "--token-file", "No such file", "invite"),
    "flag-token-file-binary": Case(
        "join --data digits --token-file line", {"line": b"\x80\x81"}, "line", "--token-file", "no text", "invite"
    ),
    "flag-name": Case("init --name My.Fed", {}, "--federation.name", "federation.name", "not a name", "lower-case"),
    "flag-address": Case("init --address fed.org", {}, "--server.address", "server.address", "not an address", ":8443"),
    "flag-lost-nowhere": Case("simulate --silent", {}, "", "--silent", "nobody is lost", "--lose 0.3"),
}
