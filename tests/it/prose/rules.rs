//! The rules: words and phrases that are not used, and what to write in their place.

use std::collections::HashMap;

use super::Finding;
use super::pattern::Pattern;
use super::text::{Block, Kind};

/// A word or phrase that only this project would use.
struct Phrase {
    instead_of: &'static str,
    write: &'static str,
    find: &'static [&'static str],
    /// Phrases around it that are ordinary English.
    unless: &'static [&'static str],
}

const PHRASES: &[Phrase] = &[
    Phrase { instead_of: "mend", write: "fix", find: &["mend|mends|mended|mending|unmended"], unless: &[] },
    Phrase {
        instead_of: "put right",
        write: "fix",
        find: &["put|puts|putting .. right"],
        unless: &["put|puts|putting .. right after|before|away|next|behind|there|here|now"],
    },
    Phrase {
        instead_of: "give back",
        write: "nack, release or return",
        find: &["give|gives|gave|given|giving .. back"],
        unless: &["back to back", "back off"],
    },
    Phrase {
        instead_of: "hand back",
        write: "nack, release or return",
        find: &["hand|hands|handed|handing .. back"],
        unless: &["by hand", "back off"],
    },
    Phrase { instead_of: "in hand", write: "in flight, outstanding or unsettled", find: &["in hand"], unless: &[] },
    Phrase {
        instead_of: "letter",
        write: "dead letter",
        find: &["letter|letters|lettered|unlettered"],
        unless: &[
            "dead letter|letters|lettered|lettering",
            "ascii|capital|case|english|first|hex|latin|lower|lowercase|one|single|small|upper|uppercase .. letter|letters",
            "letter|letters .. ascii|case|digit|digits|hyphen|hyphens|number|numbers|underscore|underscores",
            "letter|letters , digit|digits|hyphens|numbers|underscores",
            "digit|digits|hyphens|numbers|underscores .. letter|letters",
            "start|starts|starting|begin|begins with .. letter",
        ],
    },
    Phrase {
        instead_of: "gate",
        write: "circuit breaker",
        find: &["gate|gates|gated"],
        unless: &["feature gate|gates|gated"],
    },
    Phrase {
        instead_of: "turn",
        write: "write permit (to write), poll (of a task)",
        find: &["turn|turns|turned|turning"],
        unless: &[
            "turn|turns|turned|turning .. .. against|around|back|down|into|knobs|off|on|out|over|to|up",
            "in turn",
            "in <word> turn",
        ],
    },
    Phrase {
        instead_of: "held",
        write: "parked (of messages), or name what happens",
        find: &["held"],
        unless: &[
            "connection|connections|file|files|guard|lease|leases|lock|locks|mutex|permit|permits|reference|references .. held",
            "held .. connection|connections|guard|lease|leases|lock|locks|mutex|permit|permits",
            "held a|across|an|back|constant|in|it|its|no|one|open|responsible|the|their|them|up",
        ],
    },
    Phrase {
        instead_of: "place",
        write: "permit (of parked messages), endpoint (of a service)",
        find: &["place|places"],
        unless: &[
            "in .. place|places",
            "take|takes|taken|taking|took .. place",
            "at|both|decimal|every|first|one|only|same|second|single|three|two|which place|places",
            "place|places .. above|after|before|behind|beside|in|into|on|under",
            "to|must|can|should|may|and place",
        ],
    },
    Phrase { instead_of: "tally", write: "metrics or count", find: &["tally|tallies|tallied|tallying"], unless: &[] },
    Phrase { instead_of: "occasional", write: "rate-limited", find: &["occasional"], unless: &[] },
    Phrase { instead_of: "condemned", write: "dead-lettered or rejected", find: &["condemn*"], unless: &[] },
    Phrase {
        instead_of: "said, says",
        write: "logged, reports, shows or describes",
        find: &["said|says|unsaid"],
        unless: &[
            "body|comment|doc|docs|documentation|guide|manual|message|rfc|spec|specification|standard .. said|says",
            "that said",
        ],
    },
    Phrase { instead_of: "well again", write: "recovered", find: &["well again"], unless: &[] },
    Phrase {
        instead_of: "well, not well",
        write: "healthy, unhealthy",
        find: &["not well", "all well", "is|are|was|were|be well", "unwell"],
        unless: &[
            "well above|aligned|below|behaved|covered|defined|formed|in|inside|known|supported|tested|under|understood|within|over",
        ],
    },
    Phrase {
        instead_of: "room",
        write: "module (of code), capacity",
        find: &["room|rooms"],
        unless: &["room for|left|to", "chat|enough|had|has|have|is|leave|leaves|less|make|makes|more|no|some|was room"],
    },
    Phrase { instead_of: "house", write: "architecture", find: &["house|houses"], unless: &["in house"] },
    Phrase {
        instead_of: "followed",
        write: "supported",
        find: &["followed"],
        unless: &[
            "followed .. by|through|up",
            "be|must|is|are followed to|from|in",
            "a|link|links|redirect|redirects|rule|rules .. followed",
        ],
    },
    Phrase {
        instead_of: "kin, those like it",
        write: "the list of them",
        find: &["kin", "those like it|them", "its kind", "the like|likes of", "its like"],
        unless: &[],
    },
    Phrase {
        instead_of: "pays",
        write: "raises throughput, or lowers the cost",
        find: &["pays"],
        unless: &["pays for|per", "pays .. aws|bill|cents|dollars|google|$"],
    },
    Phrase {
        instead_of: "wrong (as a noun)",
        write: "setup error, mismatch or mistake",
        find: &["wrongs", "a|an|any|each|every|no|the|this wrong .|,|;|:|)|is|was|of|that|in|with|to|and|or"],
        unless: &["the wrong and", "what the wrong"],
    },
    Phrase {
        instead_of: "as new, as old",
        write: "up to date, older",
        find: &["are|be|is|just|was|were as new|old <end>", "as new|old .|,|;|:|)"],
        unless: &["as new|old as"],
    },
    Phrase { instead_of: "verdict", write: "decision", find: &["verdict|verdicts"], unless: &[] },
    Phrase {
        instead_of: "judge",
        write: "classify, check or decide",
        find: &["judge|judges|judged|judging"],
        unless: &[],
    },
    Phrase {
        instead_of: "so many, so long",
        write: "that many, that duration, or the quantity",
        find: &["so many|long"],
        unless: &["so long as", "so many|long .. that", "not so many|long"],
    },
    Phrase { instead_of: "whoever", write: "the actor, e.g. the operator", find: &["whoever|whomever"], unless: &[] },
    Phrase {
        instead_of: "a second",
        write: "per second",
        find: &[
            "<number>|%|$ a|an second|minute|hour|day|week|month|year <end>",
            "acknowledgements|acks|allocations|attempts|batches|bytes|calls|connections|cores|deliveries|dollars|errors|\
             events|gb|gib|instructions|items|kb|keys|kib|lines|mb|messages|mib|million|operations|passes|payloads|pulls|\
             puts|reads|records|requests|responses|rows|scans|schedules|syscalls|switches|thousand|throughput|times|\
             units|wakeups|writes a|an second|minute|hour|day|week|month <end>",
        ],
        unless: &["in|within|after|for|of|than|to|takes|took <number> a second"],
    },
    Phrase {
        instead_of: "a thread, a message",
        write: "per thread, per message",
        find: &[
            "<number>|%|$|allocations|bytes|cpu|cycles|dollars|gib|instructions|kib|mib|microseconds|milliseconds|\
             nanoseconds|ns|permits|permit|times|units|unit|µs a|an attempt|batch|connection|consumer|core|instance|item|key|\
             message|million|partition|payload|process|record|request|row|scan|stream|subscription|table|task|thread|\
             worker|write",
        ],
        unless: &[],
    },
    Phrase {
        instead_of: "as (before an example)",
        write: "e.g. or for example",
        find: &[
            ",|( as <literal> .|,|;|:|)",
            ",|( as <literal> or|and <literal>",
            "address|addresses|date|dates|duration|durations|format|list|name|names|number|numbers|port|rate|rates|region|\
             regions|size|sizes|time|times|url|urls|value|values as <literal> .|,|;|:|)",
        ],
        unless: &["count|counts|encode|encodes|report|reports|show|shows|store|stores|take|takes|treat|treats .. as"],
    },
];

