"""`python -m tests.grafana > deploy/grafana/dashboard.json`."""

from __future__ import annotations

import json

from tests.grafana.board import dashboard
from tests.grafana.rows import ROWS

if __name__ == "__main__":
    print(json.dumps(dashboard(ROWS), indent=2, ensure_ascii=False))
