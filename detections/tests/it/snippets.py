#: keys_in_any_case
return [event.get("EVENTNAME"), event.get("eventname", 1), event["eventNAME"], "EventName" in event, "nothing" in event]

#: nulls_and_defaults
return [event.get("nothing", "d"), event.get("null", "d"), event.deep_get("null", default="d"), event.deep_get("a", "b", "c", default="d")]

#: empty_mapping_as_default
return [event.deep_get("nothing", default={}), event.deep_get("a", "missing", default={}), event.deep_get("null", "x", default=[])]

#: nested_look_ups
return [event.deep_get("a", "B", "c"), event.deep_get("A", "b"), event.get("a", {}).get("b", {}).get("C"), event.get("list", [])]

#: deep_walk
return [event.deep_walk("items", "k"), event.deep_walk("items", "k", return_val="first"), event.deep_walk("items", "k", return_val="last"), event.deep_walk("items", "z", default="d"), event.deep_walk("nested", "x", "y"), event.deep_walk("empty")]

#: unified_fields
return [event.udm("user"), event.udm("address"), event.udm("place"), event.udm("each", default=0), event.udm("eventName"), event.udm("a", "b"), event.udm("nothing", default="d"), event.udm("each"), event.udm("each", default=1), event.udm_path("address"), event.udm_path("each"), event.udm_path("nothing")]

#: views_as_text
return f"{event.get('a')} {event.get('list')} {event.get('one')} {event.get('items')} {event.get('text')!r}"

#: the_event_as_text
return str(event)

#: views_are_no_lists
value = event.get("list")
return [isinstance(value, list), isinstance(value, dict), isinstance(event, dict), isinstance(event.get("a"), (dict, str)), isinstance(event.get("n"), int), isinstance(event.get("flag"), int)]


#: classes_of_values
from_event = event.get("list")
return [from_event is not None, isinstance("x", str), isinstance(1.5, float), isinstance(True, bool), isinstance((1,), tuple), isinstance({1}, set)]

#: abstract_classes
return [isinstance(event, Mapping), isinstance(event.get("list"), Sequence), isinstance(event.get("text"), Sequence), isinstance({}, Mapping), isinstance([], Mapping), isinstance(event.get("n"), Sequence)]

#: slices
value, text = event.get("list"), event.get("text")
return [text[1:], text[:-1], text[-3:], text[:100], text[5:2], value[1:], value[:1], [1, 2, 3][-2:], (1, 2)[:1], text[::-1]]

#: indices
return [event.get("list")[0], event.get("list")[-1], event.get("text")[0], [1, 2][-1]]

#: index_errors
try:
    return event.get("list")[9]
except IndexError:
    return "none"

#: key_errors
try:
    return event["nothing"]
except (ValueError, KeyError):
    return "none"
finally:
    pass

#: wrong_attributes
try:
    return event.get("n").lower()
except AttributeError:
    return "no text"

#: raises_out
return event["nothing"]

#: adds_text_and_number
return event.get("text") + event.get("n")

#: loops
total = 0
for key, value in event.items():
    if key == "flag":
        continue
    if isinstance(value, str):
        total += len(value)
    elif value is None:
        break
else:
    total = -1
return total

#: while_loops
n, steps = 10, []
while n > 0:
    n -= 3
    if n == 4:
        continue
    steps.append(n)
return steps

#: unpacking
first, *rest = event.get("text").split("-")
a, (b, c) = 1, (2, 3)
return [first, rest, a, b, c]

#: unpacking_too_many
try:
    a, b = event.get("text").split("-")
except ValueError:
    return "not two"
return [a, b]

#: comprehensions
names = [item.get("k") for item in event.get("items", []) if item.get("k")]
return [names, {name: len(name) for name in names}, sorted({str(name)[:1] for name in names}), [x + y for x in "ab" for y in "cd"], any(name == "two" for name in names), all(name for name in names)]

