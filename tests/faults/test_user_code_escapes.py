"""User code that tries to get out of its child: to the network, to other processes, to files, to the key.

Each attempt is made as the user that the tests run as (root, on many machines: the hardest case) and as the
user of a pod. What is tried and what must come of it stands in tables; that the same things work outside is
checked too.
"""

import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import confined_child
import pytest

from modelwarden_server.modelserver.seccomp import number_of
from modelwarden_server.modelserver.supervisor import Child

pytestmark = pytest.mark.faults
# A host is not found without sockets; a hard link is refused as one to another file system.
REFUSED = {"PermissionError", "EPERM", "EACCES", "gaierror", "OSError"}
SECRET = "the-key-of-the-cell"


@dataclass
class Cage:
    """A child, and what it must not reach."""

    child: Child
    folder: Path
    listener: socket.socket

    def attempt(self, text: str) -> str:
        """With the names of what is to be reached filled in."""
        names = {"FOLDER": str(self.folder), "PARENT": str(os.getpid())}
        for name, value in names.items():
            text = text.replace(name, value)
        text = re.sub(r"SYS_(\w+)", lambda found: str(number_of(found[1], os.uname().machine)), text)
        return confined_child.attempt(self.child, text)


@pytest.fixture(scope="module", params=["this user", "pod user"])
def cage(request: pytest.FixtureRequest) -> Iterator[Cage]:
    with confined_child.place() as folder, socket.socket(socket.AF_UNIX) as listener:
        made = confined_child.project(folder)
        (folder / "sidecar").mkdir()
        (folder / "sidecar" / "key").write_text(SECRET)
        (folder / "other-code").mkdir()
        (folder / "other-code" / "entrypoint.py").write_text("weights = 1")
        listener.bind(str(folder / "sidecar" / "model-server.sock"))
        listener.listen()
        listener.settimeout(0)
        (folder / "sidecar" / "model-server.sock").chmod(0o777)
        (made / "open.txt").write_text("everybody may write here")
        (made / "open.txt").chmod(0o666)
        os.environ["MODELWARDEN_CELL_KEY"] = SECRET
        wanted = confined_child.spec(folder, made)
        if request.param == "pod user":
            wanted = confined_child.as_pod_user(wanted, folder)
        child = Child(wanted)
        child.start()
        try:
            status = child.wait(180)
            assert status.state == "Ready", status.message
            assert "seccomp" in status.isolation
            yield Cage(child, folder, listener)
        finally:
            del os.environ["MODELWARDEN_CELL_KEY"]
            child.stop()


