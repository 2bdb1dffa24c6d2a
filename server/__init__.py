"""roughfed.server: see docs/ARCHITECTURE.md."""

if __name__ == "server":
    raise ImportError("import roughfed.server, not server: the folder is installed as the package roughfed.server")
