//! The documents: every relative link leads to a file and to a heading in it, the README stays short, and ARCHITECTURE.md
//! lists the dependencies of every crate.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::{fs, iter};

/// New material goes to a page under `docs`.
const README_LINES: usize = 180;

fn root() -> PathBuf {
    fs::canonicalize(env!("CARGO_MANIFEST_DIR")).expect("the root of the repository")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_readme_has_at_most_180_lines() {
    let lines = read(&root().join("README.md")).lines().count();
    assert!(lines <= README_LINES, "README.md has {lines} lines");
}

#[test]
fn every_relative_link_leads_to_a_file_and_a_heading() {
    let root = root();
    let pages = pages(&root);
    assert!(pages.len() > 20, "only {} pages", pages.len());
    let broken: Vec<_> = pages.iter().flat_map(|page| broken_links(&root, page, &read(page))).collect();
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
}

#[test]
fn the_index_lists_every_page() {
    let docs = root().join("docs");
    let index = read(&docs.join("index.md"));
    let entries = fs::read_dir(docs).expect("docs").map(|entry| entry.expect("an entry").file_name());
    let names = entries.map(|name| name.into_string().expect("UTF-8"));
    let missing: Vec<_> = names
        .filter(|name| name.ends_with(".md") && name != "index.md" && !index.contains(&format!("]({name})")))
        .collect();
    assert!(missing.is_empty(), "docs/index.md does not list {missing:?}");
}

#[test]
fn a_broken_link_is_found_however_it_is_written() {
    let root = root();
    let page = root.join("docs/page.md");
    for (link, is_broken) in [
        ("[a](capacity.md)", false),
        ("[a](../README.md#performance)", false),
        ("[a](#one--two-and-three)", false),
        ("[a](#one--two-and-three-1)", false),
        ("[a](decisions)", false),
        ("[a](https://example.com/missing#anchor)", false),
        ("[a](mailto:someone@example.com)", false),
        ("`[a](missing.md)`", false),
        ("[`code`](missing.md)", true),
        ("[a](missing.md \"with a title\")", true),
        ("![a](missing.svg)", true),
        ("[a]: missing.md", true),
        ("[^1]: a footnote", false),
        ("[a](#one)", true),
        ("[a](capacity.md#missing)", true),
        ("[a](/README.md)", true),
        ("[a](../../outside.md)", true),
    ] {
        let text = format!("# `one` – [two](https://example.com), and *three*!\n\n# One – two and three\n\n{link}\n");
        assert_eq!(!broken_links(&root, &page, &text).is_empty(), is_broken, "{link}");
    }
    assert!(broken_links(&root, &page, "```sh\n[a](missing.md)\n# no heading\n```\n").is_empty());
    assert!(!broken_links(&root, &page, "```\n# no heading\n```\n\n[a](#no-heading)\n").is_empty());
}

/// The crates of the workspace that use a dependency, by the name of the dependency.
type Users = BTreeMap<String, BTreeSet<String>>;

#[test]
fn the_architecture_lists_the_direct_dependencies_of_every_crate() {
    let root = root();
    let page = read(&root.join("ARCHITECTURE.md"));
    let (_, section) = page.split_once("\n## Direct dependencies\n").expect("the section of the dependencies");
    let listed = listed(section.split("\n## ").next().expect("the section"));
    let actual = actual(&root);
    let mut mismatches = Vec::new();
    for name in listed.keys().chain(actual.keys()).collect::<BTreeSet<_>>() {
        if listed.get(name) != actual.get(name) {
            mismatches.push(format!("{name}: listed {:?}, actual {:?}", listed.get(name), actual.get(name)));
        }
    }
    assert!(mismatches.is_empty(), "ARCHITECTURE.md differs from Cargo.toml:\n{}", mismatches.join("\n"));
}

/// The first two columns of the tables in a section.
fn listed(section: &str) -> Users {
    let mut listed = Users::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let mut columns = row.split('|').skip(1);
        let names = columns.next().expect("the names");
        let users = columns.next().expect("the users").split(',').map(|user| user.trim().to_owned());
        let users: BTreeSet<_> = users.collect();
        for name in names.split('`').skip(1).step_by(2) {
            assert!(listed.insert(name.to_owned(), users.clone()).is_none(), "{name} has two rows");
        }
    }
    listed
}

