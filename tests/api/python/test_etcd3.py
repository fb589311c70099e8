#!/usr/bin/python3
"""Runs the Python client etcd3 against a server: test_etcd3.py HOST:PORT.

Each test gets a client and a prefix of its own. Ends with a line
"N passed, N failed"; the exit code is 0 if none failed.
"""

import queue
import sys
import threading
import time
import traceback

import etcd3


def test_put_get(client, prefix):
    key = prefix + "k"
    assert client.get(key) == (None, None)
    client.put(key, "v1")
    value, meta = client.get(key)
    assert value == b"v1"
    assert meta.key == key.encode() and meta.version == 1
    assert meta.create_revision == meta.mod_revision > 0
    client.put(key, "v2")
    value, again = client.get(key)
    assert value == b"v2" and again.version == 2
    assert again.create_revision == meta.create_revision
    assert again.mod_revision > meta.mod_revision
    assert client.put(key, "v3", prev_kv=True).prev_kv.value == b"v2"
    assert client.delete(key) is True
    assert client.delete(key) is False
    assert client.get(key)[0] is None


def test_binary(client, prefix):
    key = prefix.encode() + b"\x00\xff\xc3"
    value = bytes(range(256)) * 40
    client.put(key, value)
    assert client.get(key)[0] == value
    client.put(key, b"")
    assert client.get(key)[0] == b""


def test_get_prefix(client, prefix):
    for i in range(20):
        client.put(f"{prefix}p/{i:02}", str(i))
    client.put(prefix + "q", "outside")
    found = list(client.get_prefix(prefix + "p/"))
    assert [meta.key.decode() for _, meta in found] == [
        f"{prefix}p/{i:02}" for i in range(20)]
    assert [value for value, _ in found] == [
        str(i).encode() for i in range(20)]
    down = list(client.get_prefix(
        prefix + "p/", sort_order="descend", sort_target="key"))
    assert [value for value, _ in down] == [
        value for value, _ in reversed(found)]
    only = list(client.get_prefix(prefix + "p/", keys_only=True))
    assert all(value == b"" for value, _ in only) and len(only) == 20
    part = list(client.get_range(prefix + "p/05", prefix + "p/08"))
    assert [value for value, _ in part] == [b"5", b"6", b"7"]
    assert client.get_prefix_response(prefix + "p/").count == 20
    gone = client.delete_prefix(prefix + "p/")
    assert gone.deleted == 20
    assert list(client.get_prefix(prefix + "p/")) == []
    assert client.get(prefix + "q")[0] == b"outside"


def test_replace(client, prefix):
    key = prefix + "r"
    assert client.put_if_not_exists(key, "a") is True
    assert client.put_if_not_exists(key, "b") is False
    assert client.replace(key, "wrong", "c") is False
    assert client.replace(key, "a", "c") is True
    assert client.get(key)[0] == b"c"


def collect(iterator):
    events = queue.Queue()

    def read():
        for event in iterator:
            events.put(event)

    threading.Thread(target=read, daemon=True).start()
    return events


def test_watch_prefix(client, prefix):
    iterator, cancel = client.watch_prefix(prefix + "w/")
    events = collect(iterator)
    client.put(prefix + "w/1", "a")
    client.put(prefix + "elsewhere", "x")
    client.put(prefix + "w/2", "b")
    client.delete(prefix + "w/1")
    first, second, third = (events.get(timeout=10) for _ in range(3))
    assert isinstance(first, etcd3.events.PutEvent)
    assert (first.key.decode(), first.value) == (prefix + "w/1", b"a")
    assert (second.key.decode(), second.value) == (prefix + "w/2", b"b")
    assert isinstance(third, etcd3.events.DeleteEvent)
    assert third.key.decode() == prefix + "w/1"
    assert first.mod_revision < second.mod_revision < third.mod_revision
    cancel()
    client.put(prefix + "w/3", "c")
    time.sleep(0.3)
    assert events.empty()


def test_watch_past(client, prefix):
    key = prefix + "past"
    revisions = []
    for i in range(5):
        client.put(key, str(i))
        revisions.append(client.get(key)[1].mod_revision)
    iterator, cancel = client.watch(
        key, start_revision=revisions[2], prev_kv=True)
    events = collect(iterator)
    got = [events.get(timeout=10) for _ in range(3)]
    assert [event.value for event in got] == [b"2", b"3", b"4"]
    assert [event.prev_value for event in got] == [b"1", b"2", b"3"]
    cancel()


def test_watch_callback(client, prefix):
    called = queue.Queue()
    watch_id = client.add_watch_callback(prefix + "c", called.put)
    client.put(prefix + "c", "x")
    response = called.get(timeout=10)
    assert response.events[0].value == b"x"
    client.cancel_watch(watch_id)