#: comprehension_scopes
x = "outer"
values = [x for x in "ab"]
return [x, values, next((y for y in "xyz" if y > "x"), None), next((y for y in "" if y), "none")]

#: walrus
if name := event.get("text"):
    return [name, [last := part for part in name.split("-")], last]
return None

#: lambdas
order = sorted(event.get("list"), key=lambda item: -len(str(item)))
return [order, max("abc", key=lambda letter: letter == "b"), list(map(lambda n: n + 1, [1, 2])), list(filter(None, [0, 1])), reduce(lambda a, b: a + b, [1, 2, 3], 0)]

#: inner_functions
def depth(value):
    if isinstance(value, Mapping):
        return 1 + max([depth(inner) for inner in value.values()], default=0)
    return 0
return depth(event)

#: inner_functions_over_names
prefix = event.get("text")
def named(name):
    return prefix + name
return named("!")

#: stars
def take(*parts, default=None, last="l"):
    return [parts, default, last]
words = event.get("text").split("-")
return [take(*words), take(1, *words, default=2), take(last=3)]

#: defaults_of_globals
return [helper_with_defaults(1), helper_with_defaults(1, 2), helper_with_defaults(1, c=3), helper_with_defaults(b=1, a=2)]

#: texts
text = event.get("text")
return [text.upper(), text.lower(), text.title(), text.capitalize(), text.strip(), text.strip("-x"), text.replace("-", "+"), text.split("-"), text.split("-", 1), text.rsplit("-", 1), text.split(), text.startswith("a"), text.startswith(("x", "a")), text.endswith("c"), text.find("b"), text.count("-"), text.partition("-"), text.rpartition("-"), text.isdigit(), text.isalpha(), text.isupper(), text.removeprefix("a"), "-".join(["x", text]), text.splitlines()]

#: more_texts
return ["it's a TEST".title(), "abc".isalnum(), "".isdigit(), " x ".lstrip(), " x ".rstrip(), "a,b,,c".split(","), "%s" if False else "x", "aXb".swapcase() if False else "y", "x" * 1 if False else "z", str(None), str(True), str(1.0), str([1, "a", None])]

#: quoting
return repr(["it's", 'say "x"', "both ' and \"", "back\\slash", "tab\t", "nul\x00", "\x7f"]) + repr({"k": (1,), "e": ()}) + repr(event.get("odd"))