/// Names that have become others.
const NAMES: &[(&str, &str)] = &[
    ("Beat", "Heartbeat"),
    ("Gate", "CircuitBreaker"),
    ("Lasting", "CancelSafeCredentials"),
    ("Letter", "DeadLetter"),
    ("Occasional", "RateLimitedLog"),
    ("Outspoken", "LoggingExporter"),
    ("Places", "Endpoints"),
    ("Pulse", "Liveness"),
    ("Tally", "Metrics"),
    ("Turn", "WritePermit"),
    ("Turns", "WritePermits"),
    ("Verdict", "Decision"),
    ("Wrong", "SetupError"),
    ("handed_back", "released"),
    ("in_hand", "unsettled"),
    ("not_said", "suppressed"),
    ("unlettered", "dead_letter_failed"),
];

pub(super) struct Rules {
    /// By the first word that a phrase can begin with; those that begin with no certain word are under "".
    by_first_word: HashMap<&'static str, Vec<usize>>,
    phrases: Vec<CompiledPhrase>,
}

struct CompiledPhrase {
    phrase: &'static Phrase,
    find: Pattern,
    unless: Vec<Pattern>,
}

/// How many words before a phrase an exception can begin.
const REACH: usize = 6;

impl Rules {
    pub(super) fn new() -> Self {
        let mut rules = Self { by_first_word: HashMap::new(), phrases: Vec::new() };
        for phrase in PHRASES {
            for find in phrase.find {
                for word in find.split_whitespace().next().unwrap_or_default().split('|') {
                    let word = if word.contains(['<', '*']) { "" } else { word };
                    rules.by_first_word.entry(word).or_default().push(rules.phrases.len());
                }
                let unless = phrase.unless.iter().map(|text| Pattern::new(text)).collect();
                rules.phrases.push(CompiledPhrase { phrase, find: Pattern::new(find), unless });
            }
        }
        rules
    }

