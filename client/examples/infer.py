#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""One inference over D-Bus: infer.py MODEL FILE, with a P6 image or raw pixels of the model's size.

Needs python3-dbus. The bus is $BITSHED_BUS: "session", an address, or by default the system bus.
"""
import os
import struct
import sys

import dbus

MANAGER = "org.bitshed.Manager1"


def connect():
    where = os.environ.get("BITSHED_BUS", "system")
    if where == "system":
        return dbus.SystemBus()
    if where == "session":
        return dbus.SessionBus()
    return dbus.bus.BusConnection(where)


def read_pixels(path):
    """The pixels of a P6 image, or the whole file."""
    with open(path, "rb") as f:
        data = f.read()
    if not data.startswith(b"P6"):
        return data
    header, values = 2, 0
    while values < 3:                  # width, height, largest colour; comments may stand between
        while data[header:header + 1].isspace():
            header += 1
        if data[header:header + 1] == b"#":
            header = data.index(b"\n", header)
            continue
        while not data[header:header + 1].isspace():
            header += 1
        values += 1
    return data[header + 1:]


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: infer.py MODEL FILE")
    model, path = sys.argv[1:]
    bus = connect()
    manager = dbus.Interface(bus.get_object("org.bitshed", "/org/bitshed"), MANAGER)
    options = dbus.Dictionary({"deadline-ms": dbus.UInt32(10000)}, signature="sv")
    try:
        output, result = manager.Infer(model, dbus.ByteArray(read_pixels(path)), options, byte_arrays=True)
    except dbus.DBusException as e:
        sys.exit(f"{e.get_dbus_name()}: {e.get_dbus_message()}")
    values = struct.unpack(f"<{len(output) // 4}f", output)
    best = max(range(len(values)), key=values.__getitem__)
    print(f"class {best} {values[best]:.4f}")
    print(f"{float(result['bits']):g} bits on {result['device']} by {result['rule']}")


if __name__ == "__main__":
    main()
