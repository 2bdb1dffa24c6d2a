"""A client's evaluation without training to a message and back."""

from __future__ import annotations

from roughfed.messages import EvaluationReport
from roughfed.pb.v1 import federation_pb2 as fed
from roughfed.wire.updates import evaluation_message, evaluation_value


def report_message(value: EvaluationReport) -> fed.EvaluationReport:
    """A report as a message."""
    message = fed.EvaluationReport(round=value.round, evaluation=evaluation_message(value.evaluation))
    for field, given in (message.personal, value.personal), (message.alone, value.alone):
        if given is not None:
            field.CopyFrom(evaluation_message(given))
    return message


def report_value(m: fed.EvaluationReport) -> EvaluationReport:
    """A message as a report.

    Raises:
        RemoteProtocolError: malformed.
    """
    return EvaluationReport(
        m.round,
        evaluation_value(m.evaluation),
        evaluation_value(m.personal) if m.HasField("personal") else None,
        evaluation_value(m.alone) if m.HasField("alone") else None,
    )
