# SPDX-License-Identifier: MIT
"""The graph over HTTP and from the command line, why an atom ran, options of a running server, and
host/derived against an independent computation from the same version."""
import collections
import http.client
import json
import os
import pwd
import re
import threading
import time

from harness import SLOW, Server, check, equal, problem
from host_tests import wait_for
from program_tests import run

STATES = {"R": "running", "S": "sleeping", "D": "waiting", "T": "stopped", "t": "traced",
          "Z": "zombie", "I": "idle", "X": "dead"}
TICKS = ("user_ticks", "nice_ticks", "system_ticks", "idle_ticks", "iowait_ticks", "irq_ticks",
         "softirq_ticks", "steal_ticks")


def user():
    return pwd.getpwuid(os.getuid()).pw_name


def ratio(part, whole):
    return part / whole if whole > 0 and part >= 0 else None


# --- host/derived ----------------------------------------------------------------------------


def busy_shares(host):
    shares = {}
    for name, now in host["cpu"].items():
        before = host["previous"].get("cpu", {}).get(name)
        total = sum(now[key] for key in TICKS)
        busy = total - now["idle_ticks"] - now["iowait_ticks"]
        shares[name] = None if before is None else ratio(
            float(busy - before["busy_ticks"]), float(total - before["total_ticks"]))
    return shares


def rates(host, group, keys, seconds):
    told = {}
    for name, now in host.get(group, {}).items():
        before = host["previous"].get(group, {}).get(name)
        told[name] = {rate: None if before is None else
                      ratio(float(now[key] - before[key]), seconds * unit)
                      for key, rate, unit in keys}
    return told


def grouped(rows, key, ticks):
    groups = {}
    for row in rows:
        g = groups.setdefault(row[key], [0, 0, 0])
        g[0] += 1
        g[1] += row["rss_bytes"]
        g[2] += row["used"]
    return {name: {"processes": g[0], "rss_bytes": g[1], "cpu_share": ratio(float(g[2]), ticks)}
            for name, g in groups.items()}


def top(rows, key, told, value):
    best = sorted(rows, key=lambda row: (-row[key], str(row["pid"])))[:10]
    return {str(i): {"pid": row["pid"], "name": row["name"], "user": row["user"], told: value(row)}
            for i, row in enumerate(best)}


def independent(host):
    """What host/derived must be, from the rest of the same document."""
    seconds = 0.0
    if "time_us" in host["previous"]:
        seconds = (host["time_us"] - host["previous"]["time_us"]) / 1e6
    ticks = seconds * host["ticks_per_second"]
    rows = [dict(p, pid=int(pid), used=p["recent_ticks"]) for pid, p in host["procs"].items()]
    states = collections.Counter(STATES.get(row["state"], "other") for row in rows)
    m = host["mem"]
    return {
        "cpu": busy_shares(host),
        "memory": {"used_kb": m["total"] - m["available"],
                   "used_share": ratio(float(m["total"] - m["available"]), float(m["total"])),
                   "swap_used_kb": m["swap_total"] - m["swap_free"],
                   "swap_used_share": ratio(float(m["swap_total"] - m["swap_free"]),
                                            float(m["swap_total"]))},
        "processes": dict({name: states[name] for name in list(STATES.values()) + ["other"]},
                          total=len(rows)),
        "users": grouped(rows, "user", ticks),
        "programs": grouped(rows, "name", ticks),
        "top_memory": top(rows, "rss_bytes", "rss_bytes", lambda row: row["rss_bytes"]),
        "top_cpu": top(rows, "used", "cpu_share", lambda row: ratio(float(row["used"]), ticks)),
        "net": rates(host, "net", (("rx_bytes", "rx_bytes_per_s", 1),
                                   ("tx_bytes", "tx_bytes_per_s", 1)), seconds),
        "disks": rates(host, "disks", (("read_bytes", "read_bytes_per_s", 1),
                                       ("written_bytes", "written_bytes_per_s", 1),
                                       ("busy_ms", "busy_share", 1000)), seconds),
    }