/// The dependencies of every crate on other repositories. The users of a dependency are the crates that use it outside of
/// their tests, or if there are none, the crates whose tests use it.
fn actual(root: &Path) -> Users {
    let crates = fs::read_dir(root.join("crates")).expect("crates").map(|entry| entry.expect("an entry").path());
    let folders: Vec<_> = iter::once(root.to_owned()).chain(crates).collect();
    let manifests: Vec<_> = folders.iter().map(|folder| read(&folder.join("Cargo.toml"))).collect();
    let package = |manifest: &String| {
        let (_, package) = manifest.split_once("[package]\nname = \"").expect("a package");
        package.split('"').next().expect("a name").to_owned()
    };
    let own: Vec<_> = manifests.iter().map(package).collect();
    let (mut programs, mut tests) = (Users::new(), Users::new());
    for (user, manifest) in own.iter().zip(&manifests) {
        let mut section = "";
        for line in manifest.lines() {
            if line.starts_with('[') {
                section = line;
            }
            let users = match section {
                "[dependencies]" | "[build-dependencies]" => &mut programs,
                "[dev-dependencies]" => &mut tests,
                platform if platform.starts_with("[target.") && platform.ends_with(".dependencies]") => &mut programs,
                _ => continue,
            };
            let name = line.split(['.', ' ']).next().unwrap_or_default().to_owned();
            if line.starts_with(char::is_alphabetic) && !own.contains(&name) {
                users.entry(name).or_default().insert(user.clone());
            }
        }
    }
    tests.extend(programs);
    tests
}

/// The Markdown files below a directory, without what git ignores or hides.
fn pages(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    let visible = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name == ".github" || !name.starts_with('.') && name != "target"
    };
    let below = |path: PathBuf| match path.is_dir() {
        true => pages(&path),
        false => iter::once(path).filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect(),
    };
    entries.filter(visible).flat_map(below).collect()
}

/// A line for each relative link of a page that leads nowhere.
fn broken_links(root: &Path, page: &Path, text: &str) -> Vec<String> {
    let text = without_blocks(text);
    let prose = without_spans(&text);
    let name = page.strip_prefix(root).unwrap_or(page).display();
    let is_relative = |link: &&str| !link.contains("://") && !link.starts_with("mailto:");
    let fault = |link: &str| fault(root, page, &text, link).map(|fault| format!("{name}: {link}: {fault}"));
    links(&prose).into_iter().filter(is_relative).filter_map(fault).collect()
}

/// What is wrong with a relative link.
fn fault(root: &Path, page: &Path, text: &str, link: &str) -> Option<&'static str> {
    let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
    if file.starts_with('/') {
        return Some("not relative");
    }
    let target = match file {
        "" => None,
        file => match fs::canonicalize(page.parent()?.join(file)) {
            Ok(target) if target.starts_with(root) => Some(target),
            Ok(_) => return Some("outside of the repository"),
            Err(_) => return Some("no such file"),
        },
    };
    let has_anchor = |anchor| match &target {
        None => anchors(text).contains(anchor),
        Some(target) if target.extension().is_some_and(|extension| extension == "md") => {
            anchors(&without_blocks(&read(target))).contains(anchor)
        }
        // A line of a source file, perhaps.
        Some(_) => true,
    };
    anchor.is_some_and(|anchor| !has_anchor(anchor)).then_some("no such heading")
}

/// The text without its fenced code blocks.
fn without_blocks(text: &str) -> String {
    let mut fence: Option<&str> = None;
    let mut kept = String::with_capacity(text.len());
    for line in text.lines() {
        let start = line.trim_start();
        let marker = &start[..start.len() - start.trim_start_matches(['`', '~']).len()];
        match fence {
            Some(open) if marker.starts_with(open) && marker == start.trim_end() => fence = None,
            Some(_) => {}
            None if marker.len() >= 3 => fence = Some(marker),
            None => {
                kept.push_str(line);
                kept.push('\n');
            }
        }
    }
    kept
}

/// The text without its code spans, which end within their paragraph.
fn without_spans(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(|paragraph| {
        let (mut kept, mut rest) = (String::new(), paragraph);
        while let Some(at) = rest.find('`') {
            let ticks = &rest[at..at + rest[at..].bytes().take_while(|byte| *byte == b'`').count()];
            let after = &rest[at + ticks.len()..];
            kept.push_str(&rest[..at]);
            rest = after.split_once(ticks).map_or(after, |(_, rest)| rest);
        }
        kept + rest
    });
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

/// Where the links of a text lead: inline links, images and definitions.
fn links(prose: &str) -> Vec<&str> {
    let inline = prose.match_indices("](").filter_map(|(at, opening)| {
        let rest = &prose[at + opening.len()..];
        rest[..rest.find(')')?].split_whitespace().next()
    });
    let definitions = prose.lines().filter_map(|line| {
        let (label, target) = line.strip_prefix('[')?.split_once("]: ")?;
        target.split_whitespace().next().filter(|_| !label.starts_with('^'))
    });
    inline.chain(definitions).collect()
}

/// The anchors that GitHub gives to the headings of a text.
fn anchors(text: &str) -> HashSet<String> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let anchors = headings.map(|heading| {
        let shown = without_targets(heading).to_lowercase().replace(' ', "-");
        let anchor: String = shown.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect();
        let count = seen.entry(anchor.clone()).or_default();
        *count += 1;
        if *count == 1 { anchor } else { format!("{anchor}-{}", *count - 1) }
    });
    anchors.collect()
}

/// A heading as it is shown: of its links, the text alone.
fn without_targets(heading: &str) -> String {
    let mut pieces = heading.split("](");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |shown, piece| shown + piece.split_once(')').map_or(piece, |(_, after)| after))
}
