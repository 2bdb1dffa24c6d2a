"""The checks: each is one file with one function, and one row in `roughfed.deploy.doctor`."""
