"""What pipestate costs beside its floor and its peers: `python -m benchmarks`, `--small` to try."""
