"""``python -m orthweb``."""

from orthweb.cli import main

if __name__ == "__main__":
    main()