    /// Every phrase in a block that a rule finds. The excerpts are empty.
    pub(super) fn findings(&self, block: &Block) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (at, token) in block.tokens.iter().enumerate() {
            let certain = self.by_first_word.get(token.text.as_str()).into_iter().flatten();
            for number in certain.chain(self.by_first_word.get("").into_iter().flatten()) {
                let rule = &self.phrases[*number];
                if rule.is_found(block, at) {
                    // A mark may be on the line before, so such a phrase is reported at its first word.
                    let line = block.tokens[at + usize::from(token.kind == Kind::Mark)].line;
                    findings.push(Finding { line, rule: rule.phrase.text(), excerpt: String::new() });
                }
            }
        }
        findings
    }

    pub(super) fn names(&self, names: &[(usize, String)]) -> Vec<Finding> {
        let banned = |name: &str| NAMES.iter().find(|(old, _)| *old == name);
        let found = names.iter().filter_map(|(line, name)| Some((line, banned(name)?)));
        found
            .map(|(line, (old, new))| Finding {
                line: *line,
                rule: format!("`{old}`, write `{new}`"),
                excerpt: String::new(),
            })
            .collect()
    }
}

impl Phrase {
    fn text(&self) -> String {
        format!("\"{}\", write \"{}\"", self.instead_of, self.write)
    }
}

