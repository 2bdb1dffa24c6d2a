"""The Grafana dashboard: tables of panels and what makes JSON of them.

`python -m roughfed.deploy.grafana > deploy/grafana/dashboard.json` writes the file that is imported; a test compares,
and another one asks a real Prometheus every query of it.
"""
