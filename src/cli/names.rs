//! Full names of topics and subscriptions, from ids and full names. Pure.

use clap::error::ErrorKind;

/// Returns `projects/P/topics/T`.
pub(super) fn topic(project: Option<&str>, given: &str, flag: &str) -> Result<String, clap::Error> {
    full(project, "topics", given, flag)
}

/// Returns `projects/P/subscriptions/S`.
pub(super) fn subscription(project: Option<&str>, given: &str, flag: &str) -> Result<String, clap::Error> {
    full(project, "subscriptions", given, flag)
}

fn full(default: Option<&str>, collection: &str, given: &str, flag: &str) -> Result<String, clap::Error> {
    let refuse = |text: String| Err(clap::Error::raw(ErrorKind::ValueValidation, text));
    let (project, id) = match given.split('/').collect::<Vec<_>>()[..] {
        [id] => (default, id),
        ["projects", project, kind, id] if kind == collection => (Some(project), id),
        _ => {
            return refuse(format!(
                "{flag} {given} is neither an id nor a full name: projects/PROJECT/{collection}/ID\n"
            ));
        }
    };
    // <https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names>
    let is_legal = |c: char| c.is_ascii_alphanumeric() || "-_.~+%".contains(c);
    let starts_legally = id.starts_with(|c: char| c.is_ascii_alphabetic()) && !id.starts_with("goog");
    if !(3..=255).contains(&id.len()) || !starts_legally || !id.chars().all(is_legal) {
        return refuse(format!(
            "{flag} {id} is not a legal id: 3 to 255 letters, digits and -_.~+%, starting with a letter and not with goog\n"
        ));
    }
    match project {
        Some(project) if project.is_empty() || project.contains(|c: char| c == '/' || c.is_whitespace()) => {
            refuse(format!("--project {project:?} of {flag} {given} is not a project id, e.g. my-project\n"))
        }
        Some(project) => Ok(format!("projects/{project}/{collection}/{id}")),
        None => Err(clap::Error::raw(ErrorKind::MissingRequiredArgument, no_project(collection, id, flag))),
    }
}

fn no_project(collection: &str, id: &str, flag: &str) -> String {
    format!(
        "no Google Cloud project is set for {flag} {id}\n\n\
         Set --project PROJECT, or the environment variable MINI_SCAN_PROJECT or GOOGLE_CLOUD_PROJECT,\n\
         or give the full name: {flag} projects/PROJECT/{collection}/{id}\n\
         With a local Pub/Sub server (PUBSUB_EMULATOR_HOST) the project is test-project by default.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_gets_the_project_and_a_full_name_keeps_its_own() {
        assert_eq!(topic(Some("p"), "scan-topic", "--topic").unwrap(), "projects/p/topics/scan-topic");
        assert_eq!(topic(Some("p"), "projects/q/topics/abc", "--topic").unwrap(), "projects/q/topics/abc");
        assert_eq!(subscription(Some("p"), "scan-sub", "-s").unwrap(), "projects/p/subscriptions/scan-sub");
    }

    #[test]
    fn only_a_full_name_needs_no_project() {
        assert_eq!(topic(None, "projects/q/topics/abc", "--topic").unwrap(), "projects/q/topics/abc");
        let error = topic(None, "scan-topic", "--topic").unwrap_err();
        assert_eq!(error.exit_code(), 2);
        for part in ["--topic scan-topic", "--project", "MINI_SCAN_PROJECT", "GOOGLE_CLOUD_PROJECT"] {
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn an_illegal_name_is_refused_with_its_flag() {
        for given in
            ["", "ab", "1abc", "goog-x", "a b c", "projects/p/subscriptions/abc", "topics/abc", "projects//topics/abc"]
        {
            assert!(topic(Some("p"), given, "--topic").unwrap_err().to_string().contains("--topic"), "{given}");
        }
        for project in ["", "projects/p", "my project"] {
            assert!(topic(Some(project), "abc", "--topic").unwrap_err().to_string().contains("--project"), "{project}");
        }
    }
}