impl CompiledPhrase {
    fn is_found(&self, block: &Block, at: usize) -> bool {
        let tokens = &block.tokens;
        self.find.end(tokens, at).is_some_and(|end| {
            let is_around = |pattern: &Pattern| {
                (at.saturating_sub(REACH)..end).any(|start| pattern.end(tokens, start).is_some_and(|end| end > at))
            };
            !self.unless.iter().any(is_around)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&'static str> {
        let rules = Rules::new();
        let block = Block::new(text, 1);
        let texts: Vec<_> = rules.findings(&block).into_iter().map(|finding| finding.rule).collect();
        PHRASES.iter().filter(|phrase| texts.contains(&phrase.text())).map(|phrase| phrase.instead_of).collect()
    }

    /// Each rule with texts that it must find, and texts that it must leave alone.
    const EXAMPLES: &[(&str, &[&str], &[&str])] = &[
        ("mend", &["A producer mends it.", "mini_scan_mended"], &["We recommend to amend it."]),
        ("put right", &["Put the row right."], &["Put it right after the other."]),
        ("give back", &["It is given back.", "It gives every message back."], &["It gives up. Go back."]),
        ("hand back", &["Handed back undone: 3", "hands messages back"], &["It hands over to a colleague."]),
        ("in hand", &["Messages in hand", "mini_scan_in_hand"], &["It is written in handlers."]),
        (
            "letter",
            &["A letter is published.", "letters::redrive", "the unlettered ones"],
            &["dead letters, DeadLetter, dead_letter, dead-letter", "Up to 40 letters, digits and hyphens."],
        ),
        (
            "gate",
            &["The gate is closed.", "behind_a_closed_gate"],
            &["behind a feature gate", "aggregated by the gateway"],
        ),
        (
            "turn",
            &["It waits for its turn.", "a worker has not turned", "turns are given"],
            &["Turn the flag on.", "It turns off.", "It turns the spans of one process into text.", "each in turn"],
        ),
        (
            "held",
            &["A held message", "It is held to its bound."],
            &["while the lock is held", "held in memory", "Good messages are not held up.", "what it held a lease on"],
        ),
        (
            "place",
            &["There is no place left.", "the places of services", "a place among them"],
            &["in place of it", "in the first place", "It takes place.", "in another place", "three decimal places"],
        ),
        ("tally", &["a tally of them", "tallies"], &["totally"]),
        ("occasional", &["an occasional line"], &["occasionally"]),
        ("condemned", &["a condemned message", "condemns"], &["commands"]),
        (
            "said, says",
            &["It said so.", "the log says", "exit_said"],
            &["as the documentation says", "The error message says why.", "The RFC says so.", "Say which."],
        ),
        ("well again", &["well again: pubsub"], &["as well as, again"]),
        ("well, not well", &["It is not well.", "Is it well? All is well."], &["It is well known.", "not well-formed"]),
        (
            "room",
            &["the room of the code", "every_room_has_a_rule"],
            &["room for more", "no room", "streams that have room", "headroom"],
        ),
        ("house", &["the house rules"], &["in-house", "warehouse"]),
        ("followed", &["a verb that is not followed"], &["followed by a space", "A redirect is followed."]),
        ("kin, those like it", &["SIGTERM and its kin", "those like it"], &["akin to it", "things like it"]),
        ("pays", &["the number that pays"], &["It pays for itself.", "Who pays the bill?"]),
        (
            "wrong (as a noun)",
            &["a wrong, said at once", "wrongs"],
            &["the wrong key", "It is wrong.", "What went wrong?"],
        ),
        (
            "as new, as old",
            &["The record was as new.", "one that is as old, or older"],
            &["as new messages arrive", "as old as the table"],
        ),
        ("verdict", &["its verdict"], &["verdant"]),
        ("judge", &["It is judged by it."], &["adjudged"]),
        (
            "so many, so long",
            &["after so many attempts", "for so long"],
            &["so long as it runs", "so many messages that it stops"],
        ),
        ("whoever", &["Whoever asks is told."], &["the operator who asks"]),
        (
            "a second",
            &["10,000 messages a second", "{rate} a second (table)", "write units a second above which", "5 a minute."],
            &["a second attempt", "for a second", "requests a second lease", "10,000 per second", "in 2 a second pass"],
        ),
        (
            "a thread, a message",
            &["2 a thread", "instructions a message", "CPU a message", "$1.25 a million", "bytes a record"],
            &["spawns a thread", "sends a message", "2 per thread", "writes a record"],
        ),
        (
            "as (before an example)",
            &["A region, as europe-west1.", "a duration as 2ms, or 0", "members (as `a`)", "A zone, as `a` or `b`"],
            &[
                "It is stored as `pk`.",
                "It runs as 65532.",
                "as `setup` makes it",
                "such as `a`",
                "the same, as `a` does",
            ],
        ),
    ];

    #[test]
    fn each_rule_finds_its_examples_and_leaves_ordinary_english_alone() {
        for (rule, bad, good) in EXAMPLES {
            for text in *bad {
                assert!(found(text).contains(rule), "{rule}: not found in {text:?}");
            }
            for text in *good {
                assert!(!found(text).contains(rule), "{rule}: found in {text:?}");
            }
        }
    }

    #[test]
    fn each_rule_has_examples() {
        for phrase in PHRASES {
            assert!(EXAMPLES.iter().any(|(rule, ..)| *rule == phrase.instead_of), "{}", phrase.instead_of);
        }
    }

    #[test]
    fn old_names_are_found() {
        let names = [(3, "Gate".to_owned()), (4, "CircuitBreaker".to_owned()), (5, "not_said".to_owned())];
        let lines: Vec<_> = Rules::new().names(&names).into_iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [3, 5]);
    }
}
