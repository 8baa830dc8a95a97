"""Tests of what `frame new KIND NAME like=PATTERN` writes."""
