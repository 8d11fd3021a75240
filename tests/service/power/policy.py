#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The daemon under the shipped policy while a board's power changes: the real upowerd and power-profiles-daemon over
made-up hardware, stand-ins of python3-dbusmock for low-memory-monitor and logind, a FIFO for memory pressure and
made-up thermal zones. Eight clients ask all the time, and none of them may fail. Each change has to lead to the width
and the rule that the policy names, and "bitshed why" has to name it; how long that took is printed.

policy.py CLIENTS BITSHEDD BITSHED SOURCE. Exits 77 with a line that says why when something is not installed.
"""

import os
import subprocess
import sys
import time

import services

CLIENTS, BITSHEDD, BITSHED, SOURCE = sys.argv[1:5]
PATIENCE = 30  # against hanging only
DWELL = 5.2    # of the shipped policy


class Board:
    """A daemon of its own for each part, so that none uses up another's switches of the hour."""

    def __init__(self, rig, title, **environment):
        import dbus
        self.rig, self.title, self.slowest = rig, title, 0
        self.address = rig.clean["DBUS_SYSTEM_BUS_ADDRESS"]
        self.daemon = rig.start([BITSHEDD, "--bus=" + self.address, "--config=/nonexistent",
                                 f"--policy={SOURCE}/config/policies/default.yaml", f"--sysfs={rig.folder}/sys",
                                 f"--model=net={rig.folder}/net.gguf"], {**rig.clean, **environment})
        rig.until_owned("org.bitshed")
        self.model = dbus.Interface(rig.bus.get_object("org.bitshed", "/org/bitshed/model/net"),
                                    "org.freedesktop.DBus.Properties")
        rig.until(lambda: self.get("State") == "ready", "the model", PATIENCE)
        self.clients = rig.start([CLIENTS, "run", self.address, "net", "8"], stdout=subprocess.PIPE)
        time.sleep(0.5)

    def get(self, name):
        return self.model.Get("org.bitshed.Model1", name)

    def expect(self, what, change, bits, rule):
        """@change: made now; @bits: of the model then; None: whatever"""
        begin = time.monotonic()
        change()
        while not (self.get("Rule") == rule and bits in (None, self.get("Bits"))):
            if time.monotonic() > begin + PATIENCE:
                break
            time.sleep(0.004)
        took = time.monotonic() - begin
        why = subprocess.run([BITSHED, "--bus=" + self.address, "why", "net"], env=self.rig.clean, check=False,
                             stdout=subprocess.PIPE).stdout.decode()
        good = self.get("Rule") == rule and bits in (None, self.get("Bits")) and f" {rule}: " in why
        self.rig.failures += not good
        print("%-7s %-44s %g bits by %-20s after %4.0f ms" % (
            "ok" if good else "FAILED", what, self.get("Bits"), self.get("Rule"), took * 1e3), flush=True)

    def close(self):
        self.clients.terminate()
        said = self.clients.communicate(timeout=PATIENCE)[0].decode().strip()
        good = self.clients.returncode == 0
        self.rig.failures += not good
        self.rig.children.remove(self.clients)
        print("%-7s %s: eight clients %s" % ("ok" if good else "FAILED", self.title, said), flush=True)
        self.rig.stop(self.daemon)
        self.rig.until(lambda: not self.rig.bus.name_has_owner("org.bitshed"), "the end of the daemon")


def battery(rig):
    from gi.repository import UMockdev
    hardware = UMockdev.Testbed.new()
    cell = hardware.add_device("power_supply", "BAT0", None, [
        "type", "Battery", "present", "1", "status", "Charging", "energy_full", "60000000",
        "energy_full_design", "60000000", "energy_now", "60000000", "power_now", "10000000",
        "voltage_now", "12000000", "capacity", "100", "technology", "Li-ion", "scope", "System"], [])
    line = hardware.add_device("power_supply", "AC", None, ["type", "Mains", "online", "1"], [])

    def change(online, percent):
        hardware.set_attribute(line, "online", str(int(online)))
        hardware.uevent(line, "change")
        for key, value in (("status", "Charging" if online else "Discharging"), ("capacity", str(percent)),
                           ("energy_now", str(percent * 600000))):
            hardware.set_attribute(cell, key, value)
        hardware.uevent(cell, "change")

    child = rig.start([services.find(services.UPOWERD, "upower")],
                      dict(os.environ, UMOCKDEV_DIR=hardware.get_root_dir()))
    rig.until_owned("org.freedesktop.UPower")
    board = Board(rig, "upowerd")
    board.expect("on the line, 100 %", lambda: None, 4, "full")
    for percent, bits, rule in ((100, 3, "on-battery"), (80, 3, "on-battery"), (60, 3, "on-battery"),
                                (45, 3, "battery-half"), (30, 3, "battery-half"), (18, 2, "battery-low"),
                                (12, 2, "battery-low"), (5, 1, "battery-critical")):
        if percent in (100, 18, 5):
            time.sleep(DWELL)
        board.expect(f"on battery, {percent} %", lambda p=percent: change(False, p), bits, rule)
    time.sleep(DWELL)
    board.expect("on the line again", lambda: change(True, 60), 4, "full")
    board.close()
    rig.stop(child)
    return hardware


