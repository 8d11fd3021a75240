#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Who may do what over the bus: an ordinary user, a member of the daemon's group and root, without polkit and under a
made-up one (of python3-dbusmock) that refuses, allows, changes its mind, hangs and goes.

authority.py BITSHEDD SOURCE. Exits 77 with a line that says why when something is missing.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time

BUS_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=%s/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow eavesdrop="true"/>
<allow send_destination="*" eavesdrop="true"/></policy>
</busconfig>
"""
MANAGER, MODEL, SESSION = ("org.bitshed." + name for name in ("Manager1", "Model1", "Session1"))
NET = "/org/bitshed/model/net"
REFUSED = "org.bitshed.Error.NotAuthorized"
# Users that every Debian has: the bus turns others away. The daemon's group here is root's.
GUEST, MEMBER, ROOT = (65534, 65534, []), (1, 1, [0]), (0, 0, [])

# What each permission opens, and what comes then: an error that only who passed the door can get, or none.
DOORS = {
    "load": [(("", MANAGER, "Unload", "string:none"), "org.bitshed.Error.NoSuchModel"),
             (("", MANAGER, "LoadModel", "string:none"), "org.freedesktop.DBus.Error.InvalidArgs")],
    "set-policy": [(("", MANAGER, "SetBits", "string:none", "double:2"), "org.bitshed.Error.NoSuchModel"),
                   (("", "org.freedesktop.DBus.Properties", "Set", "string:" + MANAGER, "string:Profile",
                     "variant:string:none"), "org.bitshed.Error.InvalidOption"),
                   (("", MANAGER, "NotYetWritten"), "org.freedesktop.DBus.Error.UnknownMethod")],
    "hold": [(("", MANAGER, "HoldPrecision", "string:none", "double:2", "string:test"),
              "org.bitshed.Error.NoSuchModel")],
    "statistics": [(("/model/net", MODEL, "GetStatistics"), "")],
}
INFER = ("", MANAGER, "Infer", "string:none", "array:byte:1", "dict:string:string:")
PASSED = "org.freedesktop.DBus.Error.InvalidArgs", "org.bitshed.Error.NoSuchModel"


def skip(why):
    print("SKIP:", why)
    sys.exit(77)


class Rig:
    def __init__(self, daemon, source):
        self.folder = tempfile.mkdtemp(prefix="bitshed-authority-")
        os.chmod(self.folder, 0o755)
        self.address = f"unix:path={self.folder}/bus"
        os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = self.address
        self.children, self.failures = [], 0
        with open(f"{self.folder}/bus.conf", "w", encoding="ascii") as f:
            f.write(BUS_CONFIG % self.folder)
        self.start(["dbus-daemon", f"--config-file={self.folder}/bus.conf", "--nofork", "--nopidfile"])
        self.until(lambda: os.path.exists(f"{self.folder}/bus"))
        import dbus
        self.bus = dbus.SystemBus()
        self.start([daemon, "--bus=" + self.address, "--config=/nonexistent", "--log-level=warning",
                    f"--model=net={source}/tests/golden/accept/sum.gguf"])
        self.until(lambda: self.bus.name_has_owner("org.bitshed"))
        self.mock = None

    def start(self, argv, **options):
        self.children.append(subprocess.Popen(argv, **options))
        return self.children[-1]

    def until(self, condition):
        end = time.monotonic() + 20
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError("the rig does not come up")
            time.sleep(0.01)

    def polkit(self):
        import dbus
        child = self.start([sys.executable, "-m", "dbusmock", "--system", "--template", "polkitd"], stdout=subprocess.DEVNULL)
        self.until(lambda: self.bus.name_has_owner("org.freedesktop.PolicyKit1"))
        self.mock = dbus.Interface(self.bus.get_object("org.freedesktop.PolicyKit1",
                                                       "/org/freedesktop/PolicyKit1/Authority"),
                                   "org.freedesktop.DBus.Mock")
        return child

    def changed(self):
        self.mock.EmitSignal("org.freedesktop.PolicyKit1.Authority", "Changed", "", [])

    def stop(self, child):
        child.terminate()
        code = child.wait()
        self.children.remove(child)
        return code

    def call(self, who, path, interface, member, *arguments):
        """Return: the name of the error, "" without"""
        uid, gid, groups = who
        done = subprocess.run(["dbus-send", "--bus=" + self.address, "--print-reply=literal", "--reply-timeout=60000",
                               "--dest=org.bitshed", "/org/bitshed" + path, f"{interface}.{member}", *arguments],
                              user=uid, group=gid, extra_groups=groups, capture_output=True, text=True, check=False)
        words = done.stderr.split()
        if done.returncode == 0:
            return ""
        return words[1].rstrip(":") if words[:1] == ["Error"] else done.stderr

    def expect(self, title, *answers):
        """@answers: pairs of what came and what should have, or some that should have"""
        wrong = [f"{is_} and not {wanted}" for is_, wanted in answers
                 if is_ != wanted and not (isinstance(wanted, tuple) and is_ in wanted)]
        self.failures += bool(wrong)
        print("%-8s %s %s" % ("FAILED" if wrong else "ok", title, "; ".join(wrong)), flush=True)

    def doors(self, who, open_):
        """Of a user for whom just these permissions are open"""
        return [(self.call(who, *call), after if verb in open_ else REFUSED)
                for verb, calls in DOORS.items() for call, after in calls]

    def close(self):
        codes = [self.stop(child) for child in reversed(list(self.children))]
        shutil.rmtree(self.folder, ignore_errors=True)
        return codes


def without_polkit(rig):
    rig.expect("root may do everything", *rig.doors(ROOT, DOORS))
    rig.expect("a member of the group may do everything", *rig.doors(MEMBER, DOORS))
    rig.expect("an ordinary user may not", *rig.doors(GUEST, ()))
    rig.expect("but infer", (rig.call(GUEST, *INFER), PASSED))


def sessions(rig):
    import dbus
    manager = dbus.Interface(rig.bus.get_object("org.bitshed", "/org/bitshed"), MANAGER)
    rig.until(lambda: rig.call(GUEST, *INFER) in PASSED)
    # The session lives as long as its descriptors.
    session = manager.OpenSession("net", dbus.Dictionary({}, signature="sv"))
    path = str(session[0])
    short = path.removeprefix("/org/bitshed")
    properties = "org.freedesktop.DBus.Properties"
    for member, *what in (("Get", "string:" + SESSION, "string:Requests"), ("GetAll", "string:" + SESSION)):
        rig.expect(f"an ordinary user has no {member} of root's session",
                   (rig.call(GUEST, short, properties, member, *what), REFUSED),
                   (rig.call(ROOT, short, properties, member, *what), ""))
    rig.expect("and does not close it", (rig.call(GUEST, short, SESSION, "Close"), REFUSED))
    objects = dbus.Interface(rig.bus.get_object("org.bitshed", "/org/bitshed"),
                             "org.freedesktop.DBus.ObjectManager").GetManagedObjects()
    rig.expect("the list of objects says nothing of it", (dict(objects[path][SESSION]), {}))


def own_session(rig):
    """Of a user who may not read those of others."""
    code = """
