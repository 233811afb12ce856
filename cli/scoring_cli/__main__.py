"""`python -m scoring_cli`, the same program as the `kubectl-scoring` that kubectl finds as a plugin."""

from scoring_cli.main import main

if __name__ == "__main__":
    main()