SOCKETS = {
    "tcp": "import socket; socket.socket()",
    "tcp 6": "import socket; socket.socket(socket.AF_INET6)",
    "udp": "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "netlink": "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "unix": "import socket; socket.socket(socket.AF_UNIX).connect('FOLDER/sidecar/model-server.sock')",
    "pair of tcp": "import socket; socket.socketpair(socket.AF_INET)",
    "connect by the wire": "import os, socket; s = socket.socket(fileno=os.dup(wire()));"
    " s.connect('FOLDER/sidecar/model-server.sock')",
    "send to": "import socket; a, b = socket.socketpair(type=socket.SOCK_DGRAM);"
    " a.sendto(b'x', 'FOLDER/sidecar/model-server.sock')",
    "pass a descriptor": "import socket; a, b = socket.socketpair(); socket.send_fds(a, [b'x'], [0])",
    "listen": "import socket; a, b = socket.socketpair(); a.bind('FOLDER/work/s')",
    "io_uring": "result = call(SYS_io_uring_setup, 8, 0)",
    "name of a host": "import socket; socket.getaddrinfo('example.com', 80)",
}
PROCESSES = {
    "fork": "import os; os.fork()",
    "vfork": "import subprocess; subprocess.run(['/bin/true'])",
    "spawn": "import os; os.posix_spawn('/bin/true', ['true'], {})",
    "exec": "import os; os.execv('/bin/true', ['true'])",
    "exec of memory": "import os; os.execve(0, ['true'], {})",
    "new namespaces": "result = call(SYS_unshare, 0x10000000)",
    "a session of its own": "import os; os.setsid()",
    "mount": "result = call(SYS_mount, b'none', b'FOLDER/work', b'tmpfs', 0, 0)",
    "bpf": "result = call(SYS_bpf, 0, 0, 0)",
    "chroot": "import os; os.chroot('/')",
    "become root": "import os; os.setuid(0); os.open('/etc/shadow', 0); result = 'root'",
}
OTHERS = {
    "kill the parent": "import os; os.kill(PARENT, 0)",
    "kill all": "import os; os.kill(-1, 0)",
    "kill init": "import os; os.kill(1, 0)",
    "kill the parent's group": "import os; os.killpg(os.getpgid(PARENT), 0)",
    "tgkill": "result = call(SYS_tgkill, PARENT, PARENT, 0)",
    "tkill": "result = call(SYS_tkill, PARENT, 0)",
    "queue a signal": "result = call(SYS_rt_sigqueueinfo, PARENT, 0, None)",
    "open the process": "result = call(SYS_pidfd_open, PARENT, 0)",
    "signals by a pipe": "import fcntl, os; r, w = os.pipe(); fcntl.fcntl(r, 8, PARENT)",
    "signals by a pair": "import fcntl, socket, struct; a, b = socket.socketpair();"
    " fcntl.ioctl(a, 0x8901, struct.pack('i', PARENT))",
    "trace": "result = call(SYS_ptrace, 16, PARENT, 0, 0)",
    "read memory": "result = call(SYS_process_vm_readv, PARENT, 0, 0, 0, 0, 0)",
    "memory as a file": "open('/proc/PARENT/mem', 'rb')",
    "environment": "result = open('/proc/PARENT/environ').read()",
    "environment of init": "result = open('/proc/1/environ').read()",
    "descriptors": "import os; result = os.listdir('/proc/PARENT/fd')",
    "limits": "import resource; resource.prlimit(PARENT, resource.RLIMIT_NOFILE, (1, 1))",
    "priority": "import os; os.setpriority(os.PRIO_PROCESS, PARENT, 19)",
    "processor": "import os; os.sched_setaffinity(PARENT, {0})",
    "outlive the parent": "result = call(SYS_prctl, 1, 0, 0, 0, 0)",
    "hide": "result = call(SYS_prctl, 4, 0, 0, 0, 0)",
}
FILES_READ = {
    "key of the sidecar": "result = open('FOLDER/sidecar/key').read()",
    "key by a link": "import os; os.symlink('FOLDER/sidecar/key', 'FOLDER/work/l');"
    " result = open('FOLDER/work/l').read()",
    "key by the root": "result = open('/proc/self/root/FOLDER/sidecar/key').read()",
    "key by the working folder": "result = open('/proc/self/cwd/../sidecar/key').read()",
    "key by a hard link": "import os; os.link('FOLDER/sidecar/key', 'FOLDER/work/k');"
    " result = open('FOLDER/work/k').read()",
    "folder of the sidecar": "import os; result = os.listdir('FOLDER/sidecar')",
    "other code": "result = open('FOLDER/other-code/entrypoint.py').read()",
    "shadow": "result = open('/etc/shadow').read()",
    "all processes": "import os; result = os.listdir('/proc')",
}
FILES_WRITTEN = {
    "project": "open('FOLDER/project/new.py', 'w')",
    "open file of the project": "open('FOLDER/project/open.txt', 'w')",
    "truncate": "import os; os.truncate('FOLDER/project/open.txt', 0)",
    "remove": "import os; os.unlink('FOLDER/project/open.txt')",
    "rename": "import os; os.rename('FOLDER/project/open.txt', 'FOLDER/work/open.txt')",
    "own folder": "import os; os.rename('FOLDER/work', 'FOLDER/gone')",
    "temporary": "open('/tmp/modelwarden-escape', 'w')",
    "shared memory": "open('/dev/shm/modelwarden-escape', 'w')",
    "through a link": "import os; os.symlink('FOLDER/project/open.txt', 'FOLDER/work/w');"
    " open('FOLDER/work/w', 'w')",
    "device": "import os, stat; os.mknod('FOLDER/work/d', 0o600 | stat.S_IFCHR, os.makedev(1, 3))",
    "owner": "import os; os.chown('FOLDER/project/open.txt', 65532, 65532)",
    "first to go": "open('/proc/self/oom_score_adj', 'w').write('-1000')",
}
ATTEMPTS = [
    pytest.param(text, id=f"{kind}: {name}")
    for kind, table in (
        ("socket", SOCKETS),
        ("process", PROCESSES),
        ("other process", OTHERS),
        ("read", FILES_READ),
        ("write", FILES_WRITTEN),
    )
    for name, text in table.items()
]