#: numbers
n, f = event.get("n"), event.get("f")
return [n + 1, n - 1, n * 2, n / 2, n // 2, -n // 2, n % 3, -n % 3, n > 1, n == 3.0, f * 2, f > n, abs(-n), divmod(7, 2), sum([1, 2, n]), min(n, f), max([n, f]), True + 1, 1 < n < 5, round(n) if False else 0]

#: floats_as_text
return [str(1e16), str(1e22), str(1e-5), str(0.0001), str(123456789.123), str(-0.0), str(5e-324), str(1.0), str(1e15), f"{event.get('f')}", str(2.5e-7), str(100000.0)]

#: conversions
values = []
for text in ["12", "-3", "x", "1.5"]:
    try:
        values.append(int(text))
    except ValueError:
        values.append("no")
return values + [float("1.5"), int(3.9), int(-3.9), bool(""), bool("x"), list("ab"), tuple([1]), dict([("a", 1)]), dict(a=1), float(2)]

#: equality
return [1 == True, 0 == False, "1" == 1, None == 0, [1] == [1.0], (1,) == [1], {"a": 1} == {"a": True}, {1, 2} == {2, 1}, event.get("list") == list(event.get("list")), event.get("a") == {"b": {"c": "deep"}}]

#: membership
return [event.get("text") in SOME_SET, event.get("n") in (1, 2, 3), event.get("n") in [1.0, 3.0], None in (1, None), "b" in event.get("text"), "deep" in str(event.get("a")), event.get("one") in [["only"]], "a" in {"a": 1}]

#: containers_of_the_pack
return [SOME_DICT.get(event.get("text"), "other"), SOME_DICT["k"], list(SOME_DICT.items()), SOME_LIST[0], len(SOME_SET), SOME_LIST + ["x"], dict(SOME_DICT) | {"z": 1}, {**SOME_DICT, "y": 2}, SOME_LIST == ["p", "q"]]

#: changes_a_container
values = {"a": 1}
values["b"] = 2
values.update({"c": 3})
values.setdefault("d", 4)
values.pop("a")
items = [3, 1]
items.append(2)
items.extend([5])
items += [6]
items.remove(1)
items.insert(0, 9)
kinds = set()
kinds.add("x")
kinds.add("x")
return [values, items, items.index(2), items.pop(), len(kinds), items.count(9), values.get("zz")]

#: sets
left, right = {str(item) for item in event.get("list")}, {"x", "z"}
return [sorted(left & right), sorted(left | right), sorted(left - right), sorted(left ^ right), left.issubset(right), left.isdisjoint({"q"}), bool(left), sorted(left.union(["n"])), sorted(left.intersection(["x"]))]

#: one_in_a_set
return [str({"x"}), list({"x"}), [v for v in {"x"}], str(set())]

#: ordered_dicts
found = OrderedDict()
found["b"] = 1
found["a"] = 2
found["b"] = 3
return [list(found.keys()), list(found), found.get("a")]

#: iterators
pairs = list(zip(["a", "b"], [1, 2]))
numbered = [f"{n}{x}" for n, x in enumerate(event.get("list"))]
return [pairs, numbered, list(reversed([1, 2])), list(range(3)), list(range(1, 3)), sorted([3, 1, 2], reverse=True), dict(zip("ab", [1, 2]))]

#: an_iterator_twice
once = map(str, [1, 2])
return [list(once), list(once)]

#: regular_expressions
text = event.get("text")
found = re.search(r"([a-z]+)-(?P<rest>[a-z]*)", text)
return [found.group(0) if found else None, found.group("rest") if found else None, found[1] if found else None, found.groups() if found else None, bool(re.match("b", text)), bool(re.fullmatch(r"[\w-]+", text)), A_PATTERN.search(text) is not None, re.findall(r"[a-z]", text), re.findall(r"([a-z])(-)", text), re.sub(r"-", "_", text), bool(re.search(r"c$", text)), any(re.search(p, text) for p in SOME_LIST)]

#: file_name_patterns
return [fnmatch(event.get("text"), "a*c"), fnmatch(event.get("text"), "?-*"), fnmatch("", "*"), fnmatch("x", ""), any(fnmatch(event.get("text"), p) for p in ["z*", "a-?-c"])]

#: json
return [json.dumps({"a": [1, None, True, 1.5, "é\n\x7f"], "b": {1: 2}}), json.loads('{"a": [1, 2.5, null], "b": "x"}')["a"], json.loads(json.dumps(event.to_dict()))["n"]]

#: plain_copies
copy = event.to_dict()
copy["new"] = copy.pop("n", None)
return [copy.get("EVENTNAME"), copy.get("eventName"), sorted(copy)[0], isinstance(copy["list"], list), event.get("list").copy()]

#: addresses
return [ip_address("10.0.0.1").is_private, ip_address("8.8.8.8").is_global, ip_address("10.1.2.3") in ip_network("10.0.0.0/8"), str(ip_address("1.2.3.4")), ip_address("8.8.8.8").is_private]

#: not_an_address
try:
    ip_address(event.get("text"))
    return "address"
except ValueError:
    return "none"

#: written_globals
global STATE
STATE = event.get("text") + "!"
return reads_state()

#: choices
text = event.get("text")
return ["yes" if text and not event.get("flag") else "no", text or "d", text and "e", not text, None or 0 or "last", (1 and 2) or 3]

#: identity
return [event.get("null") is None, event.get("flag") is True, event.get("n") is not None]

#: nested_tries
try:
    try:
        raise ValueError("x")
    except KeyError:
        return "key"
    finally:
        STEPS = "finally"
except Exception:
    return STEPS

#: own_exceptions
try:
    raise OwnError("x")
except LookupError as error:
    return "own"

#: calls_by_name
return [", ".join(sorted(event.keys()))[:20], len(event), len(event.get("items")), list(event.get("a").values()) != [], "x" if hasattr(event, "nothing_like_it") is False else "y"] if False else [len(event)]

#: text_of_letters_outside_ascii
word = event.get("word")
return [len(word), word[0], word[1:], word + "x", word == "straße", f"<{word}>", "ß" in word, word.replace("ß", "ss"), word.split("a"), word.startswith("str")]

#: big_numbers
return [event.get("big"), 2**10 if False else 1, event.get("n") * 10**3 if False else 2]

#: sorting_what_cannot_be
try:
    return sorted([1, "a"])
except TypeError:
    return "no"

#: chained_methods
return (event.get("text") or "").split("-")[-1].upper().replace("C", "!")

#: percent_of_everything
return "{}".format(event.get("n")) if False else f"{event.get('n')}{event.get('flag')}{event.get('null')}{event.get('f')}"

#: times_by_a_format
found = []
for text in (event.get("n"), event.get("text"), "2024-05-06T07:08:09.123456Z", "2024-05-06 07:08:09", "2024-05-06T07:08:09.25Z", "May  6 07:08:09", "2024-05-06T07:08:09+02:30", "2024-02-30 00:00:00", "05/06/24 12:08:09 PM"):
    for form in ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S.%fZ", "%b %d %H:%M:%S", "%Y-%m-%dT%H:%M:%S%z", "%m/%d/%y %I:%M:%S %p"):
        try:
            moment = datetime.strptime(text, form)
        except (ValueError, TypeError):
            continue
        found.append([moment.isoformat(), str(moment), f"{moment}", moment.year, moment.second, moment.microsecond])
return found

#: spans_of_time
one = datetime.fromisoformat("2024-03-01T00:00:00")
two = datetime.strptime("2024-02-27 23:59:58.500000", "%Y-%m-%d %H:%M:%S.%f")
span, back = one - two, two - one
later = two + A_SPAN
return [span.days, span.seconds, span.microseconds, span.total_seconds(), back.days, back.total_seconds(), later.isoformat(), one < two, one == two, span > back, bool(one - one), (one - A_SPAN).isoformat(), (A_SPAN + timedelta(minutes=3)).total_seconds(), timedelta(2).days]

#: times_with_and_without_a_zone
one = datetime.strptime("2024-03-01 00:00:00 +0100", "%Y-%m-%d %H:%M:%S %z")
two = datetime.strptime("2024-03-01 00:00:00", "%Y-%m-%d %H:%M:%S")
try:
    return [one - two]
except TypeError:
    return [one == two, one.timestamp(), (one - datetime.strptime("2024-02-29T23:00:00Z", "%Y-%m-%dT%H:%M:%S%z")).total_seconds()]

#: templates
return ["{} {}".format(event.get("text"), event.get("n")), "{0}-{1}-{0}".format("a", event.get("f")), "{x} {{}} {y}".format(x=1, y=event.get("flag")), "{:06f}".format(2.5), "{:.2f}|{:8.3f}|{:08.2f}".format(1.005, -2.5, -3.14159), "{:05d} {:3}".format(42, 7)]

#: plain_templates
one, other = event.get("text"), event.get("n")
texts = ["{}{}".format(one, other), "{}:{}|".format(other, None), "a{}{}b".format(1.0, True), "{{}}{}".format(one), "{}{{{}}}".format(one, other), "".format(), "{}".format(event.get("list"))]
try:
    texts.append("{}{}".format(one))
except IndexError:
    texts.append("an index")
try:
    texts.append("{}{}".format(late, one))
except UnboundLocalError:
    texts.append("a name")
changed = []
texts.append("{}{}".format(changed, changed.append(1)))
if not event:
    late = 1
return texts

#: more_than_its_template
return "{}".format(event.get("n"), event.get("text"))

#: formats
value = event.get("f")
if isinstance(value, float):
    return f"{value:.2f} {value:010.3f} {len(event):04d}"
return f"{3.14159:.3f}"

#: raises_by_kind
return event.get("text").startswith("a") and event.get("nothing").lower()

#: raises_in_a_helper
def ends(value):
    return value.endswith("c")
return [ends(event.get("text")), ends(event.get("n")), ends(event.get("flag"))]

#: raises_of_keys
return [event["text"], event[str(event.get("n"))], {"k": 1}[event.get("text")], event["nothing"]]

#: raises_of_places
return [event.get("list")[1], event.get("one")[event.get("n")], (1, 2)[7]]

#: raises_of_operands
return event.get("n") + event.get("text")

#: raises_of_orders
return [event.get("n") < event.get("f"), event.get("n") < event.get("text"), event.get("list") in event.get("text"), event.get("text") in event.get("n")]

#: raises_of_loops
return [[item for item in event.get("list")], sorted(event.get("n")), len(event.get("flag"))]

#: raises_while_handling
try:
    return event.get("n").lower()
except AttributeError:
    return event.get("n").upper()

#: raises_after_handling
try:
    event.get("n").lower()
except AttributeError:
    pass
return event.get("flag").upper()

#: raises_of_values
return [int(event.get("text")), float(event.get("text"))]

#: raises_what_it_says
if event.get("n") == 3:
    raise TypeError("three: " + str(event.get("f")))
return event.get("nothing").upper()

#: classes_of_the_pack
looked = Looks(event, "text")
again = Looks(event, "n")
again.found = event.get("f")
again.count += 2
return [looked.first(), looked.known, looked.label, again.first(), again.known, again.count, again.values("a"), again.get("k"), Base("x").first(), bool(looked)]

#: classes_with_wrong_arguments
try:
    return Looks(event)
except TypeError:
    return "refused"

#: which_are_mappings
return [[hasattr(event.get(name), "get"), hasattr(event.get(name), "items")] for name in ("a", "n", "text", "list", "nothing", "flag", "items")] + [hasattr(event, "keys"), hasattr({}, "get"), hasattr([], "values"), hasattr((), "get")]

#: times_in_full
if parser is None:
    return "not installed"
found = []
for text in ("2024-08-15 15:05:09.154000000", "2024-08-15T15:05:09.1Z", "2024-08-15 15:05:09-03:30", "2024-08-15 15:05:09", "redacted", event.get("text")):
    try:
        found.append(parser.parse(text).isoformat())
    except (ValueError, TypeError, parser.ParserError):
        found.append("none")
    if text == "redacted":
        break
return found

#: floats_of_texts
found = []
for text in ("46.000Z", "1.5", "x", event.get("text")):
    try:
        found.append(float(text))
    except (ValueError, TypeError):
        found.append("none")
return found

#: elements_of_sets
one = {event.get("text")}
return [one.pop(), len(one)]

#: texts_that_are_no_numbers
return float(event.get("text")) if event.get("flag") else int(event.get("text"))

#: attributes_of_plain_values
return event.get("n").lower()

#: errors_of_a_function
raise ValueError(f"it's {event.get('n')} of \"{event.get('list')}\"")

#: errors_as_texts
try:
    return float("1,5")
except ValueError as error:
    return [f"{error}", str(error)]

#: likeness_of_texts
text = str(event.get("text"))
found = [SequenceMatcher(None, text, other).ratio() for other in ("", "a-b-c", "c-b-a", "axbxc", text + text, "x" * 150 + text + "yz" * 40)]
return [*found, SequenceMatcher(None, "x" * 90 + text + "z" * 30, "ab" * 99 + text + "xx").ratio()]

#: mathematics
value = event.get("f")
return [radians(value), sin(value), cos(value), atan2(value, 3), sqrt(abs(event.get("n"))), value**2, sin(value / 2) ** 2]

#: countries
if pycountry is None:
    return "not installed"
found = [pycountry.countries.get(alpha_2=code) for code in ("de", "CN", "xx", str(event.get("text")))]
return [country.name if country is not None else "none" for country in found]

#: times_with_zones
found = []
for text in ("2024-08-15T15:05:09Z", "2024-08-15 15:05:09.1+02:30", "2024-08-15T15:05:09.1234567", "2024-08-15T15:05:09-00:00", event.get("text")):
    try:
        found.append(datetime.fromisoformat(text).isoformat())
    except (ValueError, TypeError):
        found.append("none")
    if text == "2024-08-15T15:05:09-00:00":
        break
return found

#: addresses_by_kind
found = []
for text in ("10.0.0.1", "::1", "10.0.0.256", "10.0.0.1/8", "", event.get("text")):
    try:
        found.append(str(IPv4Address(text)))
    except AddressValueError:
        try:
            found.append(IPv6Address(text).version)
        except AddressValueError:
            found.append("none")
    except ValueError:
        found.append("other")
return found

#: errors_of_the_pack
raise OwnError("lost " + str(event.get("n")))

#: errors_of_the_pack_that_show_themselves
raise ShownError("lost " + str(event.get("n")))

#: floats_with_signs
found = []
for text in ("-77.03", "+1.5", "1e3", "-2E-3", ".5", "5.", "1.2.3", "--1", "e5", ".", event.get("text")):
    try:
        found.append(float(text))
    except (ValueError, TypeError):
        found.append("none")
return found

#: state_that_is_as_it_was_loaded
global LOADED
if event.get("n") == -99:
    LOADED = []
return [entry for entry in LOADED if entry != event.get("text")]

#: sets_that_grow
names = set()
for name in ("a", "list", "nothing", "text"):
    names.update(event.get(name) or [])
return sorted(str(name) for name in names)

#: first_of_an_iterator
return [next(iter(SOME_DICT.items())), next(iter({"x": 1})), next(iter([event.get("text")]))]

#: event_times
return event.event_time_epoch()

#: named_tuples
pair = Pair(event.get("text"), right=2)
return [pair.left, pair.right, getattr(pair, "key", "none"), getattr(pair, "left"), hasattr(pair, "right"), hasattr(pair, "wrong")]

#: patterns_in_place
pattern = re.compile("B-(.)", re.IGNORECASE | re.MULTILINE)
return [bool(pattern.search(str(event.get("text")))), bool(re.compile(r"\d").match("1"))]

#: logs
LOG.debug("it is %s", event.get("n"))
return event.get("n")

#: policies_of_aws
if Policy is None:
    return "not installed"
allow = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
found = []
for principal in ("*", {"AWS": "*"}, {"AWS": ["arn:aws:iam::123456789012:root"]}, {"Service": "ec2.amazonaws.com"}, {"AWS": "arn:aws:s3:::b"}, event.get("text"), event.get("list")):
    for condition in (None, {"StringEquals": {"AWS:SourceArn": "arn:aws:iam::123456789012:root"}}, {"IpAddress": {"aws:SourceIp": ["10.0.0.0/8", "0.0.0.0/0"]}}, {"StringLike": {"aws:PrincipalOrgID": "o-x"}}, {"StringNotLike": {"aws:userid": "x"}}, {"StringLike": {"aws:userid": "A:*"}}):
        try:
            policy = Policy({"Statement": {**allow, "Principal": principal, "Condition": condition}})
            found.append([policy.is_internet_accessible(), [[len(one.principals), one.effect, [[entry.category, entry.value] for entry in one.condition_entries]] for one in policy.statements]])
        except (TypeError, AttributeError):
            found.append("none")
return [*found, Policy({"Statement": [{**allow, "NotPrincipal": "x"}]}).is_internet_accessible(), Policy({}).is_internet_accessible()]

#: texts_that_are_no_json
found = []
for text in ("", "  x", "{}", " [1] ", "(1)", str(event.get("text"))):
    try:
        found.append(json.loads(text))
    except json.JSONDecodeError:
        found.append("none")
return found

#: sets_of_many_texts
names = set()
for number in range(40):
    names.add(f"name {number % 25}")
for one in (1, True, 1.0, None, event.get("n")):
    names.add(str(one) if isinstance(one, (list, dict)) or hasattr(one, "get") else one)
other = {f"name {number}" for number in range(20, 60)} | {str(event.get("text"))}
return [len(names), sorted(names & other), len(names - other), len(names ^ other), str(event.get("text")) in other, names.isdisjoint(other), "name 24" in names, "name 25" in names, 1 in names, 2 in names]

#: lists_that_are_sorted
items = [str(item) for item in event.get("list") or []]
again = list(items)
items.sort()
again.sort(key=len, reverse=True)
counted = list(items)
counted.sort(key=lambda item: len(counted))
return [items, again, counted]

#: copies_of_what_is_inside
plain = json.loads(json.dumps({"a": [1, {"b": str(event.get("text"))}]}))
copied = copy.deepcopy(plain)
copied["a"][1]["b"] = "changed"
return [plain, copied, fnmatch_filter(["a-b-c", "x", str(event.get("text"))], "*-?-*")]

#: loops_over_letters
found = []
for letter in "aé\U0001F600" + str(event.get("text")):
    found.append("{}{}".format(letter, len(letter)))
return "-".join(found) + "".join(letter + other for letter in "ñb" for other in "xy") + "{{}}{}{}".format("{", "}")

#: lists_that_change_in_their_loop
items = [1, 2, 3]
seen = []
for item in items:
    seen.append(item)
    if len(items) < 6 and event.get("n") != 3:
        items.append(item * 2)
rest = list(items)
for item in rest:
    if item > 2 and event.get("n") == 3:
        rest.remove(item)
return [seen, items, rest, [other for other in seen if other > 1]]

#: searches_made_again
text = str(event.get("text")) + "ab"
found = []
for _ in range(2):
    found.append([bool(re.search("b", text)), bool(re.match("b", text)), bool(re.fullmatch("b", text)), bool(re.search("B", text)), bool(re.search("b", text[:2]))])
return [found, re.search("(a)(b)?", text).groups(), re.search("(a)(b)?", text).group(0)]

#: what_has_no_hash_in_views_of_a_mapping
plain = {"a": 1, "b": [1]}
found = ["a" in plain.keys(), 1 in plain.values(), ("a", 1) in plain.items()]
for one in (event.get("text"), {"c": 1} if event.get("n") == 3 else "b"):
    try:
        found.append(one in plain.keys())
    except TypeError:
        found.append("no hash")
    found.append(one in plain.values())
return found

#: names_that_statements_make_local
if event.get("n") == "never":
    with LOG as SOME_LIST:
        pass
    import os as SOME_SET
    from os import path as SOME_DICT
    del A_SPAN
    match event:
        case {"k": [Pair, *LOADED], **STATE}:
            pass
    class Looks:
        pass
found = []
try:
    found.append(len(SOME_LIST))
except UnboundLocalError:
    found.append("with")
try:
    found.append(len(SOME_SET))
except UnboundLocalError:
    found.append("import")
try:
    found.append(len(SOME_DICT))
except UnboundLocalError:
    found.append("from")
try:
    found.append(A_SPAN.total_seconds())
except UnboundLocalError:
    found.append("del")
try:
    found.append(STATE + "")
except UnboundLocalError:
    found.append("match")
try:
    found.append(LOADED[0])
except UnboundLocalError:
    found.append("star")
try:
    found.append(Looks.label)
except UnboundLocalError:
    found.append("class")
return found

#: addresses_of_nothing
try:
    return str(ip_address(event.get("nothing")))
except ValueError:
    return "none"
