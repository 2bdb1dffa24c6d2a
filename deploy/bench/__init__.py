"""`roughfed bench`: the real server and real agents over mTLS, with nothing trained."""
