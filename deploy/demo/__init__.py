"""`roughfed demo`: a whole federation on this machine, as separate processes that really talk over mTLS."""

from roughfed.deploy.demo.options import DemoOptions
from roughfed.deploy.demo.outcome import DemoResult
from roughfed.deploy.demo.run import run_demo

__all__ = ["DemoOptions", "DemoResult", "run_demo"]
