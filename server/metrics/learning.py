"""How good the newest model is."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.server.metrics.recorder import Recorder
from roughfed.telemetry import Family, safely

SPLITS = ("global", "balanced", "worst_class", "head", "medium", "tail", "clients_mean", "worst10")

FAMILIES = (
    Family(
        "eval_accuracy_ratio",
        "gauge",
        "Accuracy of the newest evaluated model: over all examples, mean over classes, of the worst class, mean over "
        "the classes with most, medium and fewest training examples, mean over clients, mean of the worst tenth of "
        "the clients.",
        {"split": SPLITS},
    ),
    Family("eval_macro_f1_ratio", "gauge", "Mean F1 over classes of the newest evaluated model.", unknown=True),
    Family(
        "eval_calibration_error_ratio",
        "gauge",
        "Mean distance between confidence and accuracy (ECE, 15 bins) of the newest evaluated model.",
        unknown=True,
    ),
    Family(
        "eval_forgetting_ratio",
        "gauge",
        "Mean over classes of the best recall that any earlier evaluation found, minus that of the newest; above zero: "
        "the model forgot.",
        unknown=True,
    ),
    Family("eval_loss", "gauge", "Mean loss of the newest evaluated model.", unknown=True),
)


class LearningMetrics(Recorder):
    """Evaluations of the newest model."""

    @safely
    def evaluated(
        self,
        *,
        accuracy: Mapping[str, float | None] | None = None,
        loss: float | None = None,
        macro_f1: float | None = None,
        calibration_error: float | None = None,
        forgetting: float | None = None,
    ) -> None:
        """An evaluation of the newest model: accuracy by split (`SPLITS`), 0 to 1; what is None stays as it was."""
        for split, value in (accuracy or {}).items():
            if value is not None:
                self._telemetry.set("eval_accuracy_ratio", value, split=split)
        rest = {
            "eval_loss": loss,
            "eval_macro_f1_ratio": macro_f1,
            "eval_calibration_error_ratio": calibration_error,
            "eval_forgetting_ratio": forgetting,
        }
        for name, value in rest.items():
            if value is not None:
                self._telemetry.set(name, value)
