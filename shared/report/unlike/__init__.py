"""Clients that differ, on the page: personal models, clusters, classes, fairness, contribution."""
