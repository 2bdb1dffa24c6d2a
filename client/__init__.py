"""roughfed.client: see docs/ARCHITECTURE.md."""

if __name__ == "client":
    raise ImportError("import roughfed.client, not client: the folder is installed as the package roughfed.client")