@pytest.mark.parametrize("text", ATTEMPTS)
def test_there_is_no_way_out(cage: Cage, text: str) -> None:
    result = cage.attempt(text)
    assert result in REFUSED, result
    with pytest.raises(BlockingIOError):
        cage.listener.accept()


def test_what_is_refused_inside_works_outside(cage: Cage) -> None:
    assert (cage.folder / "sidecar" / "key").read_text() == SECRET
    assert (cage.folder / "project" / "open.txt").read_text()
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(cage.folder / "sidecar" / "model-server.sock"))
        cage.listener.accept()[0].close()
    os.kill(cage.child.pid or 0, 0)


def test_the_key_is_nowhere_in_the_child(cage: Cage) -> None:
    assert SECRET not in cage.attempt("import os; result = dict(os.environ)")
    assert SECRET not in cage.attempt("result = open('/proc/self/environ').read()")
    text = (
        "import os; links = [f'/proc/self/fd/{n}' for n in os.listdir('/proc/self/fd')];"
        "result = sorted({os.readlink(link).split(':')[0] for link in links if os.path.lexists(link)})"
    )
    assert set(eval(cage.attempt(text))) <= {"/dev/null", "pipe", "socket"}


def test_the_child_has_no_privileges_left(cage: Cage) -> None:
    status = cage.attempt("result = open('/proc/self/status').read()")
    told = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert [int(told[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")] == [0] * 4
    assert (told["NoNewPrivs"], told["Seccomp"]) == ("1", "2")


def test_modes_of_files_stay_as_they_are(cage: Cage) -> None:
    before = (cage.folder / "project" / "open.txt").stat().st_mode
    assert cage.attempt("import os; os.chmod('FOLDER/project/open.txt', 0); result = 'told so'") == "told so"
    assert (cage.folder / "project" / "open.txt").stat().st_mode == before


USEFUL = {
    "write in its folder": (
        "open('FOLDER/work/f', 'w').write('x'); result = open('FOLDER/work/f').read()",
        "x",
    ),
    "a temporary file": ("import tempfile; result = tempfile.TemporaryFile().write(b'x')", "1"),
    "read the project": ("result = open('entrypoint.py').read(1)", "\n"),
    "threads": (
        "import threading; t = threading.Thread(target=print); t.start(); t.join(); result = 'ran'",
        "ran",
    ),
    "an event loop": ("import asyncio; result = asyncio.run(asyncio.sleep(0, 'ran'))", "ran"),
    "linear algebra": ("import numpy as np; a = np.ones((300, 300)); result = (a @ a)[0, 0]", "300.0"),
    "signals to itself": ("import os; os.kill(os.getpid(), 0); result = 'sent'", "sent"),
    "random numbers": ("import os; result = len(os.urandom(8))", "8"),
    "copy with modes": (
        (
            "import shutil; open('FOLDER/work/a', 'w').close();"
            "result = shutil.copy2('FOLDER/work/a', 'FOLDER/work/b')[-1]"
        ),
        "b",
    ),
    "print": ("print('x' * 100000); result = 'printed'", "printed"),
}


@pytest.mark.parametrize(("text", "expected"), USEFUL.values(), ids=USEFUL.keys())
def test_what_models_need_still_works(cage: Cage, text: str, expected: str) -> None:
    assert cage.attempt(text) == expected


def test_older_call_interfaces_are_closed_too(cage: Cage) -> None:
    if os.uname().machine != "x86_64":
        assert cage.attempt("result = call(1000)") == "ENOSYS"
        return
    assert cage.attempt("result = call(0x40000000 + 41, 2, 1, 0)") == "ENOSYS"