class Ticks:
    """recent_ticks of the processes against their ticks in the sweep that host/previous is of."""

    def __init__(self):
        self.sweeps, self.compared = {}, 0

    def look(self, host):
        self.sweeps[host["time_us"]] = {pid: p["ticks"] for pid, p in host["procs"].items()}
        before = self.sweeps.get(host["previous"].get("time_us"))
        wrong = {}
        for pid, p in host["procs"].items() if before else ():
            if pid in before:
                self.compared += 1
                if p["recent_ticks"] != max(0, p["ticks"] - before[pid]):
                    wrong[pid] = (p, before[pid])
        return wrong


def load_averages():
    """Busy share of all CPUs since boot, as /proc/stat counts it."""
    with open("/proc/stat", encoding="ascii") as file:
        ticks = [int(n) for n in file.readline().split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def busy_seen_and_told(s):
    """As /proc/stat has it and as it is told, of two seconds in which others may begin and end to work."""
    before = load_averages()
    shares = []
    for _ in range(20):
        shares.append(s.get("/host/derived/cpu/total").json or 0)
        time.sleep(0.1)
    after = load_averages()
    real = (after[0] - before[0]) / max(1, after[1] - before[1])
    return real, sum(shares[10:]) / len(shares[10:])


def test_derived():
    with Server("--host", "--rate", "20") as s:
        check(wait_for(lambda: s.get("/host/derived/top_cpu/0").status == 200), "host/derived")
        seen, ticks = 0, Ticks()
        deadline = time.time() + 4 * SLOW
        patience = deadline + 60
        while (time.time() < deadline and seen < 60) or (time.time() < patience and not (seen and ticks.compared)):
            host = s.get("/host").json
            equal(ticks.look(host), {}, "recent_ticks are what has grown since host/previous")
            derived = host.pop("derived")
            wanted = independent(host)
            for part in wanted:
                if derived.get(part) != wanted[part]:
                    check(False, "host/derived/" + part,
                          (derived.get(part), wanted[part]))
                    seen = 1000
            seen += 1
            time.sleep(0.03)
        check(1 <= seen < 1000, "host/derived agrees with what it is computed from, bit for bit", seen)
        check(ticks.compared > 0, "recent_ticks were compared", len(ticks.sweeps))
        pairs = [busy_seen_and_told(s)]
        while abs(pairs[-1][0] - pairs[-1][1]) >= 0.25 and len(pairs) < 20:
            pairs.append(busy_seen_and_told(s))
        check(len(pairs) < 20, "the busy share is that of /proc/stat, about", pairs)
        # One that others erase comes back.
        s.call("DELETE", "/v1/state/host/derived")
        check(wait_for(lambda: s.get("/host/derived/cpu/total").status == 200), "erased, it comes back")
        s.put("/host/derived", 5)
        check(wait_for(lambda: s.get("/host/derived/cpu/total").status == 200), "replaced, too")
        for path in ("/host/totals", "/host/totals/users"):
            s.call("DELETE", "/v1/state" + path)
            check(wait_for(lambda: s.get("/host/derived/users/" + user()).status == 200),
                  path + " erased, users come back")
        s.put("/host/totals", 5)
        check(wait_for(lambda: s.get("/host/derived/users/" + user()).status == 200), "replaced, too")
        # The sweeps begin anew, and find a value in the way that goes with the rest.
        s.put("/host", {"derived": 5})
        check(wait_for(lambda: s.get("/host/derived/cpu/total").status == 200), "all of it replaced")
        problem(s.put("/host/derived/cpu/total", 1), 409, "state", "a write to what is computed")


# --- why, graph --------------------------------------------------------------------------------


def test_why():
    with Server("--host", "--rate", "20") as s:
        at = ["--server", "http://127.0.0.1:%d" % s.port]
        check(wait_for(lambda: s.get("/host/derived/cpu/total").status == 200), "host/derived")
        time.sleep(0.3)
        why = s.call("GET", "/v1/graph/why?path=host/derived/cpu&wait_ms=5000").json
        equal((why["path"], why["kind"], why["ran"]), ("host/derived/cpu", "branch", True), "why")
        equal(why["cause"], "dependency", "its cause")
        check(any(c["path"] == "host/time_us" and c["value"] > c["before"] for c in why["causes"]),
              "what changed", why["causes"][:3])
        check(why["duration_ns"] > 0 and re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$", why["time"]),
              "when, and how long", (why["duration_ns"], why["time"]))
        check(why["dependencies_total"] == len(why["dependencies"]) > 10, "its dependencies")
        equal(s.call("GET", "/v1/stats").json["graph"]["looked"], 0, "nobody looks any more")
        again = s.call("GET", "/v1/graph/why?path=host%2Fderived%2Fcpu%2Ftotal&wait_ms=5000&pretty").json
        equal(again["path"], "host/derived/cpu", "a child of a branch means its owner")
        check(again["version"] > why["version"], "a later run", (again["version"], why["version"]))
        code, out, err = run("why", *at, "--wait", "5000", "host/derived/cpu")
        check(code == 0 and "because " in out and "host/time_us" in out and "reads " in out and err == "",
              "coppice why", (code, out, err))
        code, out, err = run("why", *at, "--wait", "5000", "host/totals/users/recent_ticks")
        check(code == 0 and "because something that matches its pattern changed\n" in out,
              "coppice why of a reducer", (code, out, err))
        code, out, err = run("why", *at, "--json", "--wait", "5000", "host/derived/memory")
        equal(json.loads(out)["label"], "memory and swap in use", "coppice why --json")
        check(out.count("\n") == 1, "on one line")
        check(len(run("why", *at, "--all", "--wait", "5000", "host/derived/cpu")[1].split("\n")) > 30,
              "coppice why --all")
        for query, status, name in (("", 400, "request"), ("?path=a//b", 400, "path"),
                                    ("?path=nothing", 404, "absent"),
                                    ("?path=host/mem/free", 409, "state"),
                                    ("?path=x&wait_ms=x", 400, "request"),
                                    ("?path=x&wait_ms=60001", 400, "request"),
                                    ("?path=x&what=1", 400, "request")):
            problem(s.call("GET", "/v1/graph/why" + query), status, name, "why" + query)
        code, out, err = run("why", *at, "host/mem/free")
        equal((code, out, err), (1, "", "coppice: host/mem/free: this atom is not computed\n"),
              "coppice why of a source")
        check(wait_for(lambda: not s.call("GET", "/v1/graph/why?path=host/derived/cpu&wait_ms=0")
                       .json["ran"]), "without waiting")
        # Many at once; others are served meanwhile, by two threads; and the server ends in the middle.
        answers = []

        def ask():
            try:
                answers.append(s.call("GET", "/v1/graph/why?path=host/derived/disks&wait_ms=20000").status)
            except OSError:
                answers.append(0)
        threads = [threading.Thread(target=ask) for _ in range(20)]
        for t in threads:
            t.start()
        began = time.time()
        for _ in range(20):
            s.get("/host/mem/free")
        check(time.time() - began < 15, "others are served meanwhile", time.time() - began)
        for t in threads:
            t.join()
        equal(set(answers) <= {200}, True, "twenty questions at once")
    s = Server()
    s.put("/x", 1)
    equal(s.call("GET", "/v1/graph").json, {"complete": True, "nodes": [], "edges": []}, "no graph")
    s.end()


def test_why_at_the_end():
    s = Server("--host", "--rate", "0.02")
    check(wait_for(lambda: s.get("/host/derived/cpu/total").status == 200), "host/derived")
    answers = []

    def ask():
        try:
            answers.append(s.call("GET", "/v1/graph/why?path=host/derived/memory&wait_ms=60000").status)
        except Exception:  # cut in the middle
            answers.append(0)
    threads = [threading.Thread(target=ask) for _ in range(5)]
    for t in threads:
        t.start()
    time.sleep(0.5)
    began = time.time()
    equal(s.end(), 0, "a server ends while questions are waited for")
    check(time.time() - began < 20, "soon", time.time() - began)
    for t in threads:
        t.join()
    equal("".join(s.complaints), "", "without a complaint")


def test_graph():
    with Server("--host", "--rate", "20") as s:
        at = ["--server", "http://127.0.0.1:%d" % s.port]
        check(wait_for(lambda: s.get("/host/derived/top_cpu/0").status == 200), "host/derived")
        graph = s.call("GET", "/v1/graph").json
        equal(graph["complete"], True, "complete")
        nodes = {n["path"]: n for n in graph["nodes"]}
        equal(sum(n["kind"] == "branch" for n in graph["nodes"]), 18, "owners of branches")
        ids = {n["id"] for n in graph["nodes"]}
        check(all(e["to"] in ids and (e["from"] in ids or e["from"].startswith("absent:"))
                  for e in graph["edges"]), "edges lead from node to node")
        edges = {(e["from"], e["to"]): e for e in graph["edges"]}
        edge = edges.get((nodes["host/cpu"]["id"], nodes["host/derived/cpu"]["id"]))
        check(edge and edge["on"] == "children" and edge["reads"] > 8 * os.cpu_count(),
              "what is read below a listed branch is one edge", edge)
        states = nodes["host/derived/processes"]
        equal([e["from"] for e in graph["edges"] if e["to"] == states["id"]],
              [nodes["host/totals/states"]["id"]], "what is read in an owned branch is one edge")
        near = s.call("GET", "/v1/graph?around=host/derived/memory&depth=1").json
        equal(sorted(n["path"] for n in near["nodes"]), ["host/derived/memory", "host/mem"], "around")
        near = s.call("GET", "/v1/graph?around=host%2Fmem&depth=1").json
        equal(sorted(n["path"] for n in near["nodes"]), ["host/derived/memory", "host/mem"],
              "around a source: what reads it")
        equal(len(s.call("GET", "/v1/graph?around=host/mem&depth=0").json["nodes"]), 1, "depth 0")
        few = s.call("GET", "/v1/graph?most=3").json
        equal((few["complete"], len(few["nodes"])), (False, 3), "most")
        for query in ("?depth=65", "?depth=x", "?most=0", "?what=1", "?most=2000000"):
            problem(s.call("GET", "/v1/graph" + query), 400, "request", "graph" + query)
        problem(s.call("GET", "/v1/graph?around=nothing"), 404, "absent", "around nothing")
        problem(s.call("GET", "/v1/graph?around=a//b"), 400, "path", "around no path")
        code, out, err = run("graph", *at, "--dot")
        check(code == 0 and out.startswith("digraph coppice {\n") and out.endswith("}\n") and err == "",
              "coppice graph --dot", (code, err))
        equal(out.count("shape=folder"), 18, "its nodes")
        equal(out.count("{"), out.count("}"), "its braces")
        check(all(re.match(r'  "[^"]+" (-> "[^"]+" )?(\[.*\])?;$|  (node|edge) \[|  rankdir', line) or
                  re.match(r'  "[^"]+" -> "[^"]+";$', line)
                  for line in out.split("\n")[1:-2]), "its lines", out[:400])
        out = run("graph", *at, "--dot", "--around", "host/derived/memory", "--depth", "1")[1]
        equal(out.count("label=\"host/"), 2, "coppice graph --around")
        code, out, err = run("graph", *at)
        check(code == 0 and "host/derived/memory  branch, height 1" in out, "coppice graph", (out, err))
        check(json.loads(run("graph", *at, "--json")[1])["complete"], "coppice graph --json")
        code, out, err = run("graph", *at, "--most", "2")
        check(code == 0 and "--most" in err, "coppice graph --most", err)
        code, out, err = run("graph", *at, "--around", "nothing")
        check(code == 1 and err.startswith("coppice: nothing: "), "around nothing", err)


# --- options of a running server --------------------------------------------------------------


def patch(s, document, **headers):
    return s.call("PATCH", "/v1/options", document, headers or None)


def test_live_options():
    with Server("--set", "workers.threads=2") as s:
        at = ["--server", "http://127.0.0.1:%d" % s.port]
        options = s.call("GET", "/v1/options").json
        equal(options["workers.threads"], 2, "what it was started with")
        details = s.call("GET", "/v1/options?details").json
        listed = {o["name"]: o for o in json.loads(run("options", "--json")[1])}
        equal(set(details), set(listed), "every option is told")
        live = {name for name, o in details.items() if o["live"]}
        equal(live, {name for name, o in listed.items() if o["live"]}, "which are live")
        check({"workers.threads", "memory.limit_bytes"} <= live and "readers.max" not in live, "live", live)
        text = run("options")[1]
        check(all(re.search("^%s = .*  \\(live\\)$" % re.escape(name), text, re.M) for name in live),
              "coppice options marks them")
        equal(s.stats()["workers"], {"threads": 2}, "threads that run")
        answer = patch(s, {"workers.threads": 3, "memory.limit_bytes": "256Mi", "batch.updates": False})
        equal(answer.status, 200, "PATCH")
        equal([answer.json[n] for n in ("workers.threads", "memory.limit_bytes", "batch.updates")],
              [3, 256 << 20, False], "answers what is")
        equal(s.stats()["workers"], {"threads": 3}, "threads are as many")
        equal(s.stats()["bytes_limit"], 256 << 20, "the limit is in force")
        equal(patch(s, {"workers.threads": None}).json["workers.threads"], 0, "null: the default")
        equal(patch(s, {"readers.max": details["readers.max"]["value"]}).status, 200,
              "a fixed one as it is")
        before = s.call("GET", "/v1/options").json
        for document, status, name, option in (
                ({"workers.threads": 1, "no.such": 1}, 400, "option", "no.such"),
                ({"workers.threads": 1025}, 400, "option", "workers.threads"),
                ({"workers.threads": -1}, 400, "option", "workers.threads"),
                ({"workers.threads": 1.5}, 400, "option", "workers.threads"),
                ({"workers.threads": [1]}, 400, "option", "workers.threads"),
                ({"workers.threads": "x\0y"}, 400, "option", "workers.threads"),
                ({"batch.updates": "perhaps"}, 400, "option", "batch.updates"),
                ({"workers.threads": 1, "readers.max": 5}, 409, "option-fixed", "readers.max")):
            told = problem(patch(s, document), status, name, "PATCH %r" % document)
            check(told and told.get("option") == option and option in told["detail"], "names it", told)
        problem(patch(s, "[]"), 400, "request", "no object")
        problem(patch(s, "{"), 400, "json", "no JSON")
        problem(patch(s, '{"workers.threads":1,"workers.threads":2}'), 400, "json", "twice")
        problem(patch(s, {}, **{"Content-Type": "application/json"}), 415, "media-type", "its type")
        problem(s.call("GET", "/v1/options?x"), 400, "request", "a query")
        refused = s.call("DELETE", "/v1/options")
        problem(refused, 405, "method", "DELETE")
        equal(refused.headers["Allow"], "GET, HEAD, PATCH", "what is allowed")
        equal(s.call("GET", "/v1/options").json, before, "nothing of it was changed")
        equal(run("options", "set", *at, "workers.threads=1", "snapshots.max=10"), (0, "", ""), "options set")
        equal(s.stats()["workers"], {"threads": 1}, "does it")
        equal(json.loads(run("options", "set", *at, "--json", "workers.threads=2")[1])["workers.threads"], 2,
              "options set --json")
        code, out, err = run("options", "set", *at, "readers.max=5")
        check((code, out) == (1, "") and err.startswith("coppice: options set: readers.max"), "refused", err)
        equal(patch(s, {"memory.limit_bytes": "1Mi"}).status, 200, "a limit below what is held")
        problem(s.put("/big", "x" * 2000000), 507, "memory", "refuses writes")
        equal(patch(s, {"memory.limit_bytes": 0}).status, 200, "and back")
        equal(s.put("/big", "x" * 2000000).status, 201, "accepts them again")


class Load:
    """Clients on connections that are kept: two read host/derived, two put new atoms, two add to counters.
    What they did is counted, what was refused or went back a version is remembered."""

    def __init__(self, server):
        self.server, self.bad, self.ending = server, [], threading.Event()
        self.gets, self.puts, self.adds = [0, 0], [0, 0], [0, 0]
        clients = [(f, i) for f in (self.read, self.put, self.add) for i in (0, 1)]
        self.threads = [threading.Thread(target=self.client, args=client) for client in clients]
        for t in self.threads:
            t.start()

    def client(self, act, i):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30 * SLOW)
        version = 0
        try:
            while not self.ending.is_set():
                response = act(connection, i)
                body = response.read()
                seen = int(response.headers.get("Coppice-Version", 0))
                if response.status not in (200, 201) or seen < version:
                    self.bad.append((response.status, version, seen, body[:200]))
                version = seen
        except Exception as error:  # it ends, and the test fails
            self.bad.append(repr(error))
        connection.close()

    def ask(self, connection, method, path, document=None):
        body = None if document is None else json.dumps(document)
        connection.request(method, "/v1/" + path, body, {"Content-Type": "application/json"})
        return connection.getresponse()

    def read(self, connection, i):
        response = self.ask(connection, "GET", "state/host/derived")
        self.gets[i] += 1
        return response

    def put(self, connection, i):
        response = self.ask(connection, "PUT", "state/puts/%d-%d" % (i, self.puts[i]), self.puts[i])
        self.puts[i] += response.status == 201
        return response

    def add(self, connection, i):
        response = self.ask(connection, "POST", "transaction", {"operations": [
            {"op": "add", "path": "sums/%d" % i, "value": 1},
            {"op": "add", "path": "sums/all", "value": 1}]})
        self.adds[i] += response.status == 200
        return response

    def rate(self, seconds):
        """Requests a second while `seconds` pass."""
        before, began = self.count(), time.time()
        time.sleep(seconds)
        return round((self.count() - before) / (time.time() - began))

    def count(self):
        return sum(self.gets + self.puts + self.adds)

    def end(self):
        self.ending.set()
        for t in self.threads:
            t.join()


