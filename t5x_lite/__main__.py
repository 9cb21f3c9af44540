"""`python -m t5x_lite` is `t5x-lite`."""

from t5x_lite.main import run

if __name__ == "__main__":
    run()
