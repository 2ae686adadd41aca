//! The built-in patterns, with the names that are common in log tools. They use no look-around, so each runs in linear time.

/// The expression of the pattern `name`.
pub(super) fn pattern(name: &str) -> Option<&'static str> {
    PATTERNS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, pattern)| *pattern)
}

const PATTERNS: [(&str, &str); 67] = [
    ("DATA", r".*?"),
    ("GREEDYDATA", r".*"),
    ("NOTSPACE", r"\S+"),
    ("NS", r"\S+"),
    ("SPACE", r"\s*"),
    ("WORD", r"\w+"),
    (
        "QUOTEDSTRING",
        r#""(?:\\.|[^\\"])*"|'(?:\\.|[^\\'])*'|`(?:\\.|[^\\`])*`"#,
    ),
    ("QS", "%{QUOTEDSTRING}"),
    ("HEXDIGIT", r"[0-9a-fA-F]"),
    (
        "UUID",
        r"%{HEXDIGIT}{8}-(?:%{HEXDIGIT}{4}-){3}%{HEXDIGIT}{12}",
    ),
    ("INT", r"[+-]?[0-9]+"),
    ("BASE10NUM", r"[+-]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"),
    ("NUMBER", "%{BASE10NUM}"),
    ("BASE16NUM", r"[+-]?(?:0x)?%{HEXDIGIT}+"),
    ("POSINT", r"[1-9][0-9]*"),
    ("NONNEGINT", r"[0-9]+"),
    ("CISCOMAC", r"(?:%{HEXDIGIT}{4}\.){2}%{HEXDIGIT}{4}"),
    ("WINDOWSMAC", r"(?:%{HEXDIGIT}{2}-){5}%{HEXDIGIT}{2}"),
    ("COMMONMAC", r"(?:%{HEXDIGIT}{2}:){5}%{HEXDIGIT}{2}"),
    ("MAC", "%{CISCOMAC}|%{WINDOWSMAC}|%{COMMONMAC}"),
    ("H16", "%{HEXDIGIT}{1,4}"),
    (
        "IPV6",
        concat!(
            r"(?:(?:%{H16}:){7}%{H16}|(?:%{H16}:){1,7}:|(?:%{H16}:){1,6}:%{H16}|(?:%{H16}:){1,5}(?::%{H16}){1,2}|(?:%{H16}:){1,4}(?::%{H16}){1,3}|(?:%{H16}:){1,3}(?::%{H16}){1,4}",
            r"|(?:%{H16}:){1,2}(?::%{H16}){1,5}|%{H16}:(?::%{H16}){1,6}|:(?::%{H16}){1,7}|::|(?:%{H16}:){6}%{IPV4}|::(?:%{H16}:){0,5}%{IPV4}|(?:%{H16}:){1,5}:(?:%{H16}:){0,4}%{IPV4})(?:%[0-9A-Za-z]+)?"
        ),
    ),
    (
        "IPV4",
        r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])",
    ),
    ("IP", "%{IPV6}|%{IPV4}"),
    (
        "HOSTNAME",
        r"[0-9A-Za-z_](?:[0-9A-Za-z_-]{0,62})(?:\.[0-9A-Za-z_](?:[0-9A-Za-z_-]{0,62}))*\.?",
    ),
    ("HOST", "%{HOSTNAME}"),
    ("IPORHOST", "%{IP}|%{HOSTNAME}"),
    ("HOSTPORT", "(?:%{IPORHOST}):%{POSINT}"),
    ("USERNAME", r"[a-zA-Z0-9._-]+"),
    ("USER", "%{USERNAME}"),
    ("UNIXPATH", r"(?:/[\w_%!$@:.,+~-]*)+"),
    ("WINPATH", r"(?:[A-Za-z]+:|\\)(?:\\[^\\?*]*)+"),
    ("PATH", "%{UNIXPATH}|%{WINPATH}"),
    ("TTY", r"/dev/(?:pts|tty(?:[pq])?)(?:\w+)?/?(?:[0-9]+)"),
    ("URIPROTO", r"[A-Za-z][A-Za-z0-9+.-]+"),
    ("URIHOST", "(?:%{IPORHOST})(?::%{POSINT})?"),
    ("URIPATH", r"(?:/[A-Za-z0-9$.+!*'(){},~:;=@#%&_\-]*)+"),
    ("URIPARAM", r"\?[A-Za-z0-9$.+!*'|(){},~@#%&/=:;_?\-\[\]<>]*"),
    ("URIPATHPARAM", "%{URIPATH}(?:%{URIPARAM})?"),
    (
        "URI",
        "%{URIPROTO}://(?:%{USER}(?::[^@]*)?@)?(?:%{URIHOST})?(?:%{URIPATHPARAM})?",
    ),
    (
        "MONTH",
        concat!(
            "(?i:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sep(?:t(?:ember)?)?|oct(?:ober)?",
            "|nov(?:ember)?|dec(?:ember)?)"
        ),
    ),
    ("MONTHNUM", r"0?[1-9]|1[0-2]"),
    ("MONTHNUM2", r"0[1-9]|1[0-2]"),
    ("MONTHDAY", r"0[1-9]|[12][0-9]|3[01]|[1-9]"),
    (
        "DAY",
        "(?i:mon(?:day)?|tue(?:sday)?|wed(?:nesday)?|thu(?:rsday)?|fri(?:day)?|sat(?:urday)?|sun(?:day)?)",
    ),
    ("YEAR", r"[0-9]{4}|[0-9]{2}"),
    ("HOUR", r"2[0-3]|[01]?[0-9]"),
    ("MINUTE", r"[0-5][0-9]"),
    ("SECOND", r"(?:[0-5]?[0-9]|60)(?:[:.,][0-9]+)?"),
    (
        "KITCHEN",
        r"(?:1[0-2]|0?[1-9]):(?:%{MINUTE}) ?(?:AM|PM|am|pm)",
    ),
    ("TIME", "(?:%{HOUR}):(?:%{MINUTE}):(?:%{SECOND})"),
    (
        "DATE_US",
        "(?:%{MONTHNUM})[/-](?:%{MONTHDAY})[/-](?:%{YEAR})",
    ),
    (
        "DATE_EU",
        "(?:%{MONTHDAY})[./-](?:%{MONTHNUM})[./-](?:%{YEAR})",
    ),
    ("ISO8601_TIMEZONE", "Z|[+-](?:%{HOUR}):?(?:%{MINUTE})"),
    ("ISO8601_SECOND", "%{SECOND}|60"),
    (
        "TIMESTAMP_ISO8601",
        "(?:%{YEAR})-(?:%{MONTHNUM})-(?:%{MONTHDAY})[T ](?:%{HOUR}):?(?:%{MINUTE})(?::?(?:%{SECOND}))?(?:%{ISO8601_TIMEZONE})?",
    ),
    ("DATE", "%{DATE_US}|%{DATE_EU}"),
    ("DATETIME", "(?:%{DATE})[- ]%{TIME}"),
    ("TZ", r"[A-Z]{3,5}"),
    ("TZOFFSET", r"[+-][0-9]{4}"),
    (
        "TIMESTAMP_RFC822",
        r"%{DAY} %{MONTH} (?:%{MONTHDAY}) (?:%{YEAR}) %{TIME} %{TZ}",
    ),
    (
        "TIMESTAMP_RFC2822",
        r"%{DAY}, (?:%{MONTHDAY}) %{MONTH} (?:%{YEAR}) %{TIME} (?:%{ISO8601_TIMEZONE})",
    ),
    (
        "TIMESTAMP_OTHER",
        r"%{DAY} %{MONTH} +(?:%{MONTHDAY}) %{TIME} %{TZ} (?:%{YEAR})",
    ),
    (
        "TIMESTAMP_EVENTLOG",
        r"[0-9]{4}(?:%{MONTHNUM2})(?:0[1-9]|[12][0-9]|3[01])(?:2[0-3]|[01][0-9])[0-5][0-9][0-5][0-9]",
    ),
    ("SYSLOGTIMESTAMP", r"%{MONTH} +(?:%{MONTHDAY}) %{TIME}"),
    (
        "HTTPDATE",
        "(?:%{MONTHDAY})/%{MONTH}/(?:%{YEAR}):%{TIME} (?:%{INT})",
    ),
    ("PID", r"[0-9]+"),
];
