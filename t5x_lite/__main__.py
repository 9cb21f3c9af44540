"""`python -m t5x_lite` is `t5x-lite`."""

from t5x_lite.main import program

if __name__ == "__main__":
    program()
