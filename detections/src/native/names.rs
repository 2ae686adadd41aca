//! The names of Python that the native engine knows. Any other is a hole.

macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $($text:literal)|+),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum $name { $($variant),* }
        impl $name {
            pub(super) fn named(name: &str) -> Option<Self> {
                match name {
                    $($($text)|+ => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Its name; the first, if it has several.
            #[allow(dead_code)]
            pub(super) fn text(self) -> &'static str {
                match self {
                    $(Self::$variant => [$($text),*][0],)*
                }
            }
        }
    };
}

names! {
    /// Functions: of the language, and of its library by their module.
    Builtin {
        Abs = "abs", All = "all", Any = "any", Divmod = "divmod", Enumerate = "enumerate", Filter = "filter", Hasattr = "hasattr",
        Isinstance = "isinstance", Iter = "iter", Len = "len", Map = "map", Max = "max",
        Min = "min", Next = "next", Print = "print" | "panther_base_helpers.dbprint" | "logging.Logger.debug" | "logging.Logger.info" | "logging.Logger.warning" | "logging.Logger.error", Range = "range", Repr = "repr", Reversed = "reversed",
        Sorted = "sorted", Sum = "sum", Zip = "zip",
        Reduce = "_functools.reduce" | "functools.reduce",
        JsonDumps = "json.dumps", JsonLoads = "json.loads", Deepcopy = "copy.deepcopy",
        Getattr = "getattr", ReCompile = "re.compile",
        Fnmatch = "fnmatch.fnmatch" | "fnmatch.fnmatchcase", FnmatchFilter = "fnmatch.filter",
        ReSearch = "re.search", ReMatch = "re.match", ReFullmatch = "re.fullmatch", ReFindall = "re.findall",
        ReSub = "re.sub",
        FromIsoFormat = "datetime.datetime.fromisoformat", Strptime = "datetime.datetime.strptime", DateParse = "dateutil.parser.parse" | "dateutil.parser._parser.parse", Timedelta = "datetime.timedelta", UtcNow = "datetime.datetime.utcnow",
        Radians = "math.radians", Sin = "math.sin", Cos = "math.cos", Sqrt = "math.sqrt", Atan2 = "math.atan2",
        Similarity = "difflib.SequenceMatcher.ratio", Country = "pycountry.countries.get",
        GetStringSet = "panther_detection_helpers.caching.get_string_set", PutStringSet = "panther_detection_helpers.caching.put_string_set",
        AddToStringSet = "panther_detection_helpers.caching.add_to_string_set",
        ResetStringSet = "panther_detection_helpers.caching.reset_string_set",
        GetCounter = "panther_detection_helpers.caching.get_counter", IncrementCounter = "panther_detection_helpers.caching.increment_counter",
        ResetCounter = "panther_detection_helpers.caching.reset_counter", EvaluateThreshold = "panther_detection_helpers.caching.evaluate_threshold",
        SetKeyExpiration = "panther_detection_helpers.caching.set_key_expiration",
        CheckAccountAge = "panther_detection_helpers.caching.check_account_age",
        IpAddress = "ipaddress.ip_address", IpNetwork = "ipaddress.ip_network",
    }
}

names! {
    /// Classes, as what is called or what `isinstance` asks for.
    Class {
        Bool = "bool", Bytes = "bytes", Dict = "dict", Float = "float", Frozenset = "frozenset", Int = "int", List = "list",
        Object = "object", Set = "set", Str = "str", Tuple = "tuple",
        Mapping = "collections.abc.Mapping" | "typing.Mapping", Sequence = "collections.abc.Sequence" | "typing.Sequence",
        Iterable = "collections.abc.Iterable", OrderedDict = "collections.OrderedDict",
        PantherEvent = "panther_core.enriched_event.PantherEvent",
        ImmutableList = "panther_core.immutable.ImmutableList",
        ImmutableDict = "panther_core.immutable.ImmutableCaseInsensitiveDict",
        MagicMock = "unittest.mock.MagicMock",
        SequenceMatcher = "difflib.SequenceMatcher",
        IpAddressV4 = "ipaddress.IPv4Address", IpAddressV6 = "ipaddress.IPv6Address",
    }
}

names! {
    /// Modules whose functions are asked for as attributes.
    Module {
        Json = "json", Re = "re", Fnmatch = "fnmatch", Copy = "copy", Ipaddress = "ipaddress", Functools = "functools", Collections = "collections",
        CollectionsAbc = "collections.abc", Abc = "_collections_abc",
    }
}

impl Module {
    /// The module's name, as it stands before the names of its functions.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Re => "re",
            Self::Fnmatch => "fnmatch",
            Self::Copy => "copy",
            Self::Ipaddress => "ipaddress",
            Self::Functools => "functools",
            Self::Collections => "collections",
            Self::CollectionsAbc | Self::Abc => "collections.abc",
        }
    }
}

impl Builtin {
    /// Whether it reads or writes the key-value store.
    pub(super) fn is_of_store(self) -> bool {
        matches!(
            self,
            Self::GetStringSet
                | Self::PutStringSet
                | Self::AddToStringSet
                | Self::ResetStringSet
                | Self::GetCounter
                | Self::IncrementCounter
                | Self::ResetCounter
                | Self::EvaluateThreshold
                | Self::SetKeyExpiration
                | Self::CheckAccountAge
        )
    }
}

names! {
    /// Methods, of whatever has them.
    Method {
        Add = "add", Append = "append", Capitalize = "capitalize", Copy = "copy", Count = "count", DeepGet = "deep_get", DeepWalk = "deep_walk",
        Discard = "discard", Difference = "difference", Endswith = "endswith", Extend = "extend", Find = "find", Findall = "findall", Format = "format",
        Fullmatch = "fullmatch", Get = "get", Group = "group", Groups = "groups", Groupdict = "groupdict", Index = "index",
        Insert = "insert", Intersection = "intersection", Isalnum = "isalnum", Isalpha = "isalpha", Isascii = "isascii", Isdigit = "isdigit",
        Isdisjoint = "isdisjoint", Isnumeric = "isnumeric", Issubset = "issubset", Issuperset = "issuperset",
        Isoformat = "isoformat", Isupper = "isupper", Islower = "islower", Isspace = "isspace", Items = "items", Join = "join", Keys = "keys", Ljust = "ljust", Lower = "lower",
        Lstrip = "lstrip", Match = "match", Partition = "partition", Pop = "pop", Remove = "remove", Removeprefix = "removeprefix",
        Removesuffix = "removesuffix", Replace = "replace", Rfind = "rfind", Rjust = "rjust", Rpartition = "rpartition", Rsplit = "rsplit",
        Rstrip = "rstrip", Search = "search", Setdefault = "setdefault", Sort = "sort", Split = "split", Splitlines = "splitlines",
        Startswith = "startswith", Strftime = "strftime", Strip = "strip", Sub = "sub", Timestamp = "timestamp", Title = "title", ToDict = "to_dict", TotalSeconds = "total_seconds", Udm = "udm", UdmPath = "udm_path", Union = "union",
        Update = "update", Upper = "upper", Values = "values", Zfill = "zfill", EventTimeEpoch = "event_time_epoch", Lookup = "lookup",
        Casefold = "casefold", Encode = "encode", Decode = "decode",
    }
}
