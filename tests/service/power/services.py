#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The real upowerd and power-profiles-daemon over made-up hardware, and stand-ins of python3-dbusmock for
low-memory-monitor and logind, on a private system bus: what power-probe hears of them, and how soon. What the daemon
makes of it is in policy.py.

services.py PROBE. Exits 77 with a line that says why when something is not installed.
"""

import os
import select
import shutil
import subprocess
import sys
import tempfile
import time

SOON = 10  # against hanging only; how long it took is printed
UPOWERD = ["/usr/libexec/upowerd", "/usr/lib/upower/upowerd"]
PPD = ["/usr/libexec/power-profiles-daemon", "/usr/lib/power-profiles-daemon"]
BUS_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=%s/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow eavesdrop="true"/>
<allow send_destination="*" eavesdrop="true"/></policy></busconfig>
"""


def skip(why):
    print("SKIP:", why)
    sys.exit(77)


def find(paths, package):
    for path in paths:
        if os.path.exists(path):
            return path
    return skip(f"{package} is not installed")


def require():
    """Everything that Debian has in packages, or leave."""
    if not shutil.which("umockdev-wrapper"):
        skip("umockdev is not installed")
    if not shutil.which("dbus-daemon"):
        skip("dbus-daemon is not installed")
    try:
        import dbusmock  # noqa: F401
        import gi
        gi.require_version("UMockdev", "1.0")
    except (ImportError, ValueError) as e:
        skip(f"python3-dbusmock, python3-gi and gir1.2-umockdev-1.0 are needed: {e}")


class Rig:
    """A bus, the services on it, and the probe that listens."""

    def __init__(self, probe):
        self.folder = tempfile.mkdtemp(prefix="bitshed-power-")
        os.chmod(self.folder, 0o755)
        self.children, self.failures, self.last, self.partial = [], 0, "", b""
        self.begun = time.monotonic()
        self.clean = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
        self.clean["DBUS_SYSTEM_BUS_ADDRESS"] = f"unix:path={self.folder}/bus"
        os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = self.clean["DBUS_SYSTEM_BUS_ADDRESS"]
        with open(f"{self.folder}/bus.conf", "w", encoding="ascii") as f:
            f.write(BUS_CONFIG % self.folder)
        self.start(["dbus-daemon", f"--config-file={self.folder}/bus.conf", "--nofork", "--nopidfile"])
        self.until(lambda: os.path.exists(f"{self.folder}/bus"), "the bus")
        import dbus
        self.bus = dbus.SystemBus()
        self.probe_program = probe

    def start(self, argv, env=None, **options):
        log = open(f"{self.folder}/{os.path.basename(argv[0])}.{len(self.children)}.log", "wb")
        self.begin()
        child = subprocess.Popen(argv, env=env or self.clean, stderr=subprocess.STDOUT,
                                 **{"stdout": log, **options})
        self.children.append(child)
        return child

    def until(self, condition, what, seconds=10):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"{what} did not come")
            time.sleep(0.01)

    def until_owned(self, *names):
        self.until(lambda: all(self.bus.name_has_owner(n) for n in names), " and ".join(names))

    def start_probe(self):
        self.probe = self.start([self.probe_program, self.folder + "/sys"], stdout=subprocess.PIPE)
        self.hear("ready", 5)

    def hear(self, what, seconds):
        """Reports until one has the words. Return: seconds since the change, or None"""
        begin = self.begun
        while what not in self.last:
            left = begin + seconds - time.monotonic()
            if left <= 0 or not select.select([self.probe.stdout], [], [], left)[0]:
                return None
            data = os.read(self.probe.stdout.fileno(), 65536)
            if not data:
                return None
            *lines, self.partial = (self.partial + data).split(b"\n")
            if lines:
                self.last = lines[-1].decode() + " |"
        return time.monotonic() - begin

    def expect(self, title, *what, within=SOON):
        """@within: seconds in which each must be heard"""
        for w in what:
            took = self.hear(w if w == "ready" else f"| {w} |", within)
            self.failures += took is None
            print("%-8s %-46s %s" % ("ok" if took is not None else "FAILED", title,
                                     f"{w} after {took * 1e3:.0f} ms" if took is not None else
                                     f"{w} not in: {self.last}"), flush=True)

    def begin(self):
        """What is expected next is measured from here."""
        self.begun = time.monotonic()

    def write(self, path, text):
        self.begin()
        path = f"{self.folder}/{path}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="ascii") as f:
            f.write(text)

    def stop(self, child):
        self.begin()
        child.terminate()
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        self.children.remove(child)

    def close(self):
        for child in reversed(list(self.children)):
            self.stop(child)
        shutil.rmtree(self.folder, ignore_errors=True)

    def mock(self, template, name):
        child = self.start([sys.executable, "-m", "dbusmock", "--system", "--template", template])
        self.until_owned(name)
        self.begin()
        return child


