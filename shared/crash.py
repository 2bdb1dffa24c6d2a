"""Named crash points: where a test, or a careful operator, lets a process die to see it recover.

`ROUGHFED_CRASH_AT=point` kills the process with SIGKILL the first time it gets there, `point:3` the third time. Unset
(always, outside such tests), a point costs one dictionary look-up.
"""

from __future__ import annotations

import os
import signal

from roughfed.errors import ConfigError

SERVER_POINTS = {
    "run-created": "the run's Spec and initial weights are journaled, no round yet",
    "round-opened": "header and cohort are journaled, no job was sent",
    "jobs-sent": "every job was pushed",
    "upload-started": "the signed statement of an upload is on disk, no byte of it",
    "upload-partial": "a first chunk of an upload is on disk",
    "upload-complete": "all bytes are on disk and synced, the receipt is not journaled",
    "receipt-journaled": "the receipt is journaled, not sent",
    "defence-noted": "the defence has judged, neither its verdict nor what it remembers is journaled",
    "sets-journaled": "the accepted and excluded sets are journaled, nothing is combined",
    "model-written": "the next model is on disk, not committed",
    "committed": "the next version is committed, nobody was told",
    "taken-back": "rollback: the next version failed on the server's data, its files are still there",
    "announced": "every client was told; spool files are still there",
    "stages-forgotten": "masked: what the clients said in a round is deleted, its figures are not journaled",
    "summary-journaled": "the figures of a round are journaled; spool files are still there",
    "ledger-journaled": "ledger: the lines about a round are journaled, not in the file",
    "ledger-written": "ledger: the lines about a round are in the file, the journal does not know",
    "clusters-settled": "clusters: what follows from a round for the clusters is journaled, nothing is done by it",
    "choosing-opened": "clusters: the models that the clients choose from are journaled, nobody was asked",
    "choice-journaled": "clusters: a client's choice is journaled",
    "choosing-closed": "clusters: who is where by choice is journaled, nobody trains by it",
    "advertise-taken": "masked: an advert is taken, perhaps not journaled",
    "shares-taken": "masked: the same with a client's shares",
    "opening-taken": "masked: the same with an opened key",
    "sketch-taken": "masked: the same with a sketch",
    "consistency-taken": "masked: the same with a signature over the sets",
    "unmask-taken": "masked: the same with an answer to unmask",
    "roster-decided": "masked: the roster is journaled, nobody was told",
    "dealt-decided": "masked: who dealt shares is journaled, nobody was told",
    "masked-decided": "masked: who uploaded, and so the seed, is journaled, nobody was told",
    "questions-decided": "masked: whom to ask about a dispute is journaled, nobody was asked",
    "sketched-decided": "masked: the disputes are settled and journaled",
    "judged-decided": "masked: the sets are journaled, nobody was told",
    "agreed-decided": "masked: that a group agrees is journaled, nobody was asked to unmask",
    "order-adopted": "edge: the model of the federation above is the newest version, no round on it yet",
    "run-finished": "the run is marked finished, nobody was told",
}

CLIENT_POINTS = {
    "job-accepted": "the job is accepted and noted",
    "base-fetched": "base: the frozen base is on disk and its digest is right",
    "model-fetched": "the parameters are on disk and their digest is right",
    "trained": "local training is done, the update is not noted",
    "secret-written": "masked: the secret of the round is written ahead, no advert left",
    "message-written": "masked: a message of the server is written ahead, not answered",
    "choice-noted": "clusters: which model fits best is noted, not told",
    "answer-sent": "masked: an answer was handed to the stream",
    "masked-written": "masked: the masked bytes are written ahead, not noted",
    "update-saved": "statement and bytes are noted, no byte left",
    "upload-cut": "a first chunk left",
    "receipt-got": "the receipt arrived, it is not noted",
    "receipt-saved": "the receipt is noted",
    "residual-settled": "what the codec lost follows the server's word on a round; that the update counts is not noted",
    "counted-noted": "that the update counts is noted",
}

TRAINER_POINTS = {
    "state-begun": "the update is on disk, what the parts keep is not",
    "state-written": "what the parts keep is on disk, older state is not deleted",
    "state-pruned": "older state is deleted, the agent knows of nothing",
}
"""The trainer process dies there, not its agent, which starts another one; that one dies there, too."""

_counts: dict[str, int] = {}


def check_wanted() -> None:
    """Refuse a wish that would never come true.

    Raises:
        ConfigError: the environment names a point that is in no table.
    """
    wanted, _, nth = os.environ.get("ROUGHFED_CRASH_AT", "").partition(":")
    known = any(wanted in table for table in (SERVER_POINTS, CLIENT_POINTS, TRAINER_POINTS))
    if wanted and not (known and (not nth or nth.isdecimal())):
        cure = "roughfed server --crash-points lists them; NAME, or NAME:3 for the third time"
        raise ConfigError(f"{wanted!r} is no point to crash at", key="ROUGHFED_CRASH_AT", cure=cure)


def point(name: str) -> None:
    """Die here if the environment says so.

    Raises:
        KeyError: the name is not in the tables above.
    """
    if (wanted := os.environ.get("ROUGHFED_CRASH_AT")) is None:
        return
    if not any(name in table for table in (SERVER_POINTS, CLIENT_POINTS, TRAINER_POINTS)):
        raise KeyError(name)
    wanted_name, _, nth = wanted.partition(":")
    if name == wanted_name:
        _counts[name] = _counts.get(name, 0) + 1
        if _counts[name] >= int(nth or 1):
            os.kill(os.getpid(), signal.SIGKILL)
