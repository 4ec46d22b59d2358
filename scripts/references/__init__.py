"""The generated parts of the docs: `python -m scripts.references` writes them, `--check` says whether they are true."""