def real_upower(rig):
    from gi.repository import UMockdev
    hardware = UMockdev.Testbed.new()
    battery = hardware.add_device("power_supply", "BAT0", None, [
        "type", "Battery", "present", "1", "status", "Discharging", "energy_full", "60000000",
        "energy_full_design", "60000000", "energy_now", "48000000", "power_now", "10000000",
        "voltage_now", "12000000", "capacity", "80", "technology", "Li-ion", "scope", "System"], [])
    line = hardware.add_device("power_supply", "AC", None, ["type", "Mains", "online", "1"], [])

    def change(device, **attributes):
        rig.begin()
        for key, value in attributes.items():
            hardware.set_attribute(device, key, value)
        hardware.uevent(device, "change")

    # gi sets UMOCKDEV_DIR behind Python's back.
    daemon = [find(UPOWERD, "upower")]
    environment = dict(os.environ, UMOCKDEV_DIR=hardware.get_root_dir())
    child = rig.start(daemon, environment)
    rig.expect("upowerd starts", "battery-percent 80 %", "on-battery no", "battery-power 10 W", within=10)
    change(line, online="0")
    rig.expect("the line goes", "on-battery yes", "battery-state discharging")
    for percent in (60, 40, 20, 10, 5):
        change(battery, energy_now=str(percent * 600000), capacity=str(percent))
        rig.expect(f"the battery falls to {percent} %", f"battery-percent {percent} %")
    rig.expect("it is nearly empty", "warning-level critical")
    change(line, online="1")
    change(battery, status="Charging")
    rig.expect("the line is back", "on-battery no", "battery-state charging", "time-to-empty unknown")
    rig.stop(child)
    rig.expect("upowerd dies", "battery-percent unknown", "on-battery unknown", within=4)
    rig.start(daemon, environment)
    rig.expect("upowerd is back", "battery-percent 5 %", "on-battery no", within=10)
    return hardware


def real_profiles(rig):
    # Two daemons on one testbed take each other's uevents, so this one has a root of its own.
    root = "hardware"
    rig.write(f"{root}/sys/firmware/acpi/platform_profile_choices", "low-power balanced performance\n")
    rig.write(f"{root}/sys/firmware/acpi/platform_profile", "balanced\n")
    for folder in ("bus", "class"):
        os.makedirs(f"{rig.folder}/{root}/sys/{folder}", exist_ok=True)
    rig.mock("polkitd", "org.freedesktop.PolicyKit1")
    child = rig.start([find(PPD, "power-profiles-daemon")],
                      dict(os.environ, UMOCKDEV_DIR=f"{rig.folder}/{root}"))
    rig.expect("power-profiles-daemon starts", "system-profile balanced", within=10)
    for kernel, name in (("low-power", "power-saver"), ("balanced", "balanced"),
                         ("performance", "performance"), ("low-power", "power-saver")):
        rig.write(f"{root}/sys/firmware/acpi/platform_profile", kernel + "\n")
        rig.expect(f"the profile becomes {name}", f"system-profile {name}")
    rig.stop(child)
    rig.expect("power-profiles-daemon dies", "system-profile unknown", within=4)


