//! The prose checker: `make check-prose`. It reads every text of the repository and knows nothing about the program.

mod help;
mod markdown;
mod pattern;
mod rules;
mod rust_source;
mod sentences;
mod text;

use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use markdown::Paragraph;
use rules::Rules;
use text::Block;

/// Folders that contain build results or test data, but no prose of ours. Hidden folders are skipped too.
/// infra/README.md tells its reader to write `production`.
const SKIPPED: &[&str] = &["__pycache__", "fixtures", "production", "target"];
const HIDDEN_BUT_READ: &[&str] = &[".ci", ".github"];

/// The checker itself lists the words that it finds.
const CHECKER: &str = "tests/it/prose";

struct Finding {
    line: usize,
    rule: String,
    excerpt: String,
}

/// A finding with the name of its file, as printed.
struct Located<'a>(&'a str, Finding);

impl fmt::Display for Located<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(file, Finding { line, rule, excerpt }) = self;
        write!(f, "{file}:{line}: {rule}: {excerpt}")
    }
}

/// How the prose of a file is found.
#[derive(Debug, PartialEq)]
enum Kind {
    Document,
    Rust,
    /// Comments and values, with `#` before a comment: scripts, configuration, Terraform, dashboards.
    Lines,
}

fn kind(path: &str) -> Option<Kind> {
    let name = path.rsplit('/').next().unwrap_or(path);
    match name.rsplit_once('.').map_or(name, |(_, extension)| extension) {
        "md" => Some(Kind::Document),
        "rs" => Some(Kind::Rust),
        "Dockerfile" | "Makefile" | "env" | "example" | "hcl" | "json" | "py" | "run" | "sh" | "tf" | "toml"
        | "txt" | "yaml" | "yml" => Some(Kind::Lines),
        _ => None,
    }
}

fn check(path: &str, source: &str, rules: &Rules) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut blocks = Vec::new();
    match kind(path) {
        Some(Kind::Document) => {
            let mut paragraphs = markdown::paragraphs(source);
            paragraphs.retain(|paragraph| !lists_old_names(path, paragraph));
            findings.extend(sentences::long(paragraphs.iter().filter(|paragraph| !paragraph.code)));
            blocks.extend(paragraphs.iter().map(Block::of_paragraph));
        }
        Some(Kind::Rust) => {
            let read = rust_source::read(source);
            findings.extend(rules.names(&read.names));
            blocks = read.blocks;
        }
        Some(Kind::Lines) => {
            let paragraphs = text::lines(source);
            findings.extend(sentences::long(paragraphs.iter().filter(|paragraph| is_target_help(path, paragraph))));
            blocks.extend(paragraphs.iter().map(Block::of_paragraph));
        }
        None => {}
    }
    blocks.push(Block::new(path, 1));
    findings.extend(blocks.iter().flat_map(|block| rules.findings(block)));
    for finding in &mut findings {
        if finding.excerpt.is_empty() {
            finding.excerpt = excerpt(source, finding.line);
        }
    }
    findings.sort_by_key(|finding| finding.line);
    findings
}

/// Whether a paragraph of the changelog names what was renamed.
fn lists_old_names(path: &str, paragraph: &Paragraph) -> bool {
    path == "CHANGELOG.md" && paragraph.text.starts_with("Renamed ")
}

/// Whether a line of the Makefile is what `make help` prints.
fn is_target_help(path: &str, paragraph: &Paragraph) -> bool {
    path.ends_with("Makefile") && paragraph.text.contains(": ") && paragraph.text.contains(" ## ")
}

fn excerpt(source: &str, line: usize) -> String {
    let text = source.lines().nth(line - 1).unwrap_or_default().trim();
    text.chars().take(120).collect()
}

#[test]
fn every_text_is_plain_technical_english() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rules = Rules::new();
    let mut found = Vec::new();
    for file in files(root).expect("a readable repository") {
        let path = file.strip_prefix(root).expect("a file of the repository").to_str().expect("a name in UTF-8");
        if kind(path).is_none() || path.starts_with(CHECKER) {
            continue;
        }
        let source = fs::read_to_string(&file).expect("a readable file");
        found.extend(check(path, &source, &rules).into_iter().map(|finding| Located(path, finding).to_string()));
    }
    assert!(found.is_empty(), "{}\n{} findings", found.join("\n"), found.len());
}

