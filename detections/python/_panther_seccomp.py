"""System calls that code of a pack may not make: filters of seccomp-bpf, which the kernel applies until the process ends and to all its children.

A refused call fails with EPERM. A call that is newer than this list fails with ENOSYS, as on an older kernel. A call in the form of another
architecture ends the process. Filters add up: each can only take away.
"""

import platform
import struct

_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_EPERM, _ENOSYS = 1, 38
_LOAD, _AND, _EQUAL, _GREATER, _GREATER_OR_EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x25, 0x35, 0x06
_NUMBER, _ARCHITECTURE = 0, 4  # offsets in `struct seccomp_data`
_X32 = 0x40000000  # bit of the numbers of the x32 form
_NEWEST = 462  # mseal, Linux 6.10: later calls have not been looked at

# Name of the machine: AUDIT_ARCH and the column of the numbers below.
_MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}

# Numbers on x86_64 and on aarch64; None where the machine has no such call.
_NUMBERS = {
    # new sockets: the connection to the host is inherited
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201), "accept": (43, 202), "accept4": (288, 242),
    # memory and state of other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "process_madvise": (440, 440),
    "process_mrelease": (448, 448), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "kcmp": (312, 272), "move_pages": (279, 239),
    "migrate_pages": (256, 238), "get_robust_list": (274, 100), "setpriority": (141, 140), "ioprio_set": (251, 30),
    "sched_setparam": (142, 118), "sched_setscheduler": (144, 119), "sched_setattr": (314, 274),
    # signals, to itself as well: timers are the kernel's
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
    # programs and rights
    "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281), "uselib": (134, None), "personality": (135, 92), "capset": (126, 91),
    "setuid": (105, 146), "setgid": (106, 144), "setreuid": (113, 145), "setregid": (114, 143), "setresuid": (117, 147),
    "setresgid": (119, 149), "setfsuid": (122, 151), "setfsgid": (123, 152), "setgroups": (116, 159),
    # attributes of files, which Landlock does not govern
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None), "fchown": (93, 55),
    "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None), "futimesat": (261, None),
    "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14),
    "lremovexattr": (198, 15), "fremovexattr": (199, 16), "truncate": (76, 45),
    # mounts and namespaces
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97), "setns": (308, 268),
    "move_mount": (429, 429), "open_tree": (428, 428), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fspick": (433, 433), "mount_setattr": (442, 442), "statmount": (457, 457), "listmount": (458, 458),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    # parts of the kernel that no detection needs
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "add_key": (248, 217), "request_key": (249, 218),
    "keyctl": (250, 219), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "fanotify_init": (300, 262), "fanotify_mark": (301, 263), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142), "swapon": (167, 224),
    "swapoff": (168, 225), "syslog": (103, 116), "quotactl": (179, 60), "quotactl_fd": (443, 443), "acct": (163, 89),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171),
    "sethostname": (170, 161), "setdomainname": (171, 162), "iopl": (172, None), "ioperm": (173, None), "vhangup": (153, 58),
    "lookup_dcookie": (212, 18), "lsm_set_self_attr": (460, 460),
    # memory and messages that are shared by number or name
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "semget": (64, 190), "semop": (65, 193), "semtimedop": (220, 192),
    "semctl": (66, 191), "msgget": (68, 186), "msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187), "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    # names of files that come and go in a folder, which Landlock does not govern
    "inotify_init": (253, None), "inotify_init1": (294, 26), "inotify_add_watch": (254, 27),
    # Writing the buffers of all files to the disks holds up every process that writes.
    "sync": (162, 81), "syncfs": (306, 267),
    # The group of a process is what its end is made certain by: one signal ends all of it, however fast it starts processes.
    "setsid": (112, 157), "setpgid": (109, 154),
}  # fmt: skip

# What a worker may not do either: processes and threads, and more of its own cell.
_OF_WORKERS = {
    "clone": (56, 220), "fork": (57, None), "seccomp": (317, 277),
    "landlock_restrict_self": (446, 446),
}  # fmt: skip

# Refused with ENOSYS, so that libraries take the older call, whose arguments a filter can see.
_CLONE3 = (435, 435)