def newer_profiles(rig):
    """The name that daemons have since 0.20; Debian 12 has neither the daemon nor dbusmock's template."""
    import dbus
    name, path = "org.freedesktop.UPower.PowerProfiles", "/org/freedesktop/UPower/PowerProfiles"
    child = rig.start([sys.executable, "-m", "dbusmock", "--system", name, path, name])
    rig.until_owned(name)
    service = rig.bus.get_object(name, path)
    mock = dbus.Interface(service, "org.freedesktop.DBus.Mock")
    mock.AddProperty(name, "ActiveProfile", "balanced")
    mock.AddProperty(name, "PerformanceDegraded", "")
    rig.begin()
    dbus.Interface(service, "org.freedesktop.DBus.Properties").Set(name, "ActiveProfile", "power-saver")
    rig.expect("power-saver under the newer name", "system-profile power-saver")
    rig.begin()
    mock.UpdateProperties(name, {"PerformanceDegraded": "lap-detected"})
    rig.expect("performance degrades", "performance-degraded lap-detected")
    rig.stop(child)


def low_memory(rig):
    import dbus
    child = rig.mock("low_memory_monitor", "org.freedesktop.LowMemoryMonitor")
    rig.expect("low-memory-monitor starts", "low-memory none", within=5)
    mock = dbus.Interface(rig.bus.get_object("org.freedesktop.LowMemoryMonitor",
                                             "/org/freedesktop/LowMemoryMonitor"),
                          "org.freedesktop.DBus.Mock")
    rig.begin()
    mock.EmitWarning(dbus.Byte(100))
    rig.expect("it warns", "low-memory lower")
    rig.begin()
    mock.EmitWarning(dbus.Byte(255))
    rig.expect("it warns again", "low-memory critical")
    rig.stop(child)
    rig.expect("it dies", "low-memory unknown", within=4)


def logind(rig):
    import dbus
    rig.mock("logind", "org.freedesktop.login1")
    rig.expect("logind starts", "sleeping no", within=5)
    mock = dbus.Interface(rig.bus.get_object("org.freedesktop.login1", "/org/freedesktop/login1"),
                          "org.freedesktop.DBus.Mock")

    for begins, word in ((True, "yes"), (False, "no")):
        rig.begin()
        mock.EmitSignal("org.freedesktop.login1.Manager", "PrepareForSleep", "b", [begins])
        rig.expect("the machine " + ("falls asleep" if begins else "wakes up"), f"sleeping {word}")


def thermal(rig):
    zone = "sys/class/thermal/thermal_zone3"
    rig.write(f"{zone}/type", "cpu-thermal\n")
    rig.write(f"{zone}/trip_point_0_type", "passive\n")
    rig.write(f"{zone}/trip_point_0_temp", "80000\n")
    rig.write(f"{zone}/temp", "45000\n")
    rig.expect("a thermal zone appears", "temperature 45 C", "trip-distance 35 C", within=5)
    rig.write(f"{zone}/temp", "78000\n")
    rig.expect("it heats up", "temperature 78 C", "trip-distance 2 C")
    rig.write("sys/class/hwmon/hwmon0/name", "rpi_volt\n")
    rig.write("sys/class/hwmon/hwmon0/in0_lcrit_alarm", "1\n")
    rig.expect("the voltage is too low", "under-voltage yes", within=5)


def main():
    require()
    if "umockdev" not in os.environ.get("LD_PRELOAD", ""):
        os.execvp("umockdev-wrapper", ["umockdev-wrapper", sys.executable, "-B", *sys.argv])
    find(UPOWERD, "upower")
    find(PPD, "power-profiles-daemon")
    rig = Rig(sys.argv[1])
    try:
        rig.start_probe()
        keep = real_upower(rig)
        for part in (real_profiles, newer_profiles, low_memory, logind, thermal):
            part(rig)
        del keep
    finally:
        rig.close()
    print("failed:", rig.failures)
    return 1 if rig.failures else 0


if __name__ == "__main__":
    sys.exit(main())
