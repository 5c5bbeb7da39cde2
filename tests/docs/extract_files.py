#!/usr/bin/env python3
"""Writes the files that a page of the documentation shows.

  extract_files.py PAGE FOLDER

A fenced block that follows a line "<!-- file: NAME -->" becomes FOLDER/NAME; further blocks of a name
are appended. Exits with 1 if the page
shows no file, or names one without a block.
"""

import pathlib
import re
import sys


def main():
    page, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^<!-- file: ([\w./-]+) -->\n```[\w ]*\n(.*?)^```$", text, re.M | re.S)
    named = re.findall(r"^<!-- file: ", text, re.M)
    if not blocks or len(blocks) != len(named):
        sys.exit(f"{page}: {len(named)} files named, {len(blocks)} shown")
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for name, body in blocks:
        files[name] = files.get(name, "") + body
    for name, body in files.items():
        (folder / name).write_text(body, encoding="utf-8")


if __name__ == "__main__":
    main()
