"""`python -m benchmarks`. The processes that it starts import this too: it stays empty for them."""

if __name__ == "__main__":
    from .report import main

    main()
