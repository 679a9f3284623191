//! The masks that are on by default.

/// A mask that every set has unless the operator removes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuiltIn {
    pub name: &'static str,
    pub pattern: &'static str,
    /// For the documentation.
    pub hides: &'static str,
}

/// Sorted by name.
pub const BUILT_IN: &[BuiltIn] = &[
    BuiltIn {
        name: "csp-nonce",
        pattern: r#"(?i)\bnonce(?:-|=["']?)(?<nonce>[a-z0-9+/_-]{8,}=*)"#,
        hides: "nonces of a content security policy, in the header and in the page",
    },
    BuiltIn {
        name: "ftp-greeting-time",
        pattern: "^220-(?:Local time is now (?<time>[0-9:]+)|You are user number (?<number>[0-9]+) of)",
        hides: "the time and the number of the user in an FTP greeting",
    },
    BuiltIn {
        name: "http-cookie",
        pattern: r"(?i)^set-cookie:[ \t]*[^=;\r\n]+=(?<value>[^;\r\n]*)(?:.*?;[ \t]*expires=(?<expires>[^;\r\n]*))?",
        hides: "value and expiry of a cookie; its name and its other attributes stay",
    },
    BuiltIn {
        name: "http-date",
        pattern: r"(?i)^(?:date|expires|last-modified|age):[ \t]*(?<value>.+)",
        hides: "the headers Date, Expires, Last-Modified and Age",
    },
    BuiltIn { name: "http-etag", pattern: r"(?i)^etag:[ \t]*(?<value>.+)", hides: "the header ETag" },
    BuiltIn {
        name: "http-request-id",
        pattern: concat!(
            r"(?i)^(?:(?:x-)?(?:request|correlation|trace|transaction)-?id|x-(?:amz|github|goog|ms|oss|vercel)-(?:request-)?id",
            r"|x-amzn-(?:requestid|trace-id)|x-amz-(?:id-2|cf-id)|x-azure-ref|x-cloud-trace-context|x-b3-(?:traceid|spanid)",
            r"|x-runtime|x-timer|cf-ray|server-timing|traceparent):[ \t]*(?<value>.+)"
        ),
        hides: "ids and durations of a request, e.g. in X-Request-Id, CF-Ray, traceparent and X-Runtime",
    },
    BuiltIn {
        name: "mail-greeting-time",
        pattern: concat!(
            r"(?i)\A(?:220[ -]|\+OK |\* (?:OK|PREAUTH) ).*?",
            r"(?:(?<time>\b(?:(?:mon|tue|wed|thu|fri|sat|sun),? )?(?:\d\d? [a-z]{3} \d{4}|[a-z]{3} [ \d]\d) \d\d:\d\d(?::\d\d)?",
            r"(?: [+-]\d{4}| [a-z]{3,4}\b)?(?: \d{4})?(?: \([a-z]+\))?)",
            r"|<(?<challenge>[^@<>\s]+)@|(?<id>\S+) - gsmtp)"
        ),
        hides: "the time, the challenge or the id in the greeting of an SMTP, POP3 or IMAP server",
    },
];
