"""Exports of tiny models."""

from tests.compiling import pytest_runtest_protocol as pytest_runtest_protocol
