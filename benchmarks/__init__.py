"""What pipestate costs, beside its floor: `python -m benchmarks` (`--small` for a quick run)."""
