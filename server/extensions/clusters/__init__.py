"""A model for each cluster of clients: IFCA (they choose by their losses) and CFL (they are split by their angles).

`members`, `bipartition` and `choosing` are pure; `journal` keeps what is decided; `keeping` speaks to the federation.
"""
