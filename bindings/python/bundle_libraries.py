#!/usr/bin/env python3
"""Gives an extension module its own copies of the libraries that not every machine has.

  bundle_libraries.py MODULE

Copies lie in the folder .libs beside the module, under names that no other package uses, so that two versions of one
library can live in a process. Needs patchelf.
"""

import hashlib
import pathlib
import re
import shutil
import subprocess
import sys

# What every Linux has that glibc's manylinux wheels run on.
SYSTEM = re.compile(r"(ld-linux.*|lib(c|m|dl|rt|pthread|util|resolv|stdc\+\+|gcc_s))\.so(\.\d+)*$")


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def needed(library):
    return run("patchelf", "--print-needed", str(library)).split()


def locate(library):
    """Where the loader finds each library that this one, or one of those, needs."""
    return dict(re.findall(r"^\s*(\S+) => (/\S+)", run("ldd", str(library)), re.M))


def bundle(module):
    places = locate(module)
    folder = module.parent / ".libs"
    copies = {}
    for name, place in sorted(places.items()):
        if SYSTEM.match(name):
            continue
        digest = hashlib.sha256(pathlib.Path(place).read_bytes()).hexdigest()[:8]
        copies[name] = folder / f"libweir-{digest}-{name}"
        folder.mkdir(exist_ok=True)
        shutil.copyfile(place, copies[name])
        copies[name].chmod(0o755)
    for library in [module, *copies.values()]:
        arguments = ["--set-rpath", "$ORIGIN/.libs" if library == module else "$ORIGIN"]
        for name in needed(library):
            if name in copies:
                arguments += ["--replace-needed", name, copies[name].name]
        if library != module:
            arguments += ["--set-soname", library.name]
        run("patchelf", *arguments, str(library))
    left = [name for name in needed(module) if not SYSTEM.match(name) and not name.startswith("libweir-")]
    if left:
        sys.exit(f"{module}: {', '.join(left)}: not found, so that the wheel would not run elsewhere")
    print(f"{module.name}: {len(copies)} libraries beside it")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    bundle(pathlib.Path(sys.argv[1]).resolve())
