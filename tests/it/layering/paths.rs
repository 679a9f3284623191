//! Reads the paths that a Rust source names. Knows no rule.

/// A path that a source names, from the root of its crate or from another crate.
pub(super) struct Named {
    pub(super) line: usize,
    /// Its segments; the first is `crate`, or the name of another crate, or of something near.
    pub(super) path: Vec<String>,
}

/// Every path that a module names: `super` resolved, groups taken apart, nested modules respected.
pub(super) fn paths(source: &str, module: &[String]) -> Vec<Named> {
    let tokens = &tokens(source);
    let mut found = Vec::new();
    let mut nested: Vec<(usize, String)> = Vec::new();
    let (mut depth, mut at) = (0, 0);
    while at < tokens.len() {
        match &tokens[at].1 {
            Token::Name(name) if name == "use" => at = tree(tokens, at + 1, &[], &here(module, &nested), &mut found),
            Token::Name(name) if name == "mod" => {
                if let [(_, Token::Name(name)), (_, Token::Other('{'))] = &tokens[at + 1..(at + 3).min(tokens.len())] {
                    nested.push((depth, name.clone()));
                }
                at += 2;
            }
            Token::Name(_) if matches!(tokens.get(at + 1), Some((_, Token::Join))) => {
                at = tree(tokens, at, &[], &here(module, &nested), &mut found);
            }
            Token::Other('{') => (depth, at) = (depth + 1, at + 1),
            Token::Other('}') => {
                (depth, at) = (depth - 1, at + 1);
                nested.retain(|(opened_at, _)| *opened_at < depth);
            }
            _ => at += 1,
        }
    }
    found
}

fn here(module: &[String], nested: &[(usize, String)]) -> Vec<String> {
    module.iter().cloned().chain(nested.iter().map(|(_, name)| name.clone())).collect()
}

/// Reads one path, or a group of them, from `at`; returns where it ends.
fn tree(
    tokens: &[(usize, Token)],
    mut at: usize,
    prefix: &[String],
    module: &[String],
    found: &mut Vec<Named>,
) -> usize {
    let mut path = prefix.to_vec();
    let mut line = tokens.get(at).map_or(0, |(line, _)| *line);
    while let Some((token_line, token)) = tokens.get(at) {
        match token {
            Token::Name(name) => {
                line = *token_line;
                path.push(name.clone());
                at += 1;
                if !matches!(tokens.get(at), Some((_, Token::Join))) {
                    break;
                }
            }
            Token::Join => at += 1,
            Token::Other('{') => {
                at += 1;
                while !matches!(tokens.get(at), None | Some((_, Token::Other('}')))) {
                    let end = tree(tokens, at, &path, module, found);
                    at = if end == at { at + 1 } else { end };
                }
                return at + 1;
            }
            Token::Other(_) => break,
        }
    }
    if path.len() > prefix.len() {
        found.push(Named { line, path: resolve(&path, module) });
    }
    at
}

/// WritePermits `super::…` and the library's own name into `crate::…`.
fn resolve(path: &[String], module: &[String]) -> Vec<String> {
    let ups = path.iter().take_while(|segment| *segment == "super").count();
    let above = &module[..module.len().saturating_sub(ups)];
    match path[0].as_str() {
        "super" => ["crate".to_owned()].iter().chain(above).chain(&path[ups..]).cloned().collect(),
        _ => path.to_vec(),
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Name(String),
    /// `::`
    Join,
    Other(char),
}

/// The names and punctuation of a source with their lines; comments, strings and characters are left out.
fn tokens(source: &str) -> Vec<(usize, Token)> {
    let mut tokens = Vec::new();
    let mut rest = source;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(length) = literal(rest) {
            length
        } else if first.is_alphanumeric() || first == '_' {
            let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            tokens.push((line, Token::Name(rest[..length].to_owned())));
            length
        } else if rest.starts_with("::") {
            tokens.push((line, Token::Join));
            2
        } else {
            if !first.is_whitespace() {
                tokens.push((line, Token::Other(first)));
            }
            first.len_utf8()
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

fn block_comment(source: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < source.len() {
        let rest = &source[at..];
        if rest.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                break;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// The length of the string or character that the source begins with; `None` for a lifetime and anything else.
fn literal(source: &str) -> Option<usize> {
    let prefix = source.find(|c| !matches!(c, 'b' | 'c' | 'r')).filter(|length| *length <= 2)?;
    let rest = &source[prefix..];
    if source[..prefix].ends_with('r') {
        let hashes = rest.find(|c| c != '#')?;
        let end = format!("\"{}", "#".repeat(hashes));
        let body = rest[hashes..].strip_prefix('"')?;
        return Some(prefix + hashes + 1 + body.find(&end)? + end.len());
    }
    let quote = rest.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let mut characters = rest.char_indices().skip(1);
    let is_lifetime =
        |at: usize| quote == '\'' && !rest[at..].starts_with('\\') && rest[at..].chars().nth(1) != Some('\'');
    if is_lifetime(1) {
        return None;
    }
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => _ = characters.next(),
            _ if character == quote => return Some(prefix + at + 1),
            _ => {}
        }
    }
    None
}
