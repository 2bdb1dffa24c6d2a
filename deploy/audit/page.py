"""An audit as sections of a page: of audit.html, and of a run's report.html."""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode
from collections.abc import Mapping, Sequence

from roughfed.deploy.audit.habits import LENGTHS
from roughfed.deploy.audit.regression import Curve
from roughfed.deploy.audit.result import AuditResult
from roughfed.deploy.audit.words import MEANINGS, attacker, named, solved, verdict
from roughfed.report.chart import figure
from roughfed.report.layout import captioned, note, pair, safe, section
from roughfed.report.plots import curves
from roughfed.report.scale import number
from roughfed.report.tables import table

NOT_SHOWN = (
    "One SGD step, fresh weights, labels known to the attacker: the worst case. More images, more steps and later "
    "rounds make it harder. Not attacked here: models crafted by the server, and what else an attacker may know."
)


def sections(result: AuditResult) -> list[str]:
    """The audit, HTML sections in order."""
    return [
        section("Privacy, measured: gradient inversion", note(_subject(result)) + _inversions(result)),
        section("Privacy, measured: rebuilt images", _pictures(result)),
        section("Privacy, measured: regression over rounds", _regressions(result)),
    ]


def facts(result: AuditResult) -> list[tuple[str, str]]:
    """(label, value) for the head of the page."""
    return [
        ("data", result.data),
        ("model", result.model),
        ("sketch", f"{result.dim} numbers"),
        ("group", f"{result.group} clients"),
        ("trials", str(result.trials)),
    ]


def _subject(result: AuditResult) -> str:
    warned = f" Mind: {result.warning}." if result.warning else ""
    return f"{NOT_SHOWN}{warned}"


def _inversions(result: AuditResult) -> str:
    blocks: list[str] = []
    for batch in sorted({row.batch for row in result.inversions}):
        rows = [row for row in result.inversions if row.batch == batch]
        drawn = {
            "rebuilt": [max(row.psnr_db, 0.0) for row in rows],
            "guessing with the same knowledge": [max(row.guess_db, 0.0) for row in rows],
        }
        count = "one image" if batch == 1 else f"{batch} images"
        caption = f"A batch of {count}: PSNR, dB (rebuilt far above guessing = less private)"
        blocks.append(figure(caption, "dots", [named(row) for row in rows], drawn))
    head = ("batch", "the server sees", "attacker", "numbers", "unknowns", "PSNR", "guess", "")
    rows = [
        (
            str(r.batch),
            MEANINGS[r.mode],
            attacker(r),
            number(r.numbers),
            number(r.unknowns),
            _decibels(r.psnr_db),
            _decibels(r.guess_db),
            verdict(r),
        )
        for r in result.inversions
    ]
    words = "“Learned” and “has such images”: this attacker has thousands of public images of the same kind."
    return pair(*blocks) + table(head, rows, numeric=(0, 3, 4, 5, 6)) + note(words)


def _pictures(result: AuditResult) -> str:
    blocks = [
        captioned(f"Batch of {p.batch}: an image of the first client", _images(p.images)) for p in result.pictures
    ]
    return pair(*blocks)


def _images(images: Mapping[str, Sequence[Sequence[float]]]) -> str:
    """Side by side, each with its name below."""
    shown = [
        f'<figure><img alt="{safe(name)}" src="data:image/png;base64,{b64encode(_png(rows)).decode()}">'
        f"<figcaption>{safe(name)}</figcaption></figure>"
        for name, rows in images.items()
    ]
    return f'<div class="images">{"".join(shown)}</div>'


def _png(rows: Sequence[Sequence[float]]) -> bytes:
    """Pixels 0..1, white to black, as the smallest PNG: grey, one strip."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    pixels = b"".join(b"\0" + bytes(255 - round(255 * min(max(value, 0.0), 1.0)) for value in row) for row in rows)
    head = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def _regressions(result: AuditResult) -> str:
    static, habits = (
        _errors(caption, found)
        for caption, found in (
            ("A value that never changes, such as class counts: error, 1 = guessing", result.statics),
            (f"A client's mean update over {LENGTHS * result.dim:,} parameters: error, 1 = guessing", result.habits),
        )
    )
    rows = [(curve.name, solved(curve), f"{curve.error[-1]:.3f}") for curve in result.statics]
    words = (
        f"{result.clients} clients; groups redrawn every round or every 10, with everybody or with 5 % away. The curve "
        f"of sketches is for {LENGTHS * result.dim} parameters and stretches in proportion: D parameters need D / "
        f"{result.dim} rounds of sketches for as many equations as unknowns. The curves of sums do not depend on D."
    )
    return (
        pair(static, habits)
        + table(("static value asked", "all clients solved", "error at the end"), rows)
        + note(words)
    )


def _errors(caption: str, found: list[Curve]) -> str:
    longest = max((len(curve.error) for curve in found), default=0)
    series = {curve.name: [*curve.error, *[None] * (longest - len(curve.error))] for curve in found}
    return curves(caption, range(1, longest + 1), series, "number")


def _decibels(value: float) -> str:
    return f"{value:.1f} dB"