def test_watch_once(client, prefix):
    threading.Timer(0.3, client.put, (prefix + "o", "x")).start()
    event = client.watch_once(prefix + "o", timeout=10)
    assert event.value == b"x"
    try:
        client.watch_once(prefix + "never", timeout=0.3)
    except etcd3.exceptions.WatchTimedOut:
        return
    raise AssertionError("no timeout")


def test_lease(client, prefix):
    lease = client.lease(100)
    client.put(prefix + "l1", "x", lease=lease)
    client.put(prefix + "l2", "y", lease=lease.id)
    assert lease.granted_ttl == 100
    assert 90 <= lease.remaining_ttl <= 100
    assert sorted(lease.keys) == [
        (prefix + "l1").encode(), (prefix + "l2").encode()]
    refreshed = lease.refresh()
    assert refreshed[0].TTL == 100
    lease.revoke()
    assert client.get(prefix + "l1")[0] is None
    assert client.get(prefix + "l2")[0] is None
    own = client.lease(100, lease_id=4242)
    assert own.id == 4242
    client.revoke_lease(4242)


def test_lease_expiry(client, prefix):
    lease = client.lease(1)
    client.put(prefix + "e", "x", lease=lease)
    iterator, cancel = client.watch(prefix + "e")
    events = collect(iterator)
    event = events.get(timeout=10)
    assert isinstance(event, etcd3.events.DeleteEvent)
    assert client.get(prefix + "e")[0] is None
    assert lease.remaining_ttl == -1
    cancel()


def test_transactions(client, prefix):
    key = prefix + "t"
    txn = client.transactions
    client.put(key, "1")

    def run():
        return client.transaction(
            compare=[txn.value(key) == "1", txn.version(key) > 0],
            success=[txn.put(key, "2"), txn.get(key)],
            failure=[txn.get(key), txn.delete(key)])

    ok, answers = run()
    assert ok is True
    assert answers[1][0][0] == b"2"
    ok, answers = run()
    assert ok is False
    assert answers[0][0][0] == b"2"
    assert client.get(key)[0] is None
    ok, _ = client.transaction(
        compare=[txn.create(key) == "0", txn.mod(key) == "0"],
        success=[txn.txn(
            compare=[txn.version(key) == 0],
            success=[txn.put(key, "nested")], failure=[])],
        failure=[])
    assert ok is True
    assert client.get(key)[0] == b"nested"


def acquire(client, lock):
    """Waits for a lock as its acquire() would: in Debian that one is broken
    as soon as it has to wait, its tenacity is newer than the library."""
    while not lock.acquire(timeout=0):
        try:
            client.watch_once(lock.key, timeout=0.2)
        except etcd3.exceptions.WatchTimedOut:
            pass


def test_locks(client, prefix):
    name = prefix + "lock"
    first = client.lock(name, ttl=20)
    second = client.lock(name, ttl=20)
    assert first.acquire() is True
    assert first.is_acquired()
    assert second.acquire(timeout=0) is False
    first.refresh()
    assert first.release() is True
    acquire(client, second)
    assert second.is_acquired()
    assert not first.is_acquired()
    second.release()
    counter = {"inside": 0, "most": 0, "runs": 0}

    def work():
        for _ in range(3):
            lock = client.lock(name, ttl=20)
            acquire(client, lock)
            counter["inside"] += 1
            counter["most"] = max(counter["most"], counter["inside"])
            time.sleep(0.01)
            counter["inside"] -= 1
            counter["runs"] += 1
            lock.release()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter["most"] == 1 and counter["runs"] == 9, counter


def test_maintenance(client, prefix):
    for i in range(5):
        client.put(prefix + "m", str(i))
    revision = client.get(prefix + "m")[1].mod_revision
    client.compact(revision, physical=True)
    client.defragment()
    status = client.status()
    assert status.version.startswith("3.7.") and status.db_size > 0
    assert status.leader.name == "default"
    members = list(client.members)
    assert len(members) == 1 and members[0].client_urls
    assert list(client.list_alarms()) == []
    assert client.hash() is not None


def test_errors(client, prefix):
    for _ in range(2):
        try:
            client.put(prefix + "x", "v", lease=987654321)
        except Exception as error:
            assert "requested lease not found" in str(error), error
        else:
            raise AssertionError("a put under an unknown lease succeeds")


def quiet_hook(args):
    """Lets the library's watch threads end: they complain when their channel
    is closed first."""
    if "Channel closed" not in str(args.exc_value):
        threading.__excepthook__(args)


def main():
    threading.excepthook = quiet_hook
    host, port = sys.argv[1].rsplit(":", 1)
    passed = failed = 0
    for name, test in sorted(globals().items()):
        if not name.startswith("test_"):
            continue
        client = etcd3.client(host=host, port=int(port), timeout=15)
        try:
            test(client, name + "/")
            passed += 1
            print("ok    ", name)
        except Exception:
            failed += 1
            print("FAILED", name)
            traceback.print_exc(file=sys.stdout)
        finally:
            client.close()
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
