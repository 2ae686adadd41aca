# Code in which Python's grammar is at its oddest: read, and never run.


def texts(x, y, width):
    one = "a" 'b' """c
d""" r"\d" u"\u00e9\x41\101\N{GREEK SMALL LETTER ALPHA}\
e"
    half = "\ud800", f"\udfff{x}", "\ufffd"
    unknown = "\d \8"
    whole = f"{x}" f"" "plain" f"{y!r:>{width}}{{}}" rf"\d{x:%Y-%m-%d}"
    shown = f"{x = !s}{ y=}{x=:>5}{x!a}"
    nested = f"{x['a']:{'>'}{width}}{f'{y}'}{ {1: 2}[1] }"
    lines = f"""
    {x}\n\t\N{BULLET}
    {y
     + 1}"""
    return one, half, unknown, whole, shown, nested, lines, f"", "" f"", b"\xff" b"b"


def numbers():
    return 0x_ff, 0b1, 0o17, 1_000, 9223372036854775807, 9223372036854775808, 1e999, 1_0.5e-3, .5, 5., 3j, 1e16, 0.1, -0.0, 00, ...


def operators(a, b, *c, d=1, **e):
    a @= b; a //= b; a **= b; a <<= 1; a >>= 1; a |= b; a &= ~b; a ^= +b
    return a or b and not c, -a ** -b, (a < b <= c != d is not e not in a), a if b else c if d else e, (a, *c), [*c, b], {*c}, {**e, "f": a}


def bindings(first, /, second=(lambda *a, k=1, **b: (a, b)), *, third, fourth=None):
    global somewhere, elsewhere
    (a, *b), [c, d] = e = first
    a: int = 1
    b: "str"
    third.fourth[a:b, ::c, d:] = e
    del a, b[0], (c, d)
    if (n := len(e)) > 1: pass
    return [x async for x in a] if n else {x: y for x, (y, z) in a if x if y for z in y}, {x for x in a}, (x for x in a)


@first.second(third, *fourth, fifth=sixth, **seventh)
@eighth
def decorated(): """Not more than this."""


class Outer(Base, metaclass=Meta):
    """Classes hold functions."""

    attribute: int = 1

    @property
    def inner(self):
        nonlocal_name = 1

        def innermost():
            nonlocal nonlocal_name
            nonlocal_name = 2
            yield
            yield nonlocal_name
            yield from self

        class Local:
            def method(self, __private): return super().method(__private)

        return innermost, Local

    async def skipped(self):
        def found(): return await_
        async with a as b, c: await d
        async for e in f: pass
        else: return found


if True:
    def conditional():
        import a, b.c as d
        from . import e
        from ..f import g as h, i
        from j import *
        assert a, "b"
        raise ValueError("c") from d
elif False:
    def other(): raise
else:
    try:
        def attempted(): return ()
    except (A, B) as c:
        def handled(): return (a,)
    except D:
        pass
    else:
        def went_on(): return not a
    finally:
        def at_last():
            while a:
                if b: break
                elif c: continue
                elif d:
                    pass
                else: break
            else:
                for e, in f: pass
                else: return
            try: pass
            except* G: pass
            with (h as i, j): pass
            with k as (l, m): pass


def matched(command):
    match command:
        case {"a": [1, *rest], **others} if rest: return others
        case Point(x=0) | None: return 1
        case _: return match(case=type)
    match = case = type = 1


def ﬁnd(ª): return ﬁnd(ª).ﬁeld


def deep(x): return -(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(-(x)))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))


def deep_choice(x):
    if x == 0: return 0
    elif x == 1: return 1
    elif x == 2: return 2
    elif x == 3: return 3
    elif x == 4: return 4
    elif x == 5: return 5
    elif x == 6: return 6
    elif x == 7: return 7
    elif x == 8: return 8
    elif x == 9: return 9
    elif x == 10: return 10
    elif x == 11: return 11
    elif x == 12: return 12
    elif x == 13: return 13
    elif x == 14: return 14
    elif x == 15: return 15
    elif x == 16: return 16
    elif x == 17: return 17
    elif x == 18: return 18
    elif x == 19: return 19
    elif x == 20: return 20
    elif x == 21: return 21
    elif x == 22: return 22
    elif x == 23: return 23
    elif x == 24: return 24
    elif x == 25: return 25
    elif x == 26: return 26
    elif x == 27: return 27
    elif x == 28: return 28
    elif x == 29: return 29
    elif x == 30: return 30
    elif x == 31: return 31
    elif x == 32: return 32
    elif x == 33: return 33
    elif x == 34: return 34
    elif x == 35: return 35
    elif x == 36: return 36
    elif x == 37: return 37
    elif x == 38: return 38
    elif x == 39: return 39
    elif x == 40: return 40
    elif x == 41: return 41
    elif x == 42: return 42
    elif x == 43: return 43
    elif x == 44: return 44
    elif x == 45: return 45
    elif x == 46: return 46
    elif x == 47: return 47
    elif x == 48: return 48
    elif x == 49: return 49
    elif x == 50: return 50
    elif x == 51: return 51
    elif x == 52: return 52
    elif x == 53: return 53
    elif x == 54: return 54
    elif x == 55: return 55
    elif x == 56: return 56
    elif x == 57: return 57
    elif x == 58: return 58
    elif x == 59: return 59
    elif x == 60: return 60
    elif x == 61: return 61
    elif x == 62: return 62
    elif x == 63: return 63
    elif x == 64: return 64
    elif x == 65: return 65
    elif x == 66: return 66
    elif x == 67: return 67
    elif x == 68: return 68
    elif x == 69: return 69
    elif x == 70: return 70
    elif x == 71: return 71
    elif x == 72: return 72
    elif x == 73: return 73
    elif x == 74: return 74
    elif x == 75: return 75
    elif x == 76: return 76
    elif x == 77: return 77
    elif x == 78: return 78
    elif x == 79: return 79
    elif x == 80: return 80
    elif x == 81: return 81
    elif x == 82: return 82
    elif x == 83: return 83
    elif x == 84: return 84
    elif x == 85: return 85
    elif x == 86: return 86
    elif x == 87: return 87
    elif x == 88: return 88
    elif x == 89: return 89
    elif x == 90: return 90
    elif x == 91: return 91
    elif x == 92: return 92
    elif x == 93: return 93
    elif x == 94: return 94


def not_too_deep(x): return [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[x]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]
