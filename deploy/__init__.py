"""roughfed.deploy: see docs/ARCHITECTURE.md."""

if __name__ == "deploy":
    raise ImportError("import roughfed.deploy, not deploy: the folder is installed as the package roughfed.deploy")