#[test]
fn every_help_text_is_plain_technical_english() {
    let rules = Rules::new();
    let mut found = Vec::new();
    for (command, text) in help::texts() {
        let paragraphs = help::paragraphs(&text);
        let blocks = paragraphs.iter().map(Block::of_paragraph);
        let findings = blocks.flat_map(|block| rules.findings(&block)).chain(sentences::long(&paragraphs));
        found.extend(findings.map(|mut finding| {
            if finding.excerpt.is_empty() {
                finding.excerpt = excerpt(&text, finding.line);
            }
            Located(&command, finding).to_string()
        }));
    }
    assert!(found.is_empty(), "{}\n{} findings", found.join("\n"), found.len());
}

/// Every file below `folder` that is not in a skipped folder, sorted.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() && is_read(&entry.file_name().to_string_lossy()) {
            found.extend(files(&entry.path())?);
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn is_read(folder: &str) -> bool {
    HIDDEN_BUT_READ.contains(&folder) || !(folder.starts_with('.') || SKIPPED.contains(&folder))
}

fn found_in(path: &str, source: &str) -> Vec<String> {
    check(path, source, &Rules::new()).into_iter().map(|finding| Located(path, finding).to_string()).collect()
}

#[test]
fn a_finding_names_file_line_rule_and_text() {
    assert_eq!(
        found_in("docs/a.md", "# Title\n\nFirst line,\nthen it is mended.\n"),
        ["docs/a.md:4: \"mend\", write \"fix\": then it is mended."]
    );
}

#[test]
fn a_phrase_is_found_across_a_line_break() {
    assert_eq!(found_in("a.md", "The message is given\nback.").len(), 1);
    assert_eq!(found_in("a.rs", "// The message is given\n// back.").len(), 1);
    assert_eq!(found_in("a.yml", "# The message is given\n# back.").len(), 1);
}

#[test]
fn a_long_sentence_is_found_in_documents_and_in_the_help_of_targets() {
    let long = "word ".repeat(36);
    assert_eq!(found_in("a.md", &long).len(), 1);
    assert_eq!(found_in("Makefile", &format!("build: ## {long}")).len(), 1);
    assert_eq!(found_in("Makefile", &format!("# {long}")).len(), 0);
    assert_eq!(found_in("a.rs", &format!("// {long}")).len(), 0);
    assert_eq!(found_in("a.md", &"word ".repeat(35)).len(), 0);
}

#[test]
fn code_that_is_not_prose_is_not_read_in_rust() {
    let source = "fn settle() { let held = tally.mend(judge); }";
    assert_eq!(found_in("a.rs", source), Vec::<String>::new());
}

#[test]
fn comments_strings_test_names_and_type_names_are_read_in_rust() {
    for source in [
        "/// Mends it.",
        "//! Mends it.",
        "/* It mends. */",
        "let text = \"it is mended\";",
        "let text = r#\"it is \"mended\"\"#;",
        "fn a_message_is_mended() {}",
        "struct Mending;",
        "mod letters;",
        "let gate: Gate = open();",
    ] {
        assert_eq!(found_in("a.rs", source).len(), 1, "{source}");
    }
}

#[test]
fn the_changelog_may_name_what_was_renamed() {
    assert_eq!(found_in("CHANGELOG.md", "- Renamed the metrics: `mini_scan_held` to `mini_scan_parked`.").len(), 0);
    assert_eq!(found_in("CHANGELOG.md", "- Messages are held.").len(), 1);
}

#[test]
fn names_of_files_are_read() {
    assert_eq!(found_in("docs/what-pays.md", "").len(), 1);
}

#[test]
fn build_results_and_hidden_folders_are_not_read() {
    for (folder, expected) in [(".tools", false), ("target", false), (".github", true), ("docs", true)] {
        assert_eq!(is_read(folder), expected, "{folder}");
    }
}

#[test]
fn only_texts_of_known_kinds_are_read() {
    assert_eq!(kind("docs/a.md"), Some(Kind::Document));
    assert_eq!(kind(".ci/run"), Some(Kind::Lines));
    assert_eq!(kind("Cargo.lock"), None);
    assert_eq!(kind("docs/a.svg"), None);
}
