# SPDX-License-Identifier: MIT
"""This machine's /proc as state, and the status line."""
import http.client
import json
import os
import select
import signal
import subprocess
import time

from harness import PATIENCE, PROGRAM, SLOW, Server, check, equal


def meminfo():
    with open("/proc/meminfo", encoding="ascii") as file:
        return {line.split(":")[0]: int(line.split(":")[1].split()[0]) for line in file}


def wait_for(condition):
    deadline = time.time() + PATIENCE
    while time.time() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_host_source():
    with Server("--host", "--rate", "20") as s:
        check(wait_for(lambda: s.get("/host/procs").status == 200), "the first sweep")
        host = s.get("/host").json
        equal(set(host) >= {"cpu", "mem", "load", "net", "procs"}, True, "branches of the host")
        for name, key in (("MemTotal", "total"), ("SwapTotal", "swap_total"),
                          ("CommitLimit", "commit_limit"), ("VmallocTotal", "vmalloc_total"),
                          ("Hugepagesize", "hugepagesize")):
            if name in meminfo():
                equal(host["mem"].get(key), meminfo()[name], "host/mem/" + key)
        equal(host["mem"]["unit"], "kB", "host/mem/unit")
        for key in ("free", "available", "buffers", "cached", "active_anon"):
            check(isinstance(host["mem"].get(key), int), "host/mem/" + key, host["mem"].get(key))
        equal(len(host["mem"]) - 1, len(meminfo()), "every line of meminfo is there")

        def agrees():
            before, seen, after = meminfo(), s.get("/host/mem").json, meminfo()
            low, high = sorted((before["MemFree"], after["MemFree"]))
            return low - 8192 <= seen["free"] <= high + 8192
        check(wait_for(agrees), "host/mem/free agrees with /proc/meminfo")
        cpus = [k for k in host["cpu"] if k != "total"]
        equal(len(cpus), os.cpu_count(), "every CPU")
        check(host["cpu"]["total"]["user_ticks"] >= 0, "CPU times")
        check("lo" in host["net"] or not os.path.exists("/sys/class/net/lo"), "interfaces")
        mine = host["procs"][str(os.getpid())]
        with open("/proc/self/stat", encoding="ascii", errors="replace") as file:
            name = file.read().split("(", 1)[1].rsplit(")", 1)[0]
        equal(mine["name"], name, "this process's name")
        equal(set(mine), {"name", "state", "user", "parent", "threads", "rss_bytes", "user_ticks",
                          "system_ticks", "ticks", "recent_ticks"}, "what a process has")
        check(mine["rss_bytes"] > 1 << 20 and mine["threads"] >= 1, "its figures", mine)
        for _ in range(3):
            child = subprocess.Popen(["sleep", "60"])
            path = "/host/procs/%d" % child.pid
            check(wait_for(lambda: s.get(path).status == 200), "a process that starts appears")
            # It may have been seen between fork and exec, with the name of this one.
            check(wait_for(lambda: s.get(path + "/name").json == "sleep"), "with its name")
            child.kill()
            child.wait()
            check(wait_for(lambda: s.get(path).status == 404), "and one that ends goes")
        tag = s.get("/host/mem/total").headers["ETag"]
        time.sleep(0.3)
        equal(s.get("/host/mem/total", If_None_Match=tag).status, 304, "what stays is 304")
        s.put("/idle", {"x": 1})
        tag = s.get("/idle").headers["ETag"]
        time.sleep(0.3)
        equal(s.get("/idle", If_None_Match=tag).status, 304, "an idle branch is 304 during sweeps")
        whole_versions(s)
        # What others do to the branch is mended by the next sweeps.
        s.call("DELETE", "/v1/state/host/procs")
        check(wait_for(lambda: s.get("/host/procs/%d" % os.getpid()).status == 200),
              "an erased branch comes back")
        s.put("/host", 5)
        check(wait_for(lambda: s.get("/host/mem/free").status == 200), "a replaced one too")
        s.put("", {"other": 1})
        check(wait_for(lambda: s.get("/host/mem/free").status == 200), "a replaced root too")
        equal(s.get("/other").json, 1, "beside what was put there")


def whole_versions(s):
    """GETs during the sweep: each process seen has all its members, versions do not go back."""
    last, count, bad = 0, 0, []
    connection = http.client.HTTPConnection("127.0.0.1", s.port, timeout=20 * SLOW)
    began = time.time()
    while time.time() - began < 1 or (count < 100 and time.time() - began < PATIENCE):
        connection.request("GET", "/v1/state/host/procs")
        response = connection.getresponse()
        procs = json.loads(response.read())
        version = int(response.headers["Coppice-Version"])
        if version < last or any(len(p) != 10 or p["ticks"] != p["user_ticks"] + p["system_ticks"]
                                 for p in procs.values()):
            bad.append(version)
        last, count = version, count + 1
    connection.close()
    equal(bad, [], "every version read is whole")
    check(count >= 100, "GETs during sweeps", count)


def test_status_line():
    import pty
    master, slave = pty.openpty()
    process = subprocess.Popen([PROGRAM, "serve", "--port", "0", "--host"], stdin=slave,
                               stdout=slave, stderr=slave)
    os.close(slave)
    seen = b""
    deadline = time.time() + PATIENCE
    while time.time() < deadline and seen.count(b"commits/s") < 3:
        if select.select([master], [], [], 0.2)[0]:
            seen += os.read(master, 4096)
    check(seen.count(b"commits/s") >= 3, "a live status line", seen[-200:])
    for word in (b"version ", b"atoms ", b"readers ", b"oldest held ", b"\r", b"\x1b[K"):
        check(word in seen, "the status line has %r" % word)
    equal(seen.count(b"curl"), 3, "three commands to try")
    process.send_signal(signal.SIGINT)
    equal(process.wait(PATIENCE), 0, "ends on a terminal")
    os.close(master)
