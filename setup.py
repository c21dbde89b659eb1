"""Builds the compiled protocol core, or leaves it out. Everything else is in pyproject.toml.

FLUXA_FAST_NO_EXTENSIONS=1       build the pure package
FLUXA_FAST_REQUIRE_EXTENSIONS=1  a failed compile is an error (all our CI and wheel builds)
FLUXA_FAST_WARNINGS=error        a compiler warning is an error (CI: a new compiler must not stop a release)
FLUXA_FAST_BUILD=debug|asan|coverage  choose the flags; unset is a release build

Without the first two: compiled where a C compiler works, pure where none does. SOURCE_DATE_EPOCH (seconds) is
the time that sdist and wheel bear, so that the same source gives the same bytes.
"""

import gzip
import os
import runpy
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist

COMPILED = "src/fluxa_fast/protocol/compiled"
VERSION = runpy.run_path("src/fluxa_fast/_version.py")["__version__"]
BUILD = os.environ.get("FLUXA_FAST_BUILD", "release")
REQUIRED = os.environ.get("FLUXA_FAST_REQUIRE_EXTENSIONS") == "1"
LEFT_OUT = os.environ.get("FLUXA_FAST_NO_EXTENSIONS") == "1" or sys.implementation.name != "cpython"

# Checks of the stack and of copies, no names for other libraries to find, and no table of functions to write to.
HARDENED = ["-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2", "-fvisibility=hidden"]
GCC_FLAGS = {
    "release": ["-O3", "-g0", *HARDENED],
    "debug": ["-O0", "-g"],
    "asan": ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"],
    "coverage": ["-O0", "-g"],
}
LINK_FLAGS = {
    "release": ["-Wl,-s", "-Wl,-z,relro,-z,now"] if sys.platform == "linux" else [],
    "asan": ["-fsanitize=address,undefined"],
}


class BuildExt(build_ext):
    """Chooses the flags of the compiler that is there, and compiles on all cores."""

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count() or 1

    def build_extensions(self):
        unix = self.compiler.compiler_type != "msvc"
        if unix and BUILD == "release":
            # Some Pythons (pyenv's) have modules look for libpython where it lies on the machine that builds.
            linker = [word for word in self.compiler.linker_so if not word.startswith("-Wl,-rpath")]
            self.compiler.set_executables(linker_so=linker)
        flags = GCC_FLAGS[BUILD] if unix else ["/O2"]
        for extension in self.extensions:
            extension.define_macros.append(
                ("FLUXA_FAST_FLAGS", f'"{" ".join(flags)}"')
            )  # `fluxa-fast version` shows them
            extension.extra_compile_args += flags
            if unix:
                extension.extra_link_args += LINK_FLAGS.get(BUILD, [])
                if os.environ.get("FLUXA_FAST_WARNINGS") == "error":
                    extension.extra_compile_args += ["-Wall", "-Werror", "-Wno-unused-function"]
        super().build_extensions()


class Sdist(sdist):
    """Writes the same archive of the same files: in order, of nobody, and of the time of SOURCE_DATE_EPOCH."""

    def make_archive(self, base_name, format, root_dir=None, base_dir=None, owner=None, group=None):
        if format != "gztar":
            return super().make_archive(base_name, format, root_dir, base_dir, owner, group)
        moment = int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())

        def settled(member):
            member.mtime = moment
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            return member

        target = f"{base_name}.tar.gz"
        with (
            open(target, "wb") as raw,
            gzip.GzipFile("", "wb", fileobj=raw, mtime=moment) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            archive.add(base_dir, filter=settled)  # `add` goes through folders in order
        return target


def compiler_works():
    """Compile three lines against Python's headers, so that the answer is known before anything is built."""
    from distutils.ccompiler import new_compiler
    from distutils.sysconfig import customize_compiler
    from sysconfig import get_paths

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text("#include <Python.h>\nint main(void) { return PY_MAJOR_VERSION == 0; }\n", "utf-8")
        try:
            compiler = new_compiler()
            customize_compiler(compiler)
            paths = get_paths()
            compiler.compile([str(source)], output_dir=folder, include_dirs=[paths["include"], paths["platinclude"]])
        except Exception as error:  # every compiler class has errors of its own
            print(f"fluxa_fast: no C compiler that works ({error}): building the pure-Python package", file=sys.stderr)
            return False
    return True


def extensions():
    if LEFT_OUT and REQUIRED:
        sys.exit("FLUXA_FAST_NO_EXTENSIONS and FLUXA_FAST_REQUIRE_EXTENSIONS exclude each other")
    if BUILD not in GCC_FLAGS:
        sys.exit(f"FLUXA_FAST_BUILD is one of {', '.join(GCC_FLAGS)}, not {BUILD!r}")
    if LEFT_OUT or not (REQUIRED or compiler_works()):
        return []
    from Cython.Build import cythonize

    macros = [("FLUXA_FAST_VERSION", f'"{VERSION}"')]
    if BUILD == "coverage":
        macros += [("CYTHON_TRACE", "1"), ("CYTHON_USE_SYS_MONITORING", "0")]
    modules = [
        Extension(
            ".".join(path.with_suffix("").parts[1:]),
            [str(path)],
            define_macros=list(macros),
            depends=[str(header) for header in sorted(Path(COMPILED).glob("*.pxd"))],
        )
        for path in sorted(Path(COMPILED).glob("*.pyx"))
    ]
    return cythonize(
        modules,
        build_dir=None if BUILD == "coverage" else "build/cython",  # coverage wants the C beside the module
        include_path=["src"],
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "initializedcheck": False,
            "cdivision": True,
            "embedsignature": True,
            "embedsignature.format": "python",
            "freethreading_compatible": True,  # what that rests on: docs/internals.md
            "linetrace": BUILD == "coverage",
        },
    )


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildExt, "sdist": Sdist})