import dbus, sys
bus = dbus.SystemBus()
manager = dbus.Interface(bus.get_object("org.bitshed", "/org/bitshed"), "org.bitshed.Manager1")
session = manager.OpenSession("net", dbus.Dictionary({}, signature="sv"))
own = dbus.Interface(bus.get_object("org.bitshed", session[0]), "org.freedesktop.DBus.Properties")
print(own.Get("org.bitshed.Session1", "Uid"))
"""
    done = subprocess.run([sys.executable, "-B", "-c", code], user=GUEST[0], group=GUEST[1], extra_groups=[],
                          capture_output=True, text=True, check=False)
    rig.expect("it reads its own session", (done.stdout.strip(), str(GUEST[0])))


def under_polkit(rig):
    child = rig.polkit()
    rig.expect("polkit refuses", *rig.doors(GUEST, ()), (rig.call(GUEST, *INFER), REFUSED))
    rig.expect("a member of the group too", *rig.doors(MEMBER, ()))
    rig.expect("but not root", *rig.doors(ROOT, DOORS))
    for verb in DOORS:
        rig.mock.SetAllowed(["org.bitshed." + verb])
        rig.expect(f"polkit allows {verb} and nothing else", *rig.doors(GUEST, (verb,)))
    rig.mock.SetAllowed(["org.bitshed.infer"])
    rig.expect("polkit allows to infer", (rig.call(GUEST, *INFER), PASSED))
    rig.expect("which opens no other door", *rig.doors(GUEST, ()))
    return child


def mind_changed(rig):
    """One connection, for which "yes" is remembered until polkit says that something has changed."""
    code = """
import dbus, sys
bus = dbus.SystemBus()
manager = dbus.Interface(bus.get_object("org.bitshed", "/org/bitshed"), "org.bitshed.Manager1")
while sys.stdin.readline():
    try:
        manager.Infer("none", b"", dbus.Dictionary({}, signature="sv"))
    except dbus.DBusException as e:
        print(e.get_dbus_name(), flush=True)
"""
    with subprocess.Popen([sys.executable, "-B", "-c", code], user=GUEST[0], group=GUEST[1], extra_groups=[],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as guest:
        def infer():
            guest.stdin.write("\n")
            guest.stdin.flush()
            return guest.stdout.readline().strip()

        rig.mock.SetAllowed(["org.bitshed.infer"])
        first = infer()
        rig.mock.SetAllowed([])
        remembered = infer()
        rig.changed()
        answers = [infer() for _ in range(2)]
        rig.expect("a refusal later reaches who could infer before", (first, PASSED[1]), (remembered, PASSED[1]),
                   (answers[1], REFUSED))
        guest.stdin.close()


def hanging(rig, child):
    rig.mock.SimulateHang(True)
    waiting = subprocess.Popen(["dbus-send", "--bus=" + rig.address, "--print-reply", "--dest=org.bitshed", "/org/bitshed",
                                MANAGER + ".Unload", "string:none"], user=GUEST[0], group=GUEST[1], extra_groups=[],
                               stderr=subprocess.PIPE, text=True)
    time.sleep(0.2)
    rig.expect("while polkit hangs the daemon serves others", *rig.doors(ROOT, DOORS))
    rig.expect("who waits is told", (REFUSED in waiting.communicate()[1], True))
    rig.stop(child)
    rig.expect("without polkit the group is asked again", *rig.doors(MEMBER, DOORS), *rig.doors(GUEST, ()))


def main():
    if os.geteuid() != 0:
        skip("only root can act as other users")
    if not shutil.which("dbus-daemon") or not shutil.which("dbus-send"):
        skip("dbus is not installed")
    try:
        import dbus  # noqa: F401
        import dbusmock  # noqa: F401
    except ImportError as e:
        skip(f"python3-dbusmock is needed: {e}")
    rig = Rig(*sys.argv[1:])
    try:
        without_polkit(rig)
        sessions(rig)
        own_session(rig)
        child = under_polkit(rig)
        mind_changed(rig)
        hanging(rig, child)
    finally:
        codes = rig.close()
    rig.expect("the daemon ends well", (codes[-2], 0))
    print("failed:", rig.failures)
    return 1 if rig.failures else 0


if __name__ == "__main__":
    sys.exit(main())
