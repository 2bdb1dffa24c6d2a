"""What went wrong, in the words of `roughfed.trainer_client`: a reason, one line, and the trace."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from roughfed.client.trainer.link import Abandoned
from roughfed.errors import ConfigError, RoughfedError, StorageError, TrainerError


def answered(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The outer loop of a trainer: do what was asked; answer {"ok": what it gives} or {"error": what went wrong}."""
    try:
        return {"ok": work()}
    except (Exception, SystemExit, Abandoned) as error:  # noqa: BLE001 everything goes to whoever asked
        return {"error": explain(error)}


def explain(error: BaseException) -> dict[str, Any]:
    """Turn an exception into the `error` of an answer.

    Returns:
        reason, message, trace, and fatal: whether this process is of no use any more.
    """
    reason = _reason(error)
    message = str(error) if isinstance(error, RoughfedError) else f"{_place(error)}{type(error).__name__}: {error}"
    if isinstance(error, ConfigError) and error.cure:
        message += f" ({error.cure})"
    trace = "".join(traceback.format_exception(error)) if reason in {"user-code", "cuda", "out-of-memory"} else ""
    return {"reason": reason, "message": message, "trace": trace, "fatal": reason == "cuda"}


def _reason(error: BaseException) -> str:
    if isinstance(error, TrainerError | StorageError):
        return error.reason
    if isinstance(error, RoughfedError):
        return "refused"
    if isinstance(error, Abandoned):
        return "abandoned"
    # The CPU's allocator raises a plain RuntimeError.
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        return "out-of-memory"
    if isinstance(error, RuntimeError) and str(error).startswith(("CUDA error", "cuDNN error", "CUBLAS error")):
        return "cuda"
    return "user-code"


def _place(error: BaseException) -> str:
    """FILE:LINE of the last frame in the user's own code; nothing when there is none."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_NOT_USERS)]
    return f"{own[-1].filename}:{own[-1].lineno}: " if own else ""


# This package, the standard library with what is installed in it, and frames without a file.
_NOT_USERS = (str(Path(__file__).parents[1]), sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), "<")
