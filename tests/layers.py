#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Holds the arrows between folders: who may include what, and what bitshedd is linked with.

    layers.py SOURCE_ROOT [BITSHEDD]

Exits 1 with one line per offence. The table is the design's: dependencies point downwards only.
"""

import pathlib
import re
import subprocess
import sys

# Folder: what its files may include of ours, and system headers that they must never see.
MAY = {
    "daemon/base": (["base/"], ["systemd/", "yaml.h", "CL/", "protobuf-c"]),
    "daemon/engine/kernels": (["base/", "engine/kernels/", "engine/bits.h"],
                              ["pthread.h", "systemd/", "yaml.h", "CL/", "protobuf-c"]),
    "daemon/engine": (["base/", "engine/"], ["systemd/", "yaml.h", "CL/", "protobuf-c"]),
    "daemon/worker": (["base/", "engine/", "worker/", "kernels_cl/"], ["systemd/", "yaml.h", "protobuf-c"]),
    "daemon/convert": (["base/", "engine/", "convert/"], ["systemd/", "yaml.h", "CL/"]),
    "daemon/service": (["base/", "engine/", "service/", "bitshed/protocol.h",
                        "worker/protocol.h", "worker/client.h"],
                       ["CL/", "protobuf-c"]),
    "daemon/rehearse": (["base/", "engine/", "service/", "rehearse/"], ["CL/", "protobuf-c"]),
    "daemon/tools": (["base/", "engine/", "convert/", "tools/", "worker/protocol.h", "worker/client.h"], ["systemd/", "yaml.h", "CL/"]),
    "client": (["bitshed/", "client/"], ["yaml.h", "CL/", "protobuf-c"]),
}
OURS = ("base/", "engine/", "worker/", "convert/", "service/", "rehearse/", "tools/", "kernels_cl/", "bitshed/", "client/")
GENERATED = ("onnx.pb-c.h",)
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)
FORBIDDEN_LIBRARIES = re.compile(r"libprotobuf|libOpenCL|libdnnl|libonnx|libjpeg|libpng")


def rule_of(path):
    """The most specific folder of the table that holds this file."""
    return max((f for f in MAY if str(path).startswith(f + "/")), key=len, default=None)


def offences(root):
    for path in sorted(root.glob("daemon/**/*.[ch]")) + sorted(root.glob("client/**/*.[ch]")):
        name = path.relative_to(root)
        rule = rule_of(name)
        if rule is None:
            continue
        allowed, never = MAY[rule]
        for quote, included in INCLUDE.findall(path.read_text(encoding="utf-8")):
            if any(included.startswith(n) for n in never):
                yield f"{name}: {rule} must never see <{included}>"
            elif quote == '"' and included.startswith(OURS) and not any(included.startswith(a) for a in allowed):
                yield f"{name}: {rule} must not include {included}"
    for path in sorted(root.glob("**/*.[ch]")) + sorted(root.glob("**/*.py")):
        if (root / path.relative_to(root).parts[0] / "meson-private").is_dir():
            continue  # a folder to build in, whatever its name
        if "SPDX-License-Identifier: Apache-2.0" not in path.read_text(encoding="utf-8")[:200]:
            yield f"{path.relative_to(root)}: no SPDX line"


def linked(program):
    out = subprocess.run(["readelf", "-d", program], capture_output=True, text=True, check=True).stdout
    for library in re.findall(r"NEEDED.*\[(.+)\]", out):
        if FORBIDDEN_LIBRARIES.search(library):
            yield f"{program}: linked with {library}"


def main(arguments):
    found = list(offences(pathlib.Path(arguments[0])))
    if len(arguments) > 1:
        found += linked(arguments[1])
    print("\n".join(found) or "no arrow points the wrong way")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
