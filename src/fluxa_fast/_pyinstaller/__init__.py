"""Tells PyInstaller where the hook is that names what a program with fluxa_fast needs."""

from __future__ import annotations

from pathlib import Path

__all__ = ["get_hook_dirs"]


def get_hook_dirs() -> list[str]:
    """Return the folder of the hook. PyInstaller calls this through the entry point `pyinstaller40`."""
    return [str(Path(__file__).parent)]
