"""The rounds: `run` plays one after another, `engine` one from its opening to its end.

`plain` and `masked` are the two ways in which updates are collected, judged and summed; `engine` knows neither.
"""
