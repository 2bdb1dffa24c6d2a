"""How fast the federation itself is, on this machine: `roughfed bench round`, `uploads` and `peers`.

Nothing is trained (`roughfed.deploy.synthetic`); server, agents, certificates and files are the real ones. `launch.py`
starts them, each a process of `process.py`; `crowds.py` starts processes of many clients each.
"""
