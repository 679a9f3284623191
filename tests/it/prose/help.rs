//! The help texts that the program prints.

use std::process::Command;

use super::markdown::Paragraph;

/// What `--help` prints for the program and for every subcommand, each with its command line.
pub(super) fn texts() -> Vec<(String, String)> {
    let mut texts = Vec::new();
    let mut commands = vec![Vec::new()];
    while let Some(command) = commands.pop() {
        let text = help(&command);
        for name in subcommands(&text) {
            commands.push([command.clone(), vec![name]].concat());
        }
        texts.push((["mini-scan".to_owned(), command.join(" "), "--help".to_owned()].join(" "), text));
    }
    texts
}

fn help(command: &[String]) -> String {
    let program = env!("CARGO_BIN_EXE_mini-scan");
    let output = Command::new(program).args(command).arg("--help").output().expect("the program that was built");
    String::from_utf8(output.stdout).expect("help in UTF-8")
}

fn subcommands(help: &str) -> Vec<String> {
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = list.filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

/// Consecutive lines of the same indentation as one paragraph. The column right of the names has paragraphs of its own.
pub(super) fn paragraphs(help: &str) -> Vec<Paragraph> {
    let mut paragraphs: Vec<Paragraph> = Vec::new();
    let mut open_at = None;
    for (number, line) in help.lines().map(str::trim_end).enumerate() {
        let (indentation, column) = columns(line);
        let text = &line[column..];
        match paragraphs.last_mut() {
            Some(open) if open_at == Some(indentation) && column == indentation && !text.starts_with(['-', '[']) => {
                open.text.push('\n');
                open.text.push_str(text);
            }
            _ if !text.is_empty() => {
                paragraphs.push(Paragraph { line: number + 1, text: text.to_owned(), code: false })
            }
            _ => {}
        }
        open_at = (!text.is_empty() && !text.starts_with('-')).then_some(column);
    }
    paragraphs
}

/// Where the first and the last column of a line begin. Two spaces separate columns.
fn columns(line: &str) -> (usize, usize) {
    let indentation = line.len() - line.trim_start().len();
    (indentation, line.rfind("  ").map_or(indentation, |at| indentation.max(at + 2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELP: &str = "\
About this program

Usage: mini-scan [OPTIONS]

Commands:
  consumer  Reads scans and stores
            the newest
  help      Prints this message

Options:
  -p, --project <PROJECT>
          One sentence
          on two lines

          [default: a]
      --table <TABLE>
          Another
";

    #[test]
    fn every_subcommand_is_found() {
        assert_eq!(subcommands(HELP), ["consumer"]);
        assert!(texts().iter().any(|(command, _)| command == "mini-scan consumer --help"));
    }

    #[test]
    fn a_description_is_one_paragraph_beside_or_below_its_name() {
        let texts: Vec<_> = paragraphs(HELP).into_iter().map(|paragraph| paragraph.text).collect();
        assert!(texts.contains(&"One sentence\non two lines".to_owned()), "{texts:#?}");
        assert!(texts.contains(&"Reads scans and stores\nthe newest".to_owned()), "{texts:#?}");
        assert!(texts.contains(&"[default: a]".to_owned()), "{texts:#?}");
        assert!(texts.contains(&"--table <TABLE>".to_owned()), "{texts:#?}");
    }
}
