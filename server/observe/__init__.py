"""What is shown of a running server: status, page, alerts, reports. And the operator's control socket."""