_NAMESPACES = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_NO_CHILD = 0x00018100  # CLONE_THREAD, PARENT, VM: a thread, a child of the parent, a child with the same memory
_PR_SET_PDEATHSIG, _PR_SET_PTRACER = 1, 0x59616D61
_F_SETOWN, _F_SETSIG, _F_SETOWN_EX, _F_SETLEASE, _F_NOTIFY = 8, 10, 15, 1024, 1026
# What the standard library asks of a descriptor: is it a terminal and how wide, how much can be read, does it block, is it inherited.
_TCGETS, _TIOCGWINSZ, _FIONREAD, _FIONBIO, _FIONCLEX, _FIOCLEX = 0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451
_SOCK_STREAM, _SOCK_TYPE = 1, 0xF


def _unless(argument, mask, *values):
    """Refuse a call unless an argument, masked, has one of the values."""
    return (argument, mask, values, False)


def _if(argument, *values):
    """Refuse a call if an argument has one of the values."""
    return (argument, 0xFFFFFFFF, values, True)


# Calls that are refused for some arguments only. Only the lower half of an argument is looked at: the kernel takes these as 32 bits.
_CONDITIONS = {
    "clone": ((56, 220), _unless(0, _NAMESPACES | _NO_CHILD, 0)),
    "prlimit64": ((302, 261), _unless(0, 0xFFFFFFFF, 0)),
    "sched_setaffinity": ((203, 122), _unless(0, 0xFFFFFFFF, 0)),
    # A pair of datagram sockets could send to any address; one of streams is connected for good.
    "socketpair": ((53, 199), _unless(1, _SOCK_TYPE, _SOCK_STREAM)),
    # The owner of a descriptor gets its signals; a lease holds up who opens the file; a notification tells of names in a folder.
    "fcntl": ((72, 25), _if(1, _F_SETOWN, _F_SETSIG, _F_SETOWN_EX, _F_SETLEASE, _F_NOTIFY)),
    # Flags of files, owners of descriptors and input of terminals are set by it too, and by a number for each file system and device.
    "ioctl": ((16, 29), _unless(1, 0xFFFFFFFF, _TCGETS, _TIOCGWINSZ, _FIONREAD, _FIONBIO, _FIONCLEX, _FIOCLEX)),
}
_CONDITIONS_OF_WORKERS = {"prctl": ((157, 167), _if(0, _PR_SET_PDEATHSIG, _PR_SET_PTRACER))}


def known_machine():
    """Whether there are filters for this machine."""
    return platform.machine() in _MACHINES


def of_loading():
    """The filter for a process that loads a pack and forks workers."""
    return _program(_NUMBERS, _CONDITIONS)


def of_worker():
    """The filter that a worker adds to that."""
    return _program(_OF_WORKERS, _CONDITIONS_OF_WORKERS)


def _program(refused, conditions):
    """Instructions of classic BPF, as the kernel reads them, and how many."""
    architecture, column = _MACHINES[platform.machine()]
    code = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER),
        (_GREATER_OR_EQUAL, 0, 1, _X32),
        (_RETURN, 0, 0, _ERRNO | _ENOSYS),
        (_GREATER, 0, 1, _NEWEST),
        (_RETURN, 0, 0, _ERRNO | _ENOSYS),
        (_EQUAL, 0, 1, _CLONE3[column]),
        (_RETURN, 0, 0, _ERRNO | _ENOSYS),
    ]
    for numbers in refused.values():
        if numbers[column] is not None:
            code += [(_EQUAL, 0, 1, numbers[column]), (_RETURN, 0, 0, _ERRNO | _EPERM)]
    for numbers, condition in conditions.values():
        body = _condition(*condition)
        code += [(_EQUAL, 0, len(body), numbers[column]), *body]
    code.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code), len(code)


def _condition(argument, mask, values, refuses):
    body = [(_LOAD, 0, 0, 16 + 8 * argument), (_AND, 0, 0, mask)]
    # Each comparison that holds jumps over the rest and the first return.
    for place, value in enumerate(values):
        body.append((_EQUAL, len(values) - place, 0, value))
    returns = [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ERRNO | _EPERM)]
    return [*body, *(returns if refuses else reversed(returns))]
