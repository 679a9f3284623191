//! Checks that the modules of `src/consumer` form layers: there is no import cycle between them, nor between their files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::paths::paths;
use super::{module_of, rust_files};

/// With more it is hard to find anything.
const MAX_MODULES: usize = 12;

/// The imports of each module or file.
type Imports = BTreeMap<String, BTreeSet<String>>;

#[test]
fn the_consumer_has_at_most_12_modules() {
    let modules: BTreeSet<_> = sources().iter().filter_map(|(file, _)| Some(module_of(file).get(1)?.clone())).collect();
    assert!(modules.len() <= MAX_MODULES, "{} modules: {modules:?}", modules.len());
}

#[test]
fn no_module_of_the_consumer_imports_itself_through_others() {
    let sources = sources();
    let of_modules = by_module(&imports(&sources));
    assert_eq!(cycle(&of_modules), None);
}

#[test]
fn no_file_of_the_consumer_imports_itself_through_others() {
    assert_eq!(cycle(&imports(&sources())), None);
}

#[test]
fn finds_a_cycle_in_every_notation() {
    for [of_process, of_flow] in [
        ["use super::flow::Limit;", "use crate::consumer::process::Process;"],
        ["use crate::consumer::flow::{self, Limit};", "fn f(_: &super::process::Process) {}"],
        ["use super::{flow, scan};", "mod tests { use super::super::process::Process; }"],
    ] {
        let sources = [("consumer.rs", "mod flow;\nmod process;"), ("process.rs", of_process), ("flow.rs", of_flow)];
        let sources = sources.map(|(file, source)| match file {
            "consumer.rs" => ("src/consumer.rs".to_owned(), source.to_owned()),
            _ => (format!("src/consumer/{file}"), source.to_owned()),
        });
        let expected = "consumer::flow -> consumer::process -> consumer::flow";
        assert_eq!(cycle(&imports(&sources)).as_deref(), Some(expected), "{of_process} {of_flow}");
    }
}

#[test]
fn a_module_that_imports_a_reexport_of_its_parent_is_a_cycle() {
    let sources = [
        ("src/consumer.rs", "mod flow;\npub use flow::Limit;"),
        ("src/consumer/flow.rs", "use self::limit::Limit;"),
        ("src/consumer/flow/limit.rs", "use crate::consumer::Limit;"),
    ];
    let sources = sources.map(|(file, source)| (file.to_owned(), source.to_owned()));
    let expected = "consumer -> consumer::flow -> consumer::flow::limit -> consumer";
    assert_eq!(cycle(&imports(&sources)).as_deref(), Some(expected));
}

/// Returns the name and text of each shipped file.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = rust_files(&root.join("src/consumer")).expect("the sources are there");
    files.push(root.join("src/consumer.rs"));
    let name =
        |file: &Path| file.strip_prefix(root).ok().and_then(Path::to_str).expect("a file of this crate").to_owned();
    let sources = files.iter().map(|file| (name(file), fs::read_to_string(file).expect("a readable file")));
    sources.filter(|(name, _)| !name.starts_with("src/consumer/simulation")).collect()
}

/// Returns the files whose items each file names. A `mod` declaration is not an import.
fn imports(sources: &[(String, String)]) -> Imports {
    let files: BTreeSet<_> = sources.iter().map(|(file, _)| module_of(file).join("::")).collect();
    let mut imports = Imports::new();
    for (file, source) in sources {
        let module = module_of(file);
        let node = module.join("::");
        let named = paths(source, &module).into_iter().filter_map(|named| file_of(&named.path, &node, &files));
        imports.insert(node.clone(), named.filter(|other| *other != node).collect());
    }
    imports
}

/// Returns the file that contains the item of this path, if it is one of these.
fn file_of(path: &[String], module: &str, files: &BTreeSet<String>) -> Option<String> {
    let full = match path[0].as_str() {
        "crate" => path[1..].join("::"),
        "self" => format!("{module}::{}", path[1..].join("::")),
        // A child module, or another crate.
        _ => format!("{module}::{}", path.join("::")),
    };
    let is_relative = !matches!(path[0].as_str(), "crate");
    let found = files
        .iter()
        .filter(|file| full == **file || full.starts_with(&format!("{file}::")))
        .max_by_key(|file| file.len());
    found.filter(|file| !is_relative || file.as_str() != module).cloned()
}

/// Returns the imports between the modules directly under `consumer`.
fn by_module(imports: &Imports) -> Imports {
    let of = |file: &str| file.split("::").take(2).collect::<Vec<_>>().join("::");
    let mut modules = Imports::new();
    for (file, others) in imports {
        let others = others.iter().map(|other| of(other)).filter(|other| *other != of(file));
        modules.entry(of(file)).or_default().extend(others);
    }
    modules
}

/// Returns the first cycle.
fn cycle(imports: &Imports) -> Option<String> {
    let mut done = BTreeSet::new();
    imports.keys().find_map(|node| visit(node, imports, &mut Vec::new(), &mut done))
}

fn visit<'a>(
    node: &'a str,
    imports: &'a Imports,
    path: &mut Vec<&'a str>,
    done: &mut BTreeSet<&'a str>,
) -> Option<String> {
    if let Some(start) = path.iter().position(|other| *other == node) {
        return Some([&path[start..], &[node]].concat().join(" -> "));
    }
    if !done.contains(node) {
        path.push(node);
        let found = imports.get(node).into_iter().flatten().find_map(|other| visit(other, imports, path, done));
        if found.is_some() {
            return found;
        }
        path.pop();
        done.insert(node);
    }
    None
}