def profiles(rig):
    root = "hardware/sys/firmware/acpi"
    rig.write(f"{root}/platform_profile_choices", "low-power balanced performance\n")
    rig.write(f"{root}/platform_profile", "balanced\n")
    for folder in ("bus", "class"):
        os.makedirs(f"{rig.folder}/hardware/sys/{folder}", exist_ok=True)
    rig.mock("polkitd", "org.freedesktop.PolicyKit1")
    child = rig.start([services.find(services.PPD, "power-profiles-daemon")],
                      dict(os.environ, UMOCKDEV_DIR=f"{rig.folder}/hardware"))
    rig.until(lambda: any(rig.bus.name_has_owner(n) for n in (
        "net.hadess.PowerProfiles", "org.freedesktop.UPower.PowerProfiles")), "power-profiles-daemon")
    board = Board(rig, "power-profiles-daemon")
    board.expect("balanced", lambda: None, 4, "full")
    time.sleep(DWELL)
    board.expect("power-saver on", lambda: rig.write(f"{root}/platform_profile", "low-power\n"), 2, "power-saver")
    time.sleep(DWELL)
    board.expect("power-saver off", lambda: rig.write(f"{root}/platform_profile", "balanced\n"), 4, "full")
    board.close()
    rig.stop(child)


def memory(rig):
    import dbus
    child = rig.mock("low_memory_monitor", "org.freedesktop.LowMemoryMonitor")
    mock = dbus.Interface(rig.bus.get_object("org.freedesktop.LowMemoryMonitor",
                                             "/org/freedesktop/LowMemoryMonitor"), "org.freedesktop.DBus.Mock")
    board = Board(rig, "low-memory-monitor", MEMORY_PRESSURE_WATCH="/dev/null")
    board.expect("memory is not short", lambda: None, 4, "full")
    board.expect("low-memory-monitor warns", lambda: mock.EmitWarning(dbus.Byte(50)), 2, "memory-is-short")
    board.close()
    rig.stop(child)
    fifo = f"{rig.folder}/fifo"
    os.mkfifo(fifo)
    board = Board(rig, "a FIFO", MEMORY_PRESSURE_WATCH=fifo)

    def press():
        with open(fifo, "w", encoding="ascii") as f:
            f.write("x")

    board.expect("memory is not short", lambda: None, 4, "full")
    board.expect("the FIFO says pressure", press, 2, "memory-is-short")
    board.close()


def heat(rig):
    zone = "sys/class/thermal/thermal_zone3"
    for name, text in (("type", "cpu-thermal"), ("trip_point_0_type", "passive"), ("trip_point_0_temp", "80000"),
                       ("temp", "45000")):
        rig.write(f"{zone}/{name}", text + "\n")
    board = Board(rig, "thermal zones")
    board.expect("it is cool", lambda: None, 4, "full")
    board.expect("it heats up; looked at every 2 s", lambda: rig.write(f"{zone}/temp", "77000\n"), 2,
                 "nearly-too-hot")
    rig.write(f"{zone}/temp", "45000\n")
    board.close()


def sleep(rig):
    import dbus
    rig.mock("logind", "org.freedesktop.login1")
    mock = dbus.Interface(rig.bus.get_object("org.freedesktop.login1", "/org/freedesktop/login1"),
                          "org.freedesktop.DBus.Mock")
    board = Board(rig, "logind")

    def announce(begins):
        mock.EmitSignal("org.freedesktop.login1.Manager", "PrepareForSleep", "b", [begins])

    board.expect("awake", lambda: None, 4, "full")
    begin = time.monotonic()
    announce(True)
    rig.until(lambda: board.get("State") == "parked", "the parked model", PATIENCE)
    print("ok      drained and parked after %.0f ms, clients wait" % ((time.monotonic() - begin) * 1e3))
    time.sleep(1)
    board.expect("awake again", lambda: announce(False), 4, "full")
    board.close()


def main():
    services.require()
    if "umockdev" not in os.environ.get("LD_PRELOAD", ""):
        os.execvp("umockdev-wrapper", ["umockdev-wrapper", sys.executable, "-B", *sys.argv])
    services.find(services.UPOWERD, "upower")
    services.find(services.PPD, "power-profiles-daemon")
    rig = services.Rig(None)
    try:
        subprocess.run([CLIENTS, "write", f"{rig.folder}/net.gguf"], env=rig.clean, check=True)
        keep = [part(rig) for part in (battery, profiles, memory, heat, sleep)]
        del keep
    finally:
        rig.close()
    print("failed:", rig.failures)
    return 1 if rig.failures else 0


if __name__ == "__main__":
    sys.exit(main())
