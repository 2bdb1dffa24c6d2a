"""Clients that differ, on the page: personal models, clusters, tiers, fairness, contribution."""