def test_threads_under_load():
    """The thread count is changed ten times while clients read and write and the host is swept."""
    with Server("--host", "--rate", "50") as s:
        check(wait_for(lambda: s.get("/host/derived/top_cpu/0").status == 200), "host/derived")
        s.put("/puts", {})
        s.put("/sums", {"0": 0, "1": 0, "all": 0})
        load = Load(s)
        rates = [load.rate(0.7)]
        for n in (4, 0, 1, 16, 2, 64, 3, 1, 8, 2):
            answer = patch(s, {"workers.threads": n})
            equal((answer.status, answer.json.get("workers.threads")), (200, n), "%d threads" % n)
            equal(s.stats()["workers"]["threads"], n or max(1, len(os.sched_getaffinity(0)) - 1),
                  "%d threads run" % n)
            rates.append(load.rate(0.15))
        for _ in range(5):  # others may have the processors for a while
            rates.append(load.rate(0.7))
            if rates[-1] > rates[0] / 4:
                break
        load.end()
        equal(load.bad, [], "no error, no version that goes back")
        equal(len(s.get("/puts").json), sum(load.puts), "PUTs accepted are in the state")
        equal(s.get("/sums").json, {"0": load.adds[0], "1": load.adds[1], "all": sum(load.adds)},
              "so are transactions")
        check(min(sum(load.gets), sum(load.puts), sum(load.adds)) > 50, "there were some",
              (load.gets, load.puts, load.adds))
        check(rates[-1] > rates[0] / 4, "as fast afterwards as before, about", rates)
        if os.environ.get("VERBOSE"):
            print("requests a second before, with each count, and after: %r" % rates)
        host = s.get("/host").json
        derived = host.pop("derived")
        equal(derived, independent(host), "derived values are right afterwards")
