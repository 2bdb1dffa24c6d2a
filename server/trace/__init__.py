"""Where the time of a round goes: one trace is one round, in the format that Perfetto and chrome://tracing open.

`recorder.py` notes what happens while a round is open, `chrome.py` puts it into the format, `merge.py` makes one file
of several.
"""
