//! Full names of topics and subscriptions, from ids or full names.

use clap::error::ErrorKind;

/// `projects/P/topics/T`.
pub(super) fn topic(project: &str, given: &str, flag: &str) -> Result<String, clap::Error> {
    full(project, "topics", given, flag)
}

/// `projects/P/subscriptions/S`.
pub(super) fn subscription(project: &str, given: &str, flag: &str) -> Result<String, clap::Error> {
    full(project, "subscriptions", given, flag)
}

fn full(project: &str, collection: &str, given: &str, flag: &str) -> Result<String, clap::Error> {
    let refuse = |text: String| Err(clap::Error::raw(ErrorKind::ValueValidation, text));
    let (project, id) = match given.split('/').collect::<Vec<_>>()[..] {
        [id] => (project, id),
        ["projects", project, kind, id] if kind == collection => (project, id),
        _ => return refuse(format!("{flag} {given} is neither an id nor projects/PROJECT/{collection}/ID\n")),
    };
    // <https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names>
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.~+%".contains(c);
    let starts_well = id.starts_with(|c: char| c.is_ascii_alphabetic()) && !id.starts_with("goog");
    if !(3..=255).contains(&id.len()) || !starts_well || !id.chars().all(legal) {
        return refuse(format!(
            "{flag} {id}: an id has 3 to 255 letters, digits and -_.~+%, begins with a letter and not with goog\n"
        ));
    }
    if project.is_empty() {
        return refuse(format!("{flag} {given} has no project: set --project\n"));
    }
    Ok(format!("projects/{project}/{collection}/{id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_gets_the_project_and_a_full_name_keeps_its_own() {
        assert_eq!(topic("p", "scan-topic", "--topic").unwrap(), "projects/p/topics/scan-topic");
        assert_eq!(topic("p", "projects/q/topics/abc", "--topic").unwrap(), "projects/q/topics/abc");
        assert_eq!(subscription("p", "scan-sub", "-s").unwrap(), "projects/p/subscriptions/scan-sub");
    }

    #[test]
    fn what_is_no_name_is_refused_by_its_flag() {
        for given in
            ["", "ab", "1abc", "goog-x", "a b c", "projects/p/subscriptions/abc", "topics/abc", "projects//topics/abc"]
        {
            assert!(topic("p", given, "--topic").unwrap_err().to_string().contains("--topic"), "{given}");
        }
    }
}
